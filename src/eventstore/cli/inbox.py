"""`inbox`: run inboxes, see how far they are, and deal with what they could not process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from eventstore.cli.failures import STUCK, FoundProblemError
from eventstore.cli.loading import Session
from eventstore.cli.probes import watched_worker
from eventstore.cli.running import run, session_of, told_to_stop
from eventstore.core.errors import CommandRejectedError, ConfigurationError, EventStoreError
from eventstore.core.inboxes import InboxDefinition, InboxFold, Incoming
from eventstore.inbox import codec_of, execute_incoming, inboxes_of, receiving, source_of
from eventstore.store import EventStore

if TYPE_CHECKING:
    from eventstore.kafka.inbox import InboxRun
    from eventstore.kafka.inbox_letters import InboxLetters, Letter

app = typer.Typer(help="Other systems' events: run, status, park, dead letters.", invoke_without_command=True)
dead = typer.Typer(help="Parked messages: list, retry, discard.", no_args_is_help=True)
app.add_typer(dead, name="dead")

_Name = Annotated[str, typer.Argument(help="The inbox.")]
_Letter = Annotated[int, typer.Argument(help="The letter's id, as listed.")]


@app.callback()
def inbox(
    context: typer.Context,
    names: Annotated[list[str] | None, typer.Option("--inbox", help="Which inbox; all by default.")] = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Messages of each that are carried out at the same time; 64 by default.")
    ] = None,
    metrics_port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Serve /metrics, /live and /ready there; 0 for any free port.")
    ] = None,
    metrics_address: Annotated[str, typer.Option(help="At this address.")] = "127.0.0.1",
) -> None:
    """Execute what other systems' events lead to, until told to stop (SIGINT, SIGTERM).

    Several may run, on several machines: they share the partitions. Each also executes commands, as a worker does.
    """
    if context.invoked_subcommand is not None:
        return
    session = session_of(context)

    async def work() -> None:
        stop = told_to_stop()
        metered = metrics_port is not None
        async with session.opened(serve=True, create=True, metered=metered) as store, AsyncExitStack() as served:
            if metrics_port is not None:
                port = served.enter_context(watched_worker(store, metrics_port, metrics_address))
                session.output.note(f"metrics are at http://{metrics_address}:{port}/metrics")
            async with receiving(store, names or None, concurrency=concurrency) as runs:
                chosen = ", ".join(one.definition.name for one in inboxes_of(store, names or None))
                session.output.note(f"receiving into {chosen}; stop with Ctrl-C")
                failure = await _first_failure(stop, runs)
                session.output.note("stopping: what is under way is finished, then others take over")
            if failure is not None:
                raise failure
        session.output.note("stopped")
        if session.output.as_json:
            session.output.document({"stopped": True})

    run(work())


async def _first_failure(stop: asyncio.Event, runs: Sequence[InboxRun]) -> EventStoreError | None:
    """Wait until told to stop, or until an inbox has failed for good, and give why."""
    told = asyncio.create_task(stop.wait())
    failures = [asyncio.create_task(one.failed()) for one in runs]
    try:
        await asyncio.wait([told, *failures], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (told, *failures):
            task.cancel()
        ended = await asyncio.gather(*failures, return_exceptions=True)
    return next((error for error in ended if isinstance(error, EventStoreError)), None)


@app.command()
def status(
    context: typer.Context, name: Annotated[str | None, typer.Argument(help="The inbox; all by default.")] = None
) -> None:
    """Show where each inbox stands in each partition, and where it is halted (exit code 5)."""
    session = session_of(context)
    store = session.store()

    async def work() -> None:
        from eventstore.kafka.inbox_positions import InboxPositions  # noqa: PLC0415 - its client is optional

        source, rows = source_of(store), list[dict[str, object]]()
        for one in inboxes_of(store, [name] if name else None):
            for position in await InboxPositions(source, one.definition).all():
                state = "halted" if position.halted else "behind" if position.behind else "current"
                rows.append(
                    {"name": one.definition.name, "state": state, "behind": position.behind, **position._asdict()}
                )
        columns = ("name", "topic", "partition", "state", "position", "end", "behind")
        session.output.rows("topics", columns, rows)
        halted = [row for row in rows if row["halted"]]
        for row in halted:
            session.output.note(
                "", f"{row['name']} is halted at {row['topic']} partition {row['partition']} offset {row['position']}",
                f"  {row['halted']}", f"  Fix the cause, and it goes on by itself; or: eventstore inbox park {row['name']}",
            )  # fmt: skip
        if halted:
            raise FoundProblemError(STUCK)

    run(work())


@app.command()
def park(
    context: typer.Context,
    name: _Name,
    partition: Annotated[str | None, typer.Option(help="Which, as topic/number, if several are halted.")] = None,
) -> None:
    """Park the message that an inbox is halted at: it goes on behind it within seconds."""
    session = session_of(context)
    store = session.store()

    async def work() -> None:
        from eventstore.kafka.inbox_positions import InboxPositions  # noqa: PLC0415 - its client is optional

        (one,) = inboxes_of(store, [name])
        message, cause = await InboxPositions(source_of(store), one.definition).halted_at(partition)
        await _letters(store, name).park(message, cause)
        session.output.note(f"parked: {message.place}; see eventstore inbox dead list {name}")
        if session.output.as_json:
            session.output.document(
                {"name": name, "topic": message.topic, "partition": message.partition, "offset": message.offset}
            )

    run(work())


@dead.command("list")
def list_(context: typer.Context, name: _Name) -> None:
    """List parked messages, oldest first."""
    session = session_of(context)
    store = session.store()

    async def work() -> None:
        found = await _letters(store, name).waiting()
        columns = ("id", "topic", "partition", "offset", "key", "cause", "parked_at")
        session.output.rows("dead letters", columns, [_row(letter) for letter in found])

    run(work())


@dead.command()
def retry(context: typer.Context, name: _Name, letter: _Letter) -> None:
    """Execute a parked message now, and take it off the list; a repeat of what was executed before does nothing."""
    session = session_of(context)

    async def work() -> None:
        async with session.opened(serve=True) as store:
            (one,) = inboxes_of(store, [name])
            letters = _letters(store, name)
            found = await letters.find(letter)
            try:
                async with codec_of(store) as codec:
                    if codec is not None:
                        await codec.prepare([found.message.value or b""])
                    for incoming in InboxFold(one(), codec).commands(found.message):
                        await _execute(store, incoming, one.definition)
            except EventStoreError:
                raise
            except Exception as cause:
                message = f"dead letter {letter} failed again and stays: {type(cause).__name__}: {cause}"
                raise ConfigurationError(message) from cause
            await letters.settle(found, "retried")
        _report(session, found, "executed")

    run(work())


@dead.command()
def discard(context: typer.Context, name: _Name, letter: _Letter) -> None:
    """Give a parked message up."""
    session = session_of(context)
    store = session.store()

    async def work() -> None:
        letters = _letters(store, name)
        found = await letters.find(letter)
        await letters.settle(found, "discarded")
        _report(session, found, "discarded")

    run(work())


async def _execute(store: EventStore, incoming: Incoming, definition: InboxDefinition) -> None:
    try:
        await execute_incoming(store, incoming)
    except CommandRejectedError:
        if definition.on_rejection is not None:
            raise


def _letters(store: EventStore, name: str) -> InboxLetters:
    from eventstore.kafka.inbox import letters_of  # noqa: PLC0415 - its client is optional

    (one,) = inboxes_of(store, [name])
    return letters_of(source_of(store), one.definition)


def _report(session: Session, letter: Letter, outcome: str) -> None:
    session.output.note(f"{outcome}: {letter.message.place}")
    if session.output.as_json:
        session.output.document({**_row(letter), "outcome": outcome})


def _row(letter: Letter) -> dict[str, object]:
    message = letter.message
    return {
        "id": letter.id,
        "topic": message.topic,
        "partition": message.partition,
        "offset": message.offset,
        "key": None if message.key is None else message.key.decode(errors="replace"),
        "cause": letter.cause,
        "parked_at": letter.parked_at,
        "headers": {name: value.decode(errors="replace") for name, value in message.headers.items()},
        "value": None if message.value is None else message.value.decode(errors="replace"),
    }
