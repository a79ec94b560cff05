"""`dead-letters`: events that a handler could not process."""

from __future__ import annotations

from typing import Annotated

import typer

from eventstore.cli.running import run, session_of
from eventstore.core.checkpoints import DeadLetter
from eventstore.store import EventStore

app = typer.Typer(help="Parked events: list, retry, discard, park.", invoke_without_command=True)


@app.callback()
def overview(context: typer.Context) -> None:
    """List parked events, oldest first."""
    if context.invoked_subcommand is not None:
        return
    session = session_of(context)

    async def work() -> None:
        async with session.opened() as store:
            letters = await store.dead_letters.list()
        columns = ("id", "name", "version", "stream", "event_version", "event_type", "cause", "parked_at")
        session.output.rows("dead letters", columns, [_row(letter) for letter in letters])

    run(work())


@app.command()
def retry(context: typer.Context, letter: Annotated[int, typer.Argument(help="Its id.")]) -> None:
    """Apply a parked event now and remove it from the list."""
    _act(context, letter, "applied")


@app.command()
def discard(context: typer.Context, letter: Annotated[int, typer.Argument(help="Its id.")]) -> None:
    """Give a parked event up; the read model goes without it."""
    _act(context, letter, "discarded")


def _act(context: typer.Context, letter: int, what: str) -> None:
    session = session_of(context)

    async def act(store: EventStore) -> DeadLetter:
        letters = store.dead_letters
        return await (letters.retry(letter) if what == "applied" else letters.discard(letter))

    async def work() -> None:
        async with session.opened() as store:
            found = await act(store)
        session.output.note(f"{what}: {found.event_type} at {found.stream} version {found.event_version}")
        if session.output.as_json:
            session.output.document({**_row(found), "outcome": what})

    run(work())


@app.command()
def park(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The halted read model or process manager.")],
    partition: Annotated[str | None, typer.Option(help="Which partition, if several are halted.")] = None,
) -> None:
    """Park the event that a read model is halted at, so that it goes on behind it."""
    session = session_of(context)

    async def work() -> None:
        async with session.opened() as store:
            found = await store.dead_letters.park(name, partition)
        session.output.note(
            f"parked: {found.event_type} at {found.stream} version {found.event_version}; "
            f"apply it later with: eventstore dead-letters retry {found.id}"
        )
        if session.output.as_json:
            session.output.document(_row(found))

    run(work())


def _row(letter: DeadLetter) -> dict[str, object]:
    return {field: getattr(letter, field) for field in DeadLetter.__slots__}
