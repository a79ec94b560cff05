"""`relay`: publishing to public topics until told to stop, and how far that is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from eventstore.cli.failures import FOUND, STUCK, FoundProblemError
from eventstore.cli.loading import Session
from eventstore.cli.output import Output, printable, shown
from eventstore.cli.probes import watched_relay
from eventstore.cli.running import first, run, session_of, told_to_stop
from eventstore.core.checkpoints import Failure
from eventstore.core.errors import ConfigurationError
from eventstore.core.records import Partition
from eventstore.publishing import kafka_log, relaying
from eventstore.store import EventStore

if TYPE_CHECKING:
    from eventstore.kafka.relay_status import RelayStatus

_COLUMNS = ("name", "partition", "state", "behind", "position", "end", "moved_at")


def relay(  # noqa: PLR0913 - one parameter per option of the command
    context: typer.Context,
    publication: Annotated[str | None, typer.Option(help="Only this publication; all by default.")] = None,
    begin: Annotated[
        bool, typer.Option("--begin", help="Publish from the beginning where no position is known, as on first use.")
    ] = False,
    status: Annotated[bool, typer.Option("--status", help="Only show how far it is.")] = False,
    max_behind: Annotated[
        int | None, typer.Option(min=0, help="With --status: more records behind than this are a problem.")
    ] = None,
    stalled_after: Annotated[
        float, typer.Option(min=0, help="With --status: behind without a move for so many seconds is stalled.")
    ] = 10.0,
    health_port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Serve /live and /ready there; 0 for any free port.")
    ] = None,
    health_address: Annotated[str, typer.Option(help="At this address.")] = "127.0.0.1",
) -> None:
    """Publish to public topics until told to stop (SIGINT, SIGTERM); open transactions are finished then.

    Several may run, on several machines: they share the partitions, and every event is published once. Needs Kafka.

    Exit codes of --status: 0 fine, 1 behind by more than --max-behind, 5 stalled or halted.
    """
    session = session_of(context)
    store = session.store()
    names = _names(store, publication)
    if status:
        run(_show(session, store, names, max_behind, stalled_after))
    else:
        run(_relay(session, store, names, begin, None if health_port is None else (health_port, health_address)))


def _names(store: EventStore, publication: str | None) -> list[str]:
    kafka_log(store)
    if publication is not None:
        store.application.publication(publication)
        return [publication]
    names = [cls.definition.name for cls in store.application.publications]
    if not names:
        message = "this application has no publications: pass publications=[...] to EventStore"
        raise ConfigurationError(message)
    return names


async def _relay(
    session: Session,
    store: EventStore,
    names: Sequence[str],
    begin: bool,  # noqa: FBT001 - an option
    health: tuple[int, str] | None,
) -> None:
    output, stop = session.output, told_to_stop()
    async with AsyncExitStack() as resources:
        relays = [
            await resources.enter_async_context(
                relaying(store, name, begin=begin or None, on_halt=partial(_halted, output, name))
            )
            for name in names
        ]
        if health is not None:
            port = resources.enter_context(watched_relay(*health))
            output.note(f"health is at http://{health[1]}:{port}/live and /ready")
        topics = ", ".join(sorted({topic for name in names for topic in store.application.publication(name)[1].topics}))
        output.note(f"publishing {', '.join(names)} to {topics}; stop with Ctrl-C")
        failing = [asyncio.create_task(each.failed()) for each in relays]
        await first(stop, failing)
        if stop.is_set():
            output.note("stopping: open transactions are finished, then others take over")
        for task in failing:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    published = {name: each.published for name, each in zip(names, relays, strict=True)}
    output.note(f"stopped; {sum(published.values()):,} events were published by this relay")
    if output.as_json:
        output.document({"stopped": True, "published": published})


def _halted(output: Output, name: str, partition: Partition, failure: Failure) -> None:
    output.note(*map(printable, _block(name, partition, failure)))
    if output.as_json:
        output.document({"halted": failure.place, "name": name, "partition": partition, "cause": failure.cause})


def _block(name: str, partition: Partition, failure: Failure) -> list[str]:
    headline = f"{name} partition {partition} is halted by {failure.place} since {shown(failure.since)}"
    return ["", headline, f"  {failure.cause}", f"  {failure.remedy}"]


async def _show(
    session: Session, store: EventStore, names: Sequence[str], max_behind: int | None, stalled_after: float
) -> None:
    log = kafka_log(store)
    found = [
        one for name in names for one in await log.relay_status(store.application.publication(name)[1], stalled_after)
    ]
    session.output.rows("publications", _COLUMNS, [_row(one) for one in found])
    for one in found:
        if one.failure is not None:
            session.output.note(*map(printable, _block(one.name, one.partition, one.failure)))
    if any(one.state in {"stalled", "halted"} for one in found):
        raise FoundProblemError(STUCK)
    if max_behind is not None and any(one.behind > max_behind for one in found):
        raise FoundProblemError(FOUND)


def _row(one: RelayStatus) -> dict[str, object]:
    return {
        "name": one.name,
        "partition": one.partition,
        "state": one.state,
        "behind": one.behind,
        "position": one.position,
        "end": one.end,
        "moved_at": one.moved_at,
        "halted_by": one.failure and one.failure.place,
        "cause": one.failure and one.failure.cause,
        "remedy": one.failure and one.failure.remedy,
    }
