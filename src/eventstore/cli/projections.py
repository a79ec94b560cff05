"""`projections`, `worker` and `audit`: how read models stand, running them, and proving them complete."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Annotated

import typer

from eventstore.cli.failures import FoundProblemError
from eventstore.cli.probes import watched_worker
from eventstore.cli.running import first, run, session_of, told_to_stop
from eventstore.core.checkpoints import SubscriptionStatus
from eventstore.core.records import Partition
from eventstore.read.audit import AuditResult
from eventstore.store import EventStore

app = typer.Typer(help="Read models and process managers: versions, positions, failures.", invoke_without_command=True)


@app.callback()
def overview(context: typer.Context) -> None:
    """Show every version of every read model: state, position, lag, owner and failure."""
    if context.invoked_subcommand is not None:
        return
    session = session_of(context)

    async def work() -> None:
        async with session.opened() as store:
            statuses, ends = await store.statuses(), await store.log.ends()
            rows = [row for status in statuses for row in await _rows(store, status, ends)]
        columns = ["name", "version", "state", "position", "behind", "events", "owner"]
        if len(ends) > 1:
            columns.insert(3, "partition")
        session.output.rows("read models", columns, rows)
        halted = [row for row in rows if row["halted_at"]]
        for row in halted:
            headline = f"{row['name']} v{row['version']} is halted at {row['halted_at']}: {row['cause']}"
            session.output.note("", headline, f"  {row['remedy']}")
        if halted:
            raise FoundProblemError

    run(work())


async def _rows(
    store: EventStore, status: SubscriptionStatus, ends: Mapping[Partition, int]
) -> list[Mapping[str, object]]:
    rows: list[Mapping[str, object]] = []
    known = {position.checkpoint.partition: position for position in status.positions}
    for partition, end in ends.items():
        position, checkpoint = known.get(partition), status.position(partition)
        failure = position.failure if position else None
        left = (await store.log.measure(partition, checkpoint.next_offset, None)).events
        rows.append(
            {
                "name": status.name,
                "version": status.version,
                "state": status.state,
                "partition": partition,
                "position": checkpoint.next_offset,
                "end": end,
                "behind": left,
                "events": checkpoint.event_count,
                "owner": checkpoint.owner or None,
                "halted_at": failure.place if failure else None,
                "since": failure.since if failure else None,
                "cause": failure.cause if failure else None,
                "remedy": failure.remedy if failure else None,
            }
        )
    return rows


@app.command()
def rollback(context: typer.Context, name: Annotated[str, typer.Argument(help="The read model.")]) -> None:
    """Make the version that was live before live again."""
    session = session_of(context)

    async def work() -> None:
        async with session.opened() as store:
            version = await store.query_side.roll_back(name)
        session.output.note(f"{name} v{version} is live again")
        if session.output.as_json:
            session.output.document({"name": name, "live": version})

    run(work())


@app.command()
def drop(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The read model.")],
    version: Annotated[int, typer.Argument(help="The version; it must not be live.")],
) -> None:
    """Remove a version that is not live, with its tables."""
    session = session_of(context)

    async def work() -> None:
        async with session.opened() as store:
            await store.query_side.drop(name, version)
        session.output.note(f"{name} v{version} is removed")

    run(work())


@app.command()
def accept(context: typer.Context, name: Annotated[str, typer.Argument(help="The read model.")]) -> None:
    """Accept changed code of a version, because it leads to the same rows."""
    session = session_of(context)
    store = session.store()

    async def work() -> None:
        await store.accept(name)
        session.output.note(f"{name}: the changed code is accepted; its rows stay as they are")

    run(work())


def worker(
    context: typer.Context,
    projections: Annotated[
        str | None, typer.Option(help="Read models and process managers, as a,b,c; all by default.")
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, help="Batches that are written at the same time; as in the settings by default."),
    ] = None,
    metrics_port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Serve /metrics, /live and /ready there; 0 for any free port.")
    ] = None,
    metrics_address: Annotated[str, typer.Option(help="At this address.")] = "127.0.0.1",
    serve: Annotated[
        bool, typer.Option("--serve/--no-serve", help="Own a share of the log; without, the rights of a projection do.")
    ] = True,
) -> None:
    """Keep read models up to date until told to stop (SIGINT, SIGTERM); what is under way is finished then.

    Several may run, on several machines: they share the partitions. On Kafka each of them also owns its share of the
    log and executes the commands that other processes send, unless --no-serve says otherwise.
    """
    session = session_of(context)
    names = None if projections is None else [name.strip() for name in projections.split(",")]
    changes: dict[str, object] = {} if concurrency is None else {"concurrency": concurrency}
    metered = metrics_port is not None

    async def work() -> None:
        stop = told_to_stop()
        async with (
            session.opened(serve=serve, create=True, metered=metered, changes=changes) as store,
            AsyncExitStack() as served,
        ):
            if metrics_port is not None:
                port = served.enter_context(watched_worker(store, metrics_port, metrics_address))
                session.output.note(f"metrics are at http://{metrics_address}:{port}/metrics")
            before = await _positions(store)
            crews = store.query_side.start_workers(names)
            running = ", ".join(names or [definition.name for definition in store.query_side.definitions])
            session.output.note(f"working on {running}; stop with Ctrl-C")
            await first(stop, crews)
            if stop.is_set():
                session.output.note("stopping: what is under way is finished, then others take over")
            after = await _positions(store)
        moved = sum(after.values()) - sum(before.values())
        session.output.note(f"stopped; {moved:,} events were processed meanwhile, by this worker and others")
        if session.output.as_json:
            session.output.document({"stopped": True, "events": moved})

    run(work())


def _explained(result: AuditResult) -> str:
    where, found = f"{result.name} v{result.version} partition {result.partition}", result.difference
    again = f"build it anew: raise its version and run eventstore rebuild {result.name}"
    if found is None:
        return f"{where}: more than one run of events is wrong, so it cannot be told where it begins; {again}"
    if found.event is None:
        return f"{where}: the log ends at offset {found.offset}, before the position: it lost its newest events"
    what = "skipped" if result.claimed_count < result.log_count else "processed twice"
    return f"{where}: {result.verdict}; the first that was {what} is {found.event}; {again}"


async def _positions(store: EventStore) -> dict[tuple[str, int], int]:
    return {
        (status.name, status.version): sum(position.checkpoint.event_count for position in status.positions)
        for status in await store.statuses()
    }


def audit(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="The read model; all by default.")] = None,
) -> None:
    """Prove that no event was skipped or doubled: recompute count and rolling hash from the log."""
    session = session_of(context)

    async def work() -> None:
        async with session.opened() as store:
            results = await store.query_side.audit(name)
        rows = [
            {
                "name": result.name,
                "version": result.version,
                "partition": result.partition,
                "up_to": result.next_offset,
                "processed": result.claimed_count,
                "in_the_log": result.log_count,
                "verdict": result.verdict,
                "differs_from": result.difference.offset if result.difference else None,
                "event": result.difference.event if result.difference else None,
                "clean": result.clean,
            }
            for result in results
        ]
        columns = ("name", "version", "partition", "up_to", "processed", "in_the_log", "verdict")
        session.output.rows("read models", columns, rows)
        for result in results:
            if not result.clean:
                session.output.note("", _explained(result))
        if not all(result.clean for result in results):
            raise FoundProblemError

    run(work())
