"""`lag`: how far read models are behind, once or all the time, with an exit code for health checks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import groupby
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape

from eventstore.cli.failures import FOUND, STUCK, FoundProblemError
from eventstore.cli.output import Output, printable, shown
from eventstore.cli.running import run, session_of
from eventstore.core.checkpoints import Failure
from eventstore.read.lag import STALLED_SECONDS, Lag
from eventstore.store import EventStore

_STUCK_STATES = ("stalled", "blocked")


def lag(  # noqa: PLR0913 - one parameter per option of the command
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(help="The read model or process manager, with every partition; all by default.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on until interrupted.")] = False,
    interval: Annotated[float, typer.Option(min=0.1, help="With --watch: seconds between two looks.")] = 1.0,
    max_events: Annotated[int | None, typer.Option(min=0, help="More events behind than this are a problem.")] = None,
    max_seconds: Annotated[float | None, typer.Option(min=0, help="So is an older event than this.")] = None,
    stalled_after: Annotated[
        float, typer.Option(min=0, help="Behind without a move for so many seconds is stalled.")
    ] = STALLED_SECONDS,
) -> None:
    """Show how far each read model is behind, in events and seconds, and whether it moves.

    Exit codes: 0 fine, 1 behind by more than --max-events or --max-seconds, 5 stalled or blocked.
    """
    session = session_of(context)

    async def work() -> None:
        async with session.opened() as store:
            if watch:
                await _watch(store, session.output, name, interval, stalled_after)
            found = await store.lag(name, stalled_after=stalled_after)
        _print(session.output, found, name)
        if any(one.state in _STUCK_STATES for one in found):
            raise FoundProblemError(STUCK)
        if any(_exceeds(one.events, max_events) or _exceeds(one.seconds, max_seconds) for one in found):
            raise FoundProblemError(FOUND)

    run(work())


def _exceeds(value: float, most: float | None) -> bool:
    return most is not None and value > most


async def _watch(store: EventStore, output: Output, name: str | None, interval: float, stalled_after: float) -> None:
    """Look again and again; a terminal shows the newest look only. Ends when it is cancelled."""
    live = not output.as_json and output.console.is_terminal
    with Live(console=output.console, auto_refresh=False, transient=False) if live else output.console as screen:
        while True:
            found = await store.lag(name, stalled_after=stalled_after)
            if isinstance(screen, Live):
                screen.update(_rendered(output, found, name), refresh=True)
            else:
                _print(output, found, name)
            await asyncio.sleep(interval)


def _print(output: Output, found: Sequence[Lag], name: str | None) -> None:
    if output.as_json:
        for row in found:
            output.document(row)
    else:
        output.show(_rendered(output, found, name))


def _rendered(output: Output, found: Sequence[Lag], name: str | None) -> RenderableType:
    columns = ["name", "version", "state", "behind", "seconds", "position", "end"]
    if len({one.partition for one in found}) > 1:
        columns.insert(2, "partition")
    rows = [_row(one) for one in found] if name else _without_the_idle(found)
    blocks = [escape(printable(line)) for one in found if one.failure for line in _block(one, one.failure)]
    return Group(output.table("read models", columns, rows), *blocks)


def _without_the_idle(found: Sequence[Lag]) -> list[dict[str, object]]:
    """Put the partitions of a version in which there is nothing to do on one line."""
    rows: list[dict[str, object]] = []
    for _, version in groupby(found, key=lambda one: (one.name, one.version)):
        partitions = [*version]
        idle = [one for one in partitions if one.state == "idle"]
        rows += [_row(one) for one in partitions if one.state != "idle"]
        if len(idle) == 1:
            rows.append(_row(idle[0]))
        elif idle:
            which = f"{'all' if len(idle) == len(partitions) else 'the other'} {len(idle)}"
            rows.append({**_row(idle[0]), "partition": which, "position": None, "end": None})
    return rows


def _row(one: Lag) -> dict[str, object]:
    return {
        "name": one.name,
        "version": one.version,
        "partition": one.partition,
        "state": one.state,
        "behind": f"{one.events:,}",
        "seconds": f"{one.seconds:,.1f}",
        "position": one.position,
        "end": one.end,
    }


def _block(one: Lag, failure: Failure) -> list[str]:
    what = f"{one.name} v{one.version} partition {one.partition}"
    headline = f"{what} is blocked by {failure.place} since {shown(failure.since)}"
    return ["", headline, f"  {failure.cause}", f"  {failure.remedy}"]
