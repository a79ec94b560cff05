"""Our side: the public API as a user would call it, with default settings except that states are not cached."""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import closing
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING, Any, TypeVar

from benchmarks.peer import workload
from benchmarks.peer.contract import RSS_SAMPLES, Replay, rss_bytes
from eventstore import (
    Aggregate,
    Command,
    Event,
    EventStore,
    Projection,
    Recorded,
    Row,
    Settings,
    SqliteLog,
    Token,
    decides,
    evolves,
    projects,
)
from eventstore.core.envelope import Metadata, write_envelope
from eventstore.core.ids import event_id, uuid7
from eventstore.core.records import to_micros
from eventstore.ports import NewEvent, StreamCommit

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from pathlib import Path

T = TypeVar("T")
_STREAM_TASK = 1
_COMMITS_PER_WRITE = 5_000
_STREAM_BATCH = 500


class TaskCreated(Event, type="task.created"):
    title: str
    assignee: str


class TaskUpdated(Event, type="task.updated"):
    title: str


class TaskCompleted(Event, type="task.completed"):
    pass


class CreateTask(Command):
    title: str
    assignee: str


class UpdateTask(Command):
    title: str


class Task(Aggregate, category="task"):
    title: str = ""
    assignee: str = ""
    done: bool = False

    @decides
    def create(self, command: CreateTask) -> TaskCreated:
        return TaskCreated(title=command.title, assignee=command.assignee)

    @decides
    def update(self, command: UpdateTask) -> TaskUpdated:
        return TaskUpdated(title=command.title)

    @evolves
    def created(self, event: TaskCreated) -> None:
        self.title, self.assignee = event.title, event.assignee

    @evolves
    def updated(self, event: TaskUpdated) -> None:
        self.title = event.title

    @evolves
    def completed(self, event: TaskCompleted) -> None:
        self.done = True


class TaskRow(Row):
    task_id: str
    title: str
    assignee: str
    done: bool = False


class TaskRows(Projection[TaskRow], name="task_rows", version=1, key="task_id"):
    @projects
    def created(self, row: TaskRow | None, event: TaskCreated, at: Recorded) -> TaskRow:
        return TaskRow(task_id=at.stream.id, title=event.title, assignee=event.assignee)

    @projects
    def updated(self, row: TaskRow, event: TaskUpdated, at: Recorded) -> TaskRow:
        row.title = event.title
        return row

    @projects
    def completed(self, row: TaskRow, event: TaskCompleted, at: Recorded) -> TaskRow:
        row.done = True
        return row


def version() -> str:
    """Name the package and its version."""
    try:
        return f"eventstore {installed_version('eventstore')}"
    except PackageNotFoundError:
        return "eventstore (not installed)"


def durability(path: Path) -> dict[str, str]:
    """Read the settings back from a connection opened the way the log opens its own."""
    from eventstore.sqlite.connections import connect

    with closing(connect(path, 10.0)) as connection:
        names = ("journal_mode", "synchronous", "wal_autocheckpoint", "page_size", "cache_size")
        return {f"log.{name}": str(connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in names}


def append_concurrent(path: Path, commands: int, callers: int) -> float:
    """Create `commands` tasks, one event each, with `callers` commands in flight; return the seconds."""
    return _run(_append_concurrent(path, commands, callers))


async def _append_concurrent(path: Path, commands: int, callers: int) -> float:
    async with _store(path) as store:
        tasks = iter(range(commands))

        async def caller() -> None:
            for task in tasks:
                command = CreateTask(title=workload.title(task, 1), assignee=workload.assignee(task))
                await store.execute(Task, workload.task_id(task).hex, command)

        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(callers):
                group.create_task(caller())
        seconds = time.perf_counter() - started
        _check("events in the log", (await store.log.measure("0", 0, None)).events, commands)
    return seconds


def prepare_stream(path: Path, events: int) -> None:
    """Write one task with `events` events: `task.created`, then `task.updated`."""
    _run(_prepare_stream(path, events))


async def _prepare_stream(path: Path, events: int) -> None:
    name = workload.task_id(_STREAM_TASK).hex
    async with _store(path) as store:
        first = CreateTask(title=workload.title(_STREAM_TASK, 1), assignee=workload.assignee(_STREAM_TASK))
        await store.execute(Task, name, first)
        for start in range(2, events + 1, _STREAM_BATCH):
            async with asyncio.TaskGroup() as group:
                for number in range(start, min(start + _STREAM_BATCH, events + 1)):
                    command = UpdateTask(title=workload.title(_STREAM_TASK, number))
                    group.create_task(store.execute(Task, name, command))


def rehydrate(path: Path, events: int, repeats: int) -> float:
    """Load the prepared task from the file `repeats` times, uncached; return the median seconds per load."""
    return _run(_rehydrate(path, events, repeats))


async def _rehydrate(path: Path, events: int, repeats: int) -> float:
    loads: list[float] = []
    async with _store(path) as store:
        for _ in range(repeats):
            started = time.perf_counter()
            task = await store.load(Task, workload.task_id(_STREAM_TASK).hex)
            loads.append(time.perf_counter() - started)
            _check("the task's title", task.title, workload.title(_STREAM_TASK, events))
    return statistics.median(loads)


def prepare_history(path: Path, events: int) -> None:
    """Write `workload.history(events)` straight into the log, many events to a transaction."""
    _run(_prepare_history(path, events))


async def _prepare_history(path: Path, events: int) -> None:
    async with SqliteLog(path) as log:
        pending: list[StreamCommit] = []
        for commit in _commits(events):
            pending.append(commit)
            if len(pending) >= _COMMITS_PER_WRITE:
                await log.commit("0", pending)
                pending = []
        if pending:
            await log.commit("0", pending)


def _commits(events: int) -> Iterator[StreamCommit]:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    for number, change in enumerate(workload.history(events)):
        event = _event(change)
        command = uuid7(1_767_225_600_000 + number, number)
        identity = event_id(command, 1)
        envelope = write_envelope(event, identity, moment, Metadata(command, command))
        new = NewEvent(event.event_type, 1, identity.bytes, to_micros(moment), envelope)
        yield StreamCommit(f"task-{workload.task_id(change.task).hex}", change.version - 1, command.bytes, (new,))


def _event(change: workload.Change) -> Event:
    if change.kind == "created":
        return TaskCreated(title=change.title, assignee=change.assignee)
    return TaskUpdated(title=change.title) if change.kind == "updated" else TaskCompleted()


def replay(path: Path, events: int) -> Replay:
    """Project the prepared history from its first event into an empty table of one row per task."""
    return _run(_replay(path, events))


async def _replay(path: Path, events: int) -> Replay:
    for left_over in path.parent.glob(f"{path.stem}.read{path.suffix}*"):
        left_over.unlink()
    async with _store(path, projections=True) as store:
        rss: list[int] = []
        started = time.perf_counter()
        store.query_side.start_workers()
        end = (await store.log.ends())["0"]
        for step in range(1, RSS_SAMPLES + 1):
            token = Token({"0": end * step // RSS_SAMPLES})
            await store.wait_for(TaskRows, token, timeout=3600)
            rss.append(rss_bytes())
        seconds = time.perf_counter() - started
        rows: list[workload.TaskRow] = []
        after: Any = None
        while page := await store.read_model(TaskRows).all(after=after, limit=10_000):
            rows.extend(workload.TaskRow(row.task_id, row.title, row.assignee, row.done) for row in page)
            after = (page[-1].task_id,)
        (status,) = await store.statuses()
        _check("events projected", status.position("0").event_count, events)
    return Replay(seconds=seconds, rss=tuple(rss), rows=len(rows), digest=workload.digest(rows))


def _store(path: Path, *, projections: bool = False) -> EventStore:
    return EventStore(
        SqliteLog(path),
        aggregates=[Task],
        projections=[TaskRows] if projections else [],
        settings=Settings(cache_size=0, workers=False),
    )


def _run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def _check(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        message = f"{what}: expected {wanted!r}, found {found!r}"
        raise AssertionError(message)
