"""What `doctor` finds out about the brokers and the consumer groups of a log on Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from eventstore.cli.findings import Finding, Limits
from eventstore.core.checkpoints import SubscriptionStatus
from eventstore.core.errors import EventStoreError
from eventstore.inbox import source_of
from eventstore.prepared import unprepared
from eventstore.read.lag import STALLED_SECONDS
from eventstore.store import EventStore

if TYPE_CHECKING:
    from eventstore.kafka import KafkaLog
    from eventstore.kafka.brokers import BrokerState
    from eventstore.kafka.groups import GroupState
    from eventstore.kafka.membership import Place

_LOOK_AGAIN_SECONDS: Final = 2.0
_SHOWN: Final = 4
_AT_REST: Final = ("stable", "empty", "dead")


class _Expected(NamedTuple):
    """A group that the application needs.

    Attributes:
        check: What it is called in the report.
        group: Its name.
        places: The partitions that its members share.
        remedy: How to get members.
        counts: Whether what it has not acknowledged waits for an answer.
    """

    check: str
    group: str
    places: frozenset[Place]
    remedy: str
    counts: bool = False


def kafka_log_of(store: EventStore) -> KafkaLog | None:
    """Give the store's log if it is on Kafka."""
    try:
        from eventstore.kafka import KafkaLog  # noqa: PLC0415 - its clients are optional
    except ImportError:
        return None
    log = unprepared(store.log)
    return log if isinstance(log, KafkaLog) else None


async def examine_brokers(log: KafkaLog, limits: Limits) -> AsyncGenerator[Finding]:
    """Yield a finding per broker, and one if they do not speak the same.

    Args:
        log: It need not be open.
        limits: What is still fine.
    """
    brokers = await log.brokers.all()
    for broker in brokers:
        yield _of_broker(broker, limits)
    unlike = _unlike(brokers)
    if unlike:
        found = f"{unlike}: an upgrade of the brokers is under way, or was not finished"
        yield Finding("warn", "versions", found)


def _of_broker(broker: BrokerState, limits: Limits) -> Finding:
    name = f"broker {broker.id}"
    if broker.speaks is None:
        found = f"{broker.address} does not answer this machine: start it, or see to advertised.listeners, firewalls and rights"
        return Finding("fail", name, found)
    if broker.ahead is None:
        return Finding("ok", name, f"{broker.address} answers; its clock was not compared: that wants an operator")
    if abs(broker.ahead) > limits.skew_seconds:
        which = "ahead of" if broker.ahead > 0 else "behind"
        found = (
            f"the clock of {broker.address} is {abs(broker.ahead):,.1f} s {which} this machine's: have both set by NTP; "
            "times of events, lags and retention are wrong meanwhile"
        )
        return Finding("warn", name, found)
    return Finding("ok", name, f"{broker.address} answers, and its clock is right")


def _unlike(brokers: Sequence[BrokerState]) -> str:
    """Name the brokers that speak other versions of the protocol than the first one that answers."""
    answering = [broker for broker in brokers if broker.speaks is not None]
    others = [broker.id for broker in answering if broker.speaks != answering[0].speaks]
    if not others:
        return ""
    return f"broker {', '.join(map(str, others))} speaks other versions of the protocol than broker {answering[0].id}"


async def examine_groups(
    log: KafkaLog, store: EventStore, statuses: Sequence[SubscriptionStatus]
) -> AsyncGenerator[Finding]:
    """Yield a finding per consumer group that the application needs, or that older versions of it left behind.

    Args:
        log: It is open.
        store: The application.
        statuses: How its read models stand.
    """
    try:
        groups = log.groups
        expected = _expected(log, store, statuses)
        seen = await groups.describe([each.group for each in expected])
        waiting = {each.group: await groups.waiting(each.group, [*each.places]) for each in expected if each.counts}
        unsettled = any(
            one.state not in _AT_REST or not one.given >= each.places
            for each, one in zip(expected, seen.values(), strict=True)
            if one.members
        )
        # What is being dealt out, or has just come, looks the same as what is stuck: does it move?
        if unsettled or any(any(counts.values()) for counts in waiting.values()):
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
            seen = await groups.describe([each.group for each in expected])
        for each in expected:
            before = waiting.get(each.group, {})
            stuck = await _stuck(log, each, before) if any(before.values()) else 0
            yield _of_group(each, seen[each.group], stuck)
        old = _left_over(log, store, statuses, await groups.names())
        for name, group in (await groups.describe(old)).items():
            if group.members:
                who = ", ".join(member for member, _ in group.members[:_SHOWN])
                found = f"{who} still work on a version that is no longer used: stop the processes of the older code"
                yield Finding("warn", name, found)
    except EventStoreError as error:
        yield Finding("warn", "groups", str(error))


async def examine_traffic(log: KafkaLog, store: EventStore) -> AsyncGenerator[Finding]:
    """Yield a finding per partition in which a relay or an inbox stands still.

    Args:
        log: Of the store.
        store: The application.
    """
    from eventstore.kafka.inbox_positions import InboxPositions  # noqa: PLC0415 - its client is optional

    for cls in store.application.publications:
        check = f"relay {cls.definition.name}"
        found = await log.relay_status(store.application.publication(cls.definition.name)[1], STALLED_SECONDS)
        for one in found:
            if one.failure is not None:
                halted = f"partition {one.partition} is halted by {one.failure.place}: {one.failure.cause}"
                yield Finding("fail", check, f"{halted}. {one.failure.remedy}")
            elif one.state == "stalled":
                stalled = f"partition {one.partition} is {one.behind:,} records behind, and nobody moves it"
                yield Finding("warn", check, f"{stalled}: start eventstore relay")
    for inbox in store.application.inboxes:
        for position in await InboxPositions(source_of(store), inbox.definition).all():
            if position.halted:
                where = f"{position.topic} partition {position.partition} offset {position.position}"
                remedy = f"fix the cause, or: eventstore inbox park {inbox.definition.name}"
                yield Finding(
                    "fail", f"inbox {inbox.definition.name}", f"halted at {where}: {position.halted}: {remedy}"
                )


def _expected(log: KafkaLog, store: EventStore, statuses: Sequence[SubscriptionStatus]) -> list[_Expected]:
    names, application = log.names, store.application
    places = [names.parse(partition) for partition in log.partitions]
    commands = frozenset((place.commands_topic, place.number) for place in places)
    events = frozenset((place.topic, place.number) for place in places)
    found: list[_Expected] = []
    if application.aggregates:
        remedy = "start the application, or eventstore worker; commands wait meanwhile"
        found.append(_Expected("owners", names.owners_group, commands, remedy, counts=True))
    known = {(status.name, status.version): status.state for status in statuses}
    for definition in application.definitions:
        work = f"{definition.name}.v{definition.version}"
        if known.get((definition.name, definition.version)) == "live":
            found.append(_Expected(work, names.workers_group(work), events, "start eventstore worker"))
    for cls in application.publications:
        name = cls.definition.name
        read = set(application.publication(name)[1].categories)
        of_relay = frozenset((place.topic, place.number) for place in places if place.category in read)
        found.append(_Expected(f"relay {name}", names.relay_group(name), of_relay, "start eventstore relay"))
    return found


def _of_group(expected: _Expected, group: GroupState, stuck: int) -> Finding:
    check = expected.check
    if not group.members:
        commands = f", and {stuck:,} commands wait" if stuck else ""
        return Finding(
            "fail" if stuck else "warn", check, f"nobody takes part in {group.name}{commands}: {expected.remedy}"
        )
    if group.state not in _AT_REST:
        found = (
            f"{group.name} has been {group.state} for {_LOOK_AGAIN_SECONDS:g} s: one of "
            f"{_listed(member for member, _ in group.members)} does not answer, or starts again and again"
        )
        return Finding("fail", check, found)
    unassigned = sorted(expected.places - group.given)
    if unassigned:
        which = _listed(f"{topic}/{number}" for topic, number in unassigned)
        found = (
            f"nobody in {group.name} has {which}: a process that is to hand over stands still, or runs another version "
            "of the application: restart it"
        )
        return Finding("fail", check, found)
    if stuck:
        found = f"{stuck:,} commands wait in {group.name} and none was answered for {_LOOK_AGAIN_SECONDS:g} s: see the owners' logs"
        return Finding("warn", check, found)
    return Finding(
        "ok", check, f"{len(group.members)} members of {group.name} have all {len(expected.places)} partitions"
    )


async def _stuck(log: KafkaLog, expected: _Expected, before: Mapping[Place, int]) -> int:
    """Count the commands in partitions where none was answered since the first look."""
    after = await log.groups.waiting(expected.group, [*expected.places])
    return sum(left for place, left in after.items() if left and left >= before.get(place, 0) > 0)


def _left_over(
    log: KafkaLog, store: EventStore, statuses: Sequence[SubscriptionStatus], groups: Iterable[str]
) -> list[str]:
    """Find the groups of versions of this application's read models that are neither live nor being built."""
    names = log.names
    used = {f"{status.name}.v{status.version}" for status in statuses if status.state != "retired"}
    ours = [names.workers_group(f"{definition.name}.v") for definition in store.application.definitions]
    return [
        group
        for group in groups
        if any(group.startswith(each) and group[len(each) :].isdecimal() for each in ours)
        and group not in {names.workers_group(work) for work in used}
    ]


def _listed(things: Iterable[str]) -> str:
    every = list(things)
    more = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return ", ".join(every[:_SHOWN]) + more
