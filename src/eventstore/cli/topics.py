"""`topics`: the topics of a log on Kafka, which an embedded log has none of."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from eventstore.cli.cluster import kafka_log_of
from eventstore.cli.failures import FoundProblemError
from eventstore.cli.findings import Finding, report
from eventstore.cli.loading import Session
from eventstore.cli.running import run, session_of
from eventstore.core.errors import ConfigurationError, LogUnavailableError
from eventstore.prepared import unprepared
from eventstore.store import EventStore

if TYPE_CHECKING:
    from eventstore.kafka.provision import Plan
    from eventstore.kafka.upkeep import TopicUpkeep

app = typer.Typer(help="Topics on Kafka: plan, apply, check, rights.", no_args_is_help=True)


class Role(Enum):
    """Who needs rights on the cluster."""

    WRITER = "writer"
    PROJECTION = "projection"
    RELAY = "relay"
    OPERATOR = "operator"


_PLANNED = ("action", "topic", "what")


@app.command()
def plan(context: typer.Context) -> None:
    """Show what apply would create and change, and what it cannot put right; changes nothing."""
    session = session_of(context)

    async def work() -> None:
        found = await _upkeep(session).plan()
        session.output.rows("changes: the topics are as they should be", _PLANNED, _actions(found))
        if any(problem.change is None for problem in found.problems):
            raise FoundProblemError

    run(work())


@app.command()
def apply(context: typer.Context) -> None:
    """Create missing topics and put unsafe settings right; wants the rights of an operator."""
    session = session_of(context)

    async def work() -> None:
        upkeep = _upkeep(session)
        planned = await upkeep.plan()
        remaining = await upkeep.apply()
        done = [row for row in _actions(planned) if row["action"] != "refuse"]
        left = [row for row in _actions(remaining) if row["action"] == "refuse"]
        session.output.rows("changes: the topics are as they should be", _PLANNED, [*done, *left])
        if remaining.missing or remaining.problems:
            raise FoundProblemError

    run(work())


@app.command()
def check(context: typer.Context) -> None:
    """Verify the topics and prove, on a topic that is deleted again, that the brokers keep former owners out."""
    session = session_of(context)
    run(report(session.output, examine(_upkeep(session))))


@app.command()
def rights(
    context: typer.Context,
    role: Annotated[
        Role,
        typer.Argument(
            help="writer: may own partitions. projection: only keeps read models, or looks. relay: publishes. "
            "operator: topics apply and check."
        ),
    ],
    user: Annotated[str, typer.Argument(help="Who is to have them.")],
    sends: Annotated[
        bool, typer.Option("--sends", help="A projection that also sends commands, as process managers do.")
    ] = False,
) -> None:
    """Print the commands that grant the least rights of a role; grants nothing."""
    session = session_of(context)
    if sends and role is not Role.PROJECTION:
        message = f"--sends is for the role projection: a {role.value} sends commands, or never has to"
        raise ConfigurationError(message)
    commands = _upkeep(session).grants(role.value, user, sends=sends)
    for command in commands:
        session.output.note(command)
    if session.output.as_json:
        session.output.document(commands)


def upkeep_of(store: EventStore) -> TopicUpkeep | None:
    """Give what looks after the log's topics, if the log is on Kafka."""
    log = kafka_log_of(store)
    return None if log is None else log.topics.of(store.application.inventory(inboxes=store.source is None))


async def examine(upkeep: TopicUpkeep) -> AsyncGenerator[Finding]:
    """Yield a finding per topic or problem of one, and one about the fence.

    Args:
        upkeep: The log's.
    """
    plan = await upkeep.plan()
    for missing in plan.missing:
        yield Finding("fail", missing.name, "it does not exist. Fix: eventstore topics apply")
    for problem in plan.problems:
        yield Finding("fail", problem.topic, problem.text)
    unsafe = {problem.topic for problem in plan.problems}
    for name, topic in plan.found.items():
        if topic.settings is None and name not in unsafe:
            yield Finding("warn", name, "this user may not see its settings: grant DescribeConfigs")
        elif name not in unsafe:
            size = f"{topic.identity.partitions} partitions, {topic.replication} copies"
            yield Finding("ok", name, f"{size}, id {topic.identity.id}")
        if not topic.led:
            yield Finding(
                "fail", name, "a partition has no leader, so nothing is read or written there: start its brokers"
            )
        if topic.behind:
            where = " and ".join(f"broker {broker}" for broker in sorted(topic.behind))
            yield Finding("warn", name, f"the copies on {where} are missing or behind: is it down, or its disk slow?")
    try:
        proven = await upkeep.prove_fence()
    except (ConfigurationError, LogUnavailableError) as error:
        yield Finding("fail", "fence", str(error))
        return
    if proven:
        yield Finding("ok", "fence", "the brokers refuse a former owner, tried on a topic of its own")
    else:
        yield Finding("warn", "fence", "not tried: it wants the rights of an operator, who runs topics check")


def _upkeep(session: Session) -> TopicUpkeep:
    store = session.store()
    upkeep = upkeep_of(store)
    if upkeep is None:
        message = (
            f"{type(unprepared(store.log)).__name__} has no topics: this command is for applications with a KafkaLog"
        )
        raise ConfigurationError(message)
    return upkeep


def _actions(plan: Plan) -> list[dict[str, str]]:
    rows = [
        {
            "action": "create",
            "topic": topic.name,
            "what": f"{topic.partitions} partitions, {topic.replication} copies, "
            + ", ".join(f"{name}={value}" for name, value in topic.settings.items()),
        }
        for topic in plan.missing
    ]
    for problem in plan.problems:
        action = "refuse" if problem.change is None else "set"
        rows.append({"action": action, "topic": problem.topic, "what": problem.text})
    return rows
