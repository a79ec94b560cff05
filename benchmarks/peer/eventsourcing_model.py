"""The workload written for the peer: an aggregate, an application, a view and a projection, as its manual does it."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import Aggregate
from eventsourcing.persistence import Tracking
from eventsourcing.projection import Projection
from eventsourcing.sqlite import SQLiteCursor, SQLiteTrackingRecorder

from benchmarks.peer import workload

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

_CREATE_ROWS = (
    "CREATE TABLE IF NOT EXISTS task_rows (task_id TEXT PRIMARY KEY, title TEXT NOT NULL,"
    " assignee TEXT NOT NULL, done INTEGER NOT NULL) WITHOUT ROWID"
)


class Task(Aggregate):
    """The peer's aggregate of the shared workload."""

    class Created(Aggregate.Created):
        """`task.created {title, assignee}`."""

        title: str
        assignee: str

    class Updated(Aggregate.Event):
        """`task.updated {title}`."""

        title: str

        def apply(self, aggregate: Any) -> None:
            """Take over the new title."""
            aggregate.title = self.title

    class Completed(Aggregate.Event):
        """`task.completed {}`."""

        def apply(self, aggregate: Any) -> None:
            """Mark the task as done."""
            aggregate.done = True

    def __init__(self, title: str, assignee: str) -> None:
        """Take the fields of `Created`; the peer calls this when it applies that event."""
        self.title = title
        self.assignee = assignee
        self.done = False

    @classmethod
    def create(cls, task: int) -> Task:
        """Start task `task` of the workload."""
        return cls._create(
            cls.Created,
            id=workload.task_id(task),
            title=workload.title(task, 1),
            assignee=workload.assignee(task),
        )

    def update(self, title: str) -> None:
        """Trigger `Updated`."""
        self.trigger_event(self.Updated, title=title)

    def complete(self) -> None:
        """Trigger `Completed`."""
        self.trigger_event(self.Completed)


class Tasks(Application[UUID]):
    """The peer's application; everything about it is the default."""


class TaskView(SQLiteTrackingRecorder):
    """One row per task; every change commits together with its tracking record."""

    _batch: SQLiteCursor | None = None

    def construct_create_table_statements(self) -> list[str]:
        """Add the table of rows to the peer's tracking table."""
        return [*super().construct_create_table_statements(), _CREATE_ROWS]

    def change(self, statement: str, parameters: tuple[str, ...], tracking: Tracking) -> None:
        """Write one row and the position in one transaction, or both within the running batch."""
        with nullcontext(self._batch) if self._batch else self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(statement, parameters)

    @contextmanager
    def batch(self) -> Generator[None]:
        """Commit everything changed inside the block at once; not part of the peer's API."""
        with self.datastore.transaction(commit=True) as cursor:
            self._batch = cursor
            try:
                yield
            finally:
                self._batch = None

    def rows(self) -> Iterator[workload.TaskRow]:
        """Read every row back in the order of its id."""
        with self.datastore.transaction(commit=False) as cursor:
            cursor.execute("SELECT task_id, title, assignee, done FROM task_rows ORDER BY task_id")
            for row in cursor.fetchall():
                yield workload.TaskRow(row["task_id"], row["title"], row["assignee"], bool(row["done"]))


class TaskRows(Projection[TaskView]):
    """Folds the workload's three events into `TaskView`."""

    @singledispatchmethod
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        """Refuse events the workload does not have."""
        raise TypeError(domain_event, tracking)

    @process_event.register
    def _(self, domain_event: Task.Created, tracking: Tracking) -> None:
        self.view.change(
            "INSERT INTO task_rows VALUES (?, ?, ?, 0)",
            (domain_event.originator_id.hex, domain_event.title, domain_event.assignee),
            tracking,
        )

    @process_event.register
    def _(self, domain_event: Task.Updated, tracking: Tracking) -> None:
        self.view.change(
            "UPDATE task_rows SET title = ? WHERE task_id = ?",
            (domain_event.title, domain_event.originator_id.hex),
            tracking,
        )

    @process_event.register
    def _(self, domain_event: Task.Completed, tracking: Tracking) -> None:
        self.view.change("UPDATE task_rows SET done = 1 WHERE task_id = ?", (domain_event.originator_id.hex,), tracking)
