"""`rebuild`: a new version of a read model, built, verified and switched to while everything goes on."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Final

import typer
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from eventstore.cli.failures import FoundProblemError
from eventstore.cli.output import Output, plain, shown
from eventstore.cli.running import moment, run, session_of
from eventstore.core.errors import ConfigurationError
from eventstore.core.projections import Projection
from eventstore.core.rebuilds import RebuildProgress
from eventstore.core.records import Partition
from eventstore.core.streams import parse_stream
from eventstore.read.rebuild import RebuildOptions, RebuildResult
from eventstore.read.verification import Comparison
from eventstore.store import EventStore

_MOST_BARS: Final = 16


def rebuild(  # noqa: PLR0913 - one parameter per option of the command
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The read model.")],
    plan: Annotated[bool, typer.Option("--plan", help="Only tell what it would take.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Only tell how far the one is that runs.")] = False,
    expect: Annotated[
        list[str] | None,
        typer.Option(help="A wanted difference: missing, extra, changed, changed:COLUMN or keys; can be repeated."),
    ] = None,
    throttle: Annotated[float | None, typer.Option(min=0.001, help="At most so many events per second.")] = None,
    cpu_share: Annotated[
        float | None, typer.Option(min=0.001, max=1, help="At most this share of the time of each process that builds.")
    ] = None,
    verify: Annotated[bool, typer.Option(help="Compare with the live version row by row.")] = True,
    switch: Annotated[bool, typer.Option(help="Make the new version live at the end.")] = True,
    batch_size: Annotated[int, typer.Option(min=1, help="Events per transaction: what a kill can cost.")] = 5_000,
    at: Annotated[str | None, typer.Option(help="Only show the rows as of this time, or a stream's version.")] = None,
    stream: Annotated[str | None, typer.Option(help="With --at: only this stream's events.")] = None,
) -> None:
    """Build this code's version of a read model beside the live one, verify it, and switch."""
    session = session_of(context)
    options = RebuildOptions(frozenset(expect or ()), verify, switch, throttle, batch_size, cpu_share)

    async def work() -> None:
        async with session.opened() as store:
            if at is not None or stream is not None:
                await _preview(store, session.output, name, at, stream)
            elif status:
                await _status(store, session.output, name)
            elif plan:
                await _plan(store, session.output, name)
            else:
                await _rebuild(store, session.output, name, options)

    try:
        run(work())
    except KeyboardInterrupt:
        session.output.errors.print(
            f"interrupted: what was built of {name} up to the last batch is kept, the live version is untouched; "
            f"go on with: eventstore rebuild {name}"
        )
        raise


class _Speed(ProgressColumn):
    """Rate and time left, of the whole only."""

    def render(self, task: Task) -> Text:
        rate, eta = task.fields["rate"], task.fields["eta"]
        return Text("" if rate is None else f"{rate:,.0f}/s, {eta:,.0f} s left")


async def _plan(store: EventStore, output: Output, name: str) -> None:
    found = await store.query_side.plan_rebuild(name)
    if output.as_json:
        output.document({**plain(found), "eta": found.eta})
        return
    live = f"v{found.live_version} stays live until the switch" if found.live_version else "no version is live yet"
    output.note(f"{name} v{found.version}: {found.events:,} events to read, {found.bytes:,} bytes; {live}")
    output.note(f"about {found.eta:,.1f} s at {found.rate:,.0f} events/s, measured on a sample that was rolled back")
    if found.done:
        output.note(f"{found.done:,} events are built already by an interrupted rebuild")


async def _status(store: EventStore, output: Output, name: str) -> None:
    for version in await store.query_side.statuses(name):
        rebuild, progress = version.rebuild, version.progress
        if rebuild is None or progress is None:
            continue
        if output.as_json:
            output.document({
                **plain(progress), "name": name, "version": version.version, "eta": progress.eta,
                "running": rebuild.running, "runner": rebuild.runner, "since": rebuild.since,
            })  # fmt: skip
            return
        verb = "being built" if rebuild.running else f"interrupted, go on with: eventstore rebuild {name};"
        output.note(f"{name} v{version.version} is {verb} by {rebuild.runner} since {shown(rebuild.since)} UTC")
        rows = [{"partition": p, "done": done, "of": of} for p, (done, of) in progress.partitions.items()]
        output.rows("partitions", ("partition", "done", "of"), rows)
        output.note(
            f"{progress.phase}: {progress.done:,} of {progress.total:,} events, {progress.rate:,.0f}/s, "
            f"{progress.eta:,.0f} s left"
        )
        return
    output.note(f"no version of {name} is being built")
    if output.as_json:
        output.document({"name": name, "phase": None})


async def _rebuild(store: EventStore, output: Output, name: str, options: RebuildOptions) -> None:
    with _progress(output, name) as tell:
        result = await store.query_side.rebuild(name).run(options, tell)
    if output.as_json:
        output.document({**plain(result), "phase": "switched" if result.switched else "built"})
    else:
        _report(output, name, result)
    if options.switch and not result.switched:
        raise FoundProblemError


@contextmanager
def _progress(output: Output, name: str) -> Generator[Callable[[RebuildProgress], None]]:
    """Show progress: a bar on a terminal, lines of JSON for programs, nothing but the end in a pipe."""
    if output.as_json:
        yield lambda progress: output.document({**plain(progress), "eta": progress.eta})
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} events"),
        _Speed(),
    )
    with Progress(*columns, console=output.errors, disable=not output.errors.is_terminal) as bar:
        task = bar.add_task(name, total=1, rate=0.0, eta=0.0)
        parts: dict[Partition, TaskID] = {}

        def tell(progress: RebuildProgress) -> None:
            bar.update(
                task,
                description=f"{name}: {progress.phase}",
                completed=progress.done,
                total=progress.total,
                rate=progress.rate,
                eta=progress.eta,
            )
            if 1 < len(progress.partitions) <= _MOST_BARS:
                for partition, (done, total) in progress.partitions.items():
                    if partition not in parts:
                        parts[partition] = bar.add_task(f"  {partition}", total=total, rate=None, eta=None)
                    bar.update(parts[partition], completed=done, total=total)

        yield tell


def _report(output: Output, name: str, result: RebuildResult) -> None:
    rate = result.events / result.seconds if result.seconds else 0
    output.note(f"{name}: read {result.events:,} events in {result.seconds:.1f} s ({rate:,.0f} events/s)")
    for table, comparison in result.comparisons.items():
        output.note(f"compared {table} with v{comparison.old_version}: {_summary(comparison)}")
        for example in comparison.examples:
            change = ", ".join(f"{column}: {old!r} -> {new!r}" for column, (old, new) in example.columns.items())
            output.note(f"  {example.kind} {example.key} {change}".rstrip())
    if result.switched:
        output.note("switched: readers see the new version; undo with: eventstore projections rollback " + name)
    else:
        kinds = sorted({kind for comparison in result.comparisons.values() for kind in comparison.unexpected})
        wanted = " ".join(f"--expect {kind}" for kind in kinds)
        output.note("not switched: the live version stays. " + (f"If these are wanted: {wanted}" if wanted else ""))


def _summary(comparison: Comparison) -> str:
    if not comparison.comparable:
        return "the key differs, so rows cannot be matched (--expect keys)"
    counts = ", ".join(f"{count:,} {kind}" for kind, count in sorted(comparison.counts.items()))
    columns = "".join(f", new column {name}" for name in comparison.added_columns)
    columns += "".join(f", without column {name}" for name in comparison.removed_columns)
    return f"{comparison.old_rows:,} rows against {comparison.new_rows:,}; {counts or 'no differences'}{columns}"


async def _preview(store: EventStore, output: Output, name: str, at: str | None, stream: str | None) -> None:
    projection = _row_projection(store, name)
    of_stream = parse_stream(stream) if stream else None
    rows = await store.preview(projection, at=moment(at), stream=of_stream)
    found: list[Mapping[str, object]] = [plain(row) for row in rows.values()]
    output.rows("rows", tuple(found[0]) if found else (), found)


def _row_projection(store: EventStore, name: str) -> type[Projection[Any]]:
    for projection in store.application.projections:
        if projection.definition.name == name and issubclass(projection, Projection):
            return projection  # pyright: ignore[reportUnknownVariableType]
    message = f"{name} is no row projection of this application: only their rows can be computed beside the tables"
    raise ConfigurationError(message)
