"""The peer: PyPI's `eventsourcing` in its fastest documented configuration on SQLite.

How it is driven, and why:

* Aggregates with declared event classes, which rehydrate about 8 % faster than the `@event` decorator.
* The default JSON transcoder with its default transcodings; the cache is off and there are no snapshots.
* Its SQLite recorder holds one lock around every writing transaction and commits each save alone. Threads
  therefore only add hand-over: commands of many callers are fastest taken one after the other by one thread.
* `ProjectionRunner` needs `subscribe()`, which its SQLite recorder does not implement. So the replay does what its
  `Follower` does: read the notification log in sections and call `process_event` with a `Tracking`.
* A view records an event and its tracking in one transaction; its API has no way to process several events in one.
  `replay(..., batched=True)` adds by hand what a determined user could: one transaction per section.
"""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING, Any

from eventsourcing.application import LocalNotificationLog
from eventsourcing.persistence import Tracking
from eventsourcing.sqlite import SQLiteFactory, SQLiteRecorder
from eventsourcing.system import NotificationLogReader
from eventsourcing.utils import Environment

from benchmarks.peer import workload
from benchmarks.peer.contract import RSS_SAMPLES, Replay, rss_bytes
from benchmarks.peer.eventsourcing_model import Task, TaskRows, Tasks, TaskView

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path
    from uuid import UUID

    from eventsourcing.domain import CanMutateAggregate

# Its default of 10 events per section costs the replay a few per cent; beyond some hundreds nothing is gained.
SECTION_SIZE = 500
# Measured: threads add hand-over to a commit that only one of them can make. 0 is no thread but the caller's.
FASTEST_THREADS = 0
_EVENTS_PER_PUT = 10_000
_STREAM_TASK = 1


def version() -> str:
    """Name the package and its version."""
    return f"eventsourcing {installed_version('eventsourcing')}"


def durability(path: Path) -> dict[str, str]:
    """Read the settings back from the peer's own pooled connections, of the log and of the view."""
    found: dict[str, str] = {}
    with _opened_log(path) as log, _opened_view(path) as view:
        for name, recorder in (("log", log.recorder), ("view", view)):
            assert isinstance(recorder, SQLiteRecorder)
            with recorder.datastore.transaction(commit=False) as cursor:
                for pragma in ("journal_mode", "synchronous", "wal_autocheckpoint", "page_size", "cache_size"):
                    cursor.execute(f"PRAGMA {pragma}")
                    found[f"{name}.{pragma}"] = str(cursor.fetchone()[0])
    return found


def append_concurrent(path: Path, commands: int, callers: int, *, threads: int = FASTEST_THREADS) -> float:
    """Create `commands` tasks, one commit each; return the seconds.

    Args:
        path: A log that does not exist yet.
        commands: How many tasks.
        callers: How many commands wait at a time. The peer executes one at a time, so it makes no difference to it.
        threads: Executing threads; 0 is the calling thread alone.
    """
    del callers
    with _opened_log(path) as log:

        def command(task: int) -> None:
            log.save(Task.create(task))

        started = time.perf_counter()
        if threads == 0:
            for task in range(commands):
                command(task)
        else:
            with ThreadPoolExecutor(threads) as executor:
                for _ in executor.map(command, range(commands)):
                    pass
        seconds = time.perf_counter() - started
        _check("events in the log", log.recorder.max_notification_id(), commands)
    return seconds


def prepare_stream(path: Path, events: int) -> None:
    """Write one task with `events` events: `task.created`, then `task.updated`."""
    with _opened_log(path) as log:
        task = Task.create(_STREAM_TASK)
        for number in range(2, events + 1):
            task.update(workload.title(_STREAM_TASK, number))
        log.save(task)


def rehydrate(path: Path, events: int, repeats: int) -> float:
    """Load the prepared task through the repository `repeats` times; return the median seconds per load."""
    loads: list[float] = []
    with _opened_log(path) as log:
        for _ in range(repeats):
            started = time.perf_counter()
            task: Task = log.repository.get(workload.task_id(_STREAM_TASK))
            loads.append(time.perf_counter() - started)
            _check("the task's title", task.title, workload.title(_STREAM_TASK, events))
    return statistics.median(loads)


def prepare_history(path: Path, events: int) -> None:
    """Write `workload.history(events)`, many events to a transaction."""
    under_way: dict[int, Task] = {}
    pending: list[CanMutateAggregate[UUID]] = []
    with _opened_log(path) as log:
        for change in workload.history(events):
            if change.kind == "created":
                under_way[change.task] = Task.create(change.task)
            elif change.kind == "updated":
                under_way[change.task].update(change.title)
            else:
                under_way[change.task].complete()
            pending.extend(under_way[change.task].collect_events())
            if change.kind == "completed":
                del under_way[change.task]
            if len(pending) >= _EVENTS_PER_PUT:
                log.events.put(pending)
                pending = []
        if pending:
            log.events.put(pending)


def replay(path: Path, events: int, *, batched: bool = False) -> Replay:
    """Project the prepared history from its first event into an empty table of one row per task.

    Args:
        path: The log `prepare_history` wrote.
        events: How many events it has.
        batched: Commit once per section, by hand, instead of once per event as the peer does.
    """
    for left_over in _view_path(path).parent.glob(f"{_view_path(path).name}*"):
        left_over.unlink()
    with _opened_log(path) as log, _opened_view(path) as view:
        projection = TaskRows(view)
        reader = NotificationLogReader(
            LocalNotificationLog(log.recorder, section_size=SECTION_SIZE), section_size=SECTION_SIZE
        )
        seen = 0
        sample_every = max(events // RSS_SAMPLES, 1)
        rss: list[int] = []
        started = time.perf_counter()
        for section in reader.select(start=view.max_tracking_id(log.name), inclusive_of_start=False):
            with view.batch() if batched else nullcontext():
                for notification in section:
                    event: Any = log.mapper.to_domain_event(notification)
                    projection.process_event(event, Tracking(log.name, notification.id))
                    seen += 1
                    if seen % sample_every == 0:
                        rss.append(rss_bytes())
        seconds = time.perf_counter() - started
        _check("events projected", seen, events)
        rows = list(view.rows())
    return Replay(seconds=seconds, rss=tuple(rss), rows=len(rows), digest=workload.digest(rows))


@contextmanager
def _opened_log(path: Path) -> Generator[Tasks]:
    with Tasks(_settings(path)) as log:
        yield log


@contextmanager
def _opened_view(log_path: Path) -> Generator[TaskView]:
    with SQLiteFactory(Environment(TaskRows.name, _settings(_view_path(log_path)))) as factory:
        view = factory.tracking_recorder(TaskView)
        assert isinstance(view, TaskView)
        yield view


def _settings(path: Path) -> dict[str, str]:
    # Waiting longer for a lock than its default of 5 seconds can only help it under many threads.
    return {
        "PERSISTENCE_MODULE": "eventsourcing.sqlite",
        "SQLITE_DBNAME": str(path),
        "SQLITE_LOCK_TIMEOUT": "60",
    }


def _view_path(log_path: Path) -> Path:
    return log_path.with_name(f"{log_path.stem}-view{log_path.suffix}")


def _check(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        message = f"{what}: expected {wanted!r}, found {found!r}"
        raise AssertionError(message)
