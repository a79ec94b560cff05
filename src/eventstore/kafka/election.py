"""The election of owners: a consumer group on the commands topics, on a thread of its own.

The group decides whose turn it is, and brings the commands that other processes send. It keeps nobody from writing:
that is the fence's part.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Final, NamedTuple, Protocol, TypeAlias

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from eventstore.core.errors import ConfigurationError, EventStoreError
from eventstore.kafka.errors import fatal_to_members
from eventstore.kafka.records import headers_of

_LOGGER: Final = logging.getLogger(__name__)
_BATCH: Final = 200
_POLL_SECONDS: Final = 0.05
_REJOIN_SECONDS: Final = 1.0
_CLOSE_SECONDS: Final = 5.0
"""To leave the group takes a round trip; beyond this the brokers are taken to be away."""
_MOST_UNANSWERED: Final = 5_000
_LONGEST_HEARTBEAT_SECONDS: Final = 0.5
"""Members learn of a death from the answer to a heartbeat, after the session: a share of a long one is too long."""

Place: TypeAlias = tuple[str, int]
"""A commands topic and a partition's number in it."""


class Delivery(NamedTuple):
    """A message that another process sent.

    Attributes:
        place: Where it was read.
        offset: Its offset there.
        value: The message.
        headers: Where the answer goes.
        settle: To be called once: with True if it needs no other delivery, since its effect is in the log or it never
            will have one; with False if it is left to the partition's next owner.
    """

    place: Place
    offset: int
    value: bytes
    headers: Mapping[str, bytes]
    settle: Callable[[bool], None]


class Member(Protocol):
    """What the election tells, on the loop."""

    def assigned(self, places: Sequence[Place]) -> None:
        """It is this process's turn for these."""
        ...

    async def revoked(self, places: Sequence[Place]) -> None:
        """It will be another process's turn as soon as this returns."""
        ...

    def lost(self, places: Sequence[Place]) -> None:
        """It has been another process's turn for a while."""
        ...

    def delivered(self, deliveries: Sequence[Delivery]) -> None:
        """Messages came for this process's partitions."""
        ...

    def failed(self, error: EventStoreError) -> None:
        """The election goes on without this process, for good."""
        ...


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """How the election works.

    Attributes:
        group: The consumer group.
        topics: The commands topics.
        session_seconds: After this long without a sign of life another process takes over.
        drain_seconds: How long a hand-over may take.
        member: A name that stays the same when this process restarts, so that a quick restart moves nothing; or None.
    """

    group: str
    topics: Sequence[str]
    session_seconds: float
    drain_seconds: float
    member: str | None


class Election:
    """Takes part in the election from `join` to `close`; every callback of the member runs on the loop.

    Args:
        connection: The connection's settings, for confluent consumers.
        settings: The group.
        member: Is told.
    """

    def __init__(self, connection: Mapping[str, object], settings: GroupSettings, member: Member) -> None:
        session = int(settings.session_seconds * 1000)
        self._configuration: Final = {
            **connection,
            "group.id": settings.group,
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": session,
            "heartbeat.interval.ms": max(min(session // 6, int(_LONGEST_HEARTBEAT_SECONDS * 1000)), 100),
            "max.poll.interval.ms": 300_000,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 100,
            **({"group.instance.id": settings.member} if settings.member else {}),
        }
        self._settings: Final = settings
        self._member: Final = member
        # A daemon: the client's close may never return while the brokers are away, and must not keep the process.
        self._thread: Final = Thread(target=self._work, name="eventstore-election", daemon=True)
        self._commands: Final[SimpleQueue[Callable[[Consumer], None]]] = SimpleQueue()
        self._done: Final[dict[Place, set[int]]] = {}
        self._next: Final[dict[Place, int]] = {}
        self._assigned: Final[set[Place]] = set()
        self._unanswered = 0
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def join(self) -> None:
        """Take part from now on."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def close(self) -> None:
        """Hand everything over and leave the group, if this process took part."""
        self._stopping = True
        if self._thread.ident is None:
            return
        patience = self._settings.drain_seconds + _CLOSE_SECONDS
        await asyncio.shield(asyncio.to_thread(self._thread.join, patience))
        if self._thread.is_alive():
            _LOGGER.error(
                "the client did not leave the group %s within %g s, since the brokers are away; others take over when "
                "its session has expired", self._settings.group, patience
            )  # fmt: skip

    def _settle(self, place: Place, offset: int, answered: bool) -> None:  # noqa: FBT001 - see Delivery
        def note(_: Consumer) -> None:
            self._unanswered -= 1
            if answered:
                self._done.setdefault(place, set()).add(offset)

        self._commands.put(note)

    def _work(self) -> None:
        """Be a member until stopped; whatever goes wrong with one membership, the next one begins from nothing."""
        while not self._stopping:
            try:
                self._be_member()
            except EventStoreError as error:
                self._tell(self._member.failed, error)
                return
            except Exception as error:  # noqa: BLE001 - any error of a callback or the client ends the membership
                _LOGGER.warning("the election of owners is joined anew: %s", error)
                time.sleep(_REJOIN_SECONDS)

    def _be_member(self) -> None:
        consumer = Consumer(self._configuration, logger=_LOGGER)
        try:
            consumer.subscribe(
                list(self._settings.topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
            while not self._stopping:
                self._obey(consumer)
                first = consumer.poll(_POLL_SECONDS)
                if first is not None:
                    self._deliver([first, *consumer.consume(_BATCH - 1, 0)])
                self._hold_back(consumer)
                self._commit(consumer)
        except BaseException:
            self._tell(self._member.lost, list(self._assigned))
            self._assigned.clear()
            raise
        finally:
            consumer.close()

    def _obey(self, consumer: Consumer) -> None:
        while True:
            try:
                self._commands.get_nowait()(consumer)
            except Empty:
                return

    def _deliver(self, messages: Sequence[Message]) -> None:
        deliveries: list[Delivery] = []
        for message in messages:
            error = message.error()
            if error is not None:
                self._end_membership(error)
                fatal_to_members(error)
                _LOGGER.warning("the election of owners: %s", error)
                continue
            place, offset = (message.topic() or "", message.partition() or 0), message.offset() or 0
            self._next.setdefault(place, offset)
            headers = dict(headers_of(message))
            settle = partial(self._settle, place, offset)
            deliveries.append(Delivery(place, offset, message.value() or b"", headers, settle))
        if deliveries:
            self._unanswered += len(deliveries)
            self._tell(self._member.delivered, deliveries)

    def _end_membership(self, error: KafkaError) -> None:
        """Raise for what this membership cannot go on after, and other than `KafkaException` if no other one can."""
        fatal = error.code() == KafkaError._FATAL  # noqa: SLF001 - its public name
        if fatal and self._settings.member:
            message = (
                f"another process takes part under the name {self._settings.member!r}: give every process that runs "
                f"at the same time another KafkaOptions(member=...) ({error})"
            )
            raise ConfigurationError(message)
        if fatal or error.code() == KafkaError._MAX_POLL_EXCEEDED:  # noqa: SLF001 - its public name
            raise KafkaException(error)

    def _hold_back(self, consumer: Consumer) -> None:
        """Fetch no more messages while too many wait for their answers, but stay in the group."""
        while self._unanswered > _MOST_UNANSWERED and not self._stopping:
            assigned = consumer.assignment()
            consumer.pause(assigned)
            first = consumer.poll(_POLL_SECONDS)
            if first is not None:
                self._deliver([first])
            self._obey(consumer)
            consumer.resume(assigned)

    def _commit(self, consumer: Consumer) -> None:
        """Acknowledge to the group what is answered without a gap."""
        positions = self._progress(list(self._done))
        if positions:
            consumer.commit(offsets=positions, asynchronous=True)

    def _progress(self, places: Sequence[Place]) -> list[TopicPartition]:
        moved: list[TopicPartition] = []
        for place in places:
            done, position = self._done.get(place, set[int]()), self._next.get(place, 0)
            start = position
            while position in done:
                done.discard(position)
                position += 1
            if position > start:
                self._next[place] = position
                moved.append(TopicPartition(*place, position))
        return moved

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        known = consumer.committed(partitions, timeout=self._settings.session_seconds) if partitions else []
        for partition in known:
            if partition.error is not None:
                raise KafkaException(partition.error)
            partition.offset = max(partition.offset, 0)
        consumer.incremental_assign(known)
        places = _places(partitions)
        for place in places:
            self._done.pop(place, None)
            self._next.pop(place, None)
        self._assigned.update(places)
        if places:
            self._tell(self._member.assigned, places)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        assert self._loop is not None  # noqa: S101 - set by __aenter__
        drained = asyncio.run_coroutine_threadsafe(self._member.revoked(_places(partitions)), self._loop)
        drained.result()
        self._assigned.difference_update(_places(partitions))
        self._obey(consumer)
        positions = self._progress(_places(partitions))
        if positions:
            try:
                consumer.commit(offsets=positions, asynchronous=False)
            except KafkaException as error:
                _LOGGER.warning("answered commands will be delivered again, and recognised: %s", error)
        consumer.incremental_unassign(partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._tell(self._member.lost, _places(partitions))
        self._assigned.difference_update(_places(partitions))
        consumer.incremental_unassign(partitions)

    def _tell(self, callback: Callable[..., None], *arguments: object) -> None:
        assert self._loop is not None  # noqa: S101 - set by __aenter__
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback, *arguments)


def _places(partitions: Sequence[TopicPartition]) -> list[Place]:
    return [(partition.topic, partition.partition) for partition in partitions]
