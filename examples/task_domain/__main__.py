"""The tour: `python -m examples.task_domain [--kafka] [--keep DIRECTORY]`, or `make demo` and `make demo-kafka`."""

import argparse
import asyncio
import tempfile
from collections.abc import Iterable
from datetime import UTC, date, datetime
from itertools import groupby
from pathlib import Path

from eventstore import (
    CommandRejectedError,
    EventStore,
    RebuildOptions,
    Settings,
    SqliteLog,
    WrongExpectedVersionError,
)
from eventstore.ports import EventLog
from examples.task_domain import next_release
from examples.task_domain.aggregates import Calendar, Task
from examples.task_domain.commands import (
    AssignTask,
    CompleteTask,
    CreateTask,
    DeleteTask,
    EndDay,
    ReopenTask,
    UpdateTask,
)
from examples.task_domain.escalation import Escalation
from examples.task_domain.read_models import ActivityFeed, TaskBoard, Workload

TODAY = date(2026, 1, 15)


def say(line: str = "") -> None:
    print(line, flush=True)


def step(title: str) -> None:
    say(f"\n── {title} " + "─" * max(76 - len(title), 3))


def table(rows: Iterable[object], *columns: str) -> None:
    cells = [columns, *([_cell(getattr(row, column)) for column in columns] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    for row in cells:
        say("   " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:%H:%M:%S}" if isinstance(value, datetime) else str(value if value is not None else "-")


async def commands(store: EventStore) -> None:
    step("1. Commands: validated against the aggregate's state, stored as events")
    created = await store.execute(Task, "report", CreateTask(title="write the report", due=TODAY))
    say(f"   CreateTask   -> {created.events[0].event_type}, version {created.version}, durable for good")
    await store.execute(Task, "report", AssignTask(assignee="ann"))
    await store.execute(Task, "slides", CreateTask(title="draw the slides", due=TODAY))
    await store.execute(Task, "slides", AssignTask(assignee="ben"))
    await store.execute(Task, "report", AssignTask(assignee="ben"))
    await store.execute(Task, "slides", UpdateTask(title="draw better slides"))
    done = await store.execute(Task, "slides", CompleteTask())
    await store.execute(Task, "old", CreateTask(title="forget this"))
    await store.execute(Task, "old", DeleteTask())
    say(f"   ... eight more; the task 'slides' is at version {done.version} now")

    step("2. A rejected command: the domain says no, nothing is written")
    try:
        await store.execute(Task, "slides", CompleteTask())
    except CommandRejectedError as error:
        say(f"   CompleteTask -> {type(error).__name__}: {error}")

    step("3. A version conflict: two people decided on the same version")
    seen = (await store.load(Task, "report")).version
    await store.execute(Task, "report", UpdateTask(title="write the whole report"), expected_version=seen)
    try:
        await store.execute(Task, "report", UpdateTask(title="write half of it"), expected_version=seen)
    except WrongExpectedVersionError as error:
        say(f"   UpdateTask   -> {type(error).__name__}:")
        say(f"                   {error}")

    step("4. A repeated command: the same id gives the first answer again")
    key = "0198c0de-0000-7000-8000-000000000001"
    first = await store.execute(Task, "slides", ReopenTask(), command_id=key)
    again = await store.execute(Task, "slides", ReopenTask(), command_id=key)
    say(f"   ReopenTask   -> version {first.version}, and again -> version {again.version}: executed once")


async def read_models(store: EventStore) -> None:
    step("5. Read models: ordinary tables, kept up to date behind the writes")
    last = await store.execute(Task, "slides", CompleteTask())
    await store.wait_for(TaskBoard, last.token)
    await store.wait_for(Workload, last.token)
    say(f"   token {last.token} reached: the tables show our own write")
    table(await store.read_model(TaskBoard).all(), "task_id", "title", "assignee", "due", "done")
    say()
    table(await store.read_model(Workload).all(), "assignee", "open_tasks", "done_tasks")

    step("6. A process manager: events in, commands out (escalate what is overdue)")
    evening = await store.execute(Calendar, "office", EndDay(day=TODAY))
    await store.wait_for(Escalation, evening.token)
    *_, (event, at) = await store.history(Task, "report")
    say(f"   day_ended    -> {event.event_type} on {at.stream}, caused by command {at.metadata.causation_id}")

    step("7. Time travel: any version, any moment")
    past = await store.load(Task, "report", at=1)
    now = await store.load(Task, "report")
    say(f"   report v{past.version}: {past.title!r}, assignee {past.assignee}")
    say(f"   report v{now.version}: {now.title!r}, assignee {now.assignee}, escalated {now.escalated}")


async def rebuild(log: EventLog) -> None:
    step("8. The next release: version 2 of the board is built beside version 1")
    release = EventStore(
        log,
        aggregates=[Task, Calendar],
        projections=[next_release.TaskBoard, Workload, ActivityFeed],
        processes=[Escalation],
    )
    async with release as store:
        plan = await store.plan_rebuild(next_release.TaskBoard)
        say(f"   plan: {plan.events} events, {plan.bytes:,} bytes, about {plan.eta:.2f} s")
        result = await store.rebuild(next_release.TaskBoard, RebuildOptions(switch=False))
        found = result.comparisons["task_board"]
        say(f"   built {result.events} events, then compared row by row with version {found.old_version}:")
        differences = ", ".join(f"{count} x {kind}" for kind, count in found.counts.items())
        say(f"   {found.new_rows} rows; new column: {', '.join(found.added_columns)}; differences: {differences}")
        say("   not switched: nobody had said that titles may change. Now we do:")
        result = await store.rebuild(
            next_release.TaskBoard, RebuildOptions(expected=frozenset({"changed:title"}), switch=True)
        )
        say(f"   switched: {result.switched}; from one moment to the next, readers of task_board see version 2")
        await store.wait_for(next_release.TaskBoard, await store.present())
        table(await store.read_model(next_release.TaskBoard).all(), "task_id", "title", "assignee", "escalated", "done")

        step("9. Audit: every event exactly once, proven by count and rolling hash")
        partitions = await store.audit()
        for (name, version), lines in groupby(partitions, lambda line: (line.name, line.version)):
            audited = list(lines)
            claimed, there = (sum(getattr(line, count) for line in audited) for count in ("claimed_count", "log_count"))
            verdict = ", ".join(sorted({line.verdict for line in audited}))
            say(f"   {name:<14} v{version}  {claimed:>3} of {there} events  {verdict}")


async def tour(log: EventLog, settings: Settings) -> None:
    started = datetime.now(UTC)
    first_release = EventStore(
        log,
        aggregates=[Task, Calendar],
        projections=[TaskBoard, Workload, ActivityFeed],
        processes=[Escalation],
        settings=settings,
    )
    async with first_release as store:
        await commands(store)
        await read_models(store)
    await rebuild(log)
    say(f"\nDone in {(datetime.now(UTC) - started).total_seconds():.1f} s. The code: examples/task_domain/README.md")


def on_a_file(directory: Path) -> None:
    path = directory / "tasks.db"
    say(f"One SQLite file is the event log: {path.name}; read models go to tasks.read.db beside it.")
    asyncio.run(tour(SqliteLog(path), Settings()))


def on_kafka(directory: Path) -> None:
    from examples.task_domain.cluster import three_workers

    with three_workers(directory) as workers:
        say(f"A Kafka broker is the event log, at {workers.bootstrap}; three worker processes own its partitions,")
        say(f"execute the commands and keep the read models: {', '.join(map(str, workers.pids))}. This one only asks.")
        asyncio.run(tour(workers.log, Settings(serve=False, workers=False)))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.task_domain", description="A tour of eventstore.")
    parser.add_argument("--keep", type=Path, metavar="DIRECTORY", help="keep the files here (default: a temporary one)")
    parser.add_argument("--kafka", action="store_true", help="on Apache Kafka, started for the occasion")
    arguments = parser.parse_args()
    keep: Path | None = arguments.keep
    run = on_kafka if arguments.kafka else on_a_file
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        run(keep)
        return
    with tempfile.TemporaryDirectory() as directory:
        run(Path(directory))


if __name__ == "__main__":
    main()
