"""What people look at. Each read model is an ordinary SQL table that can be rebuilt from the events at any time."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import Column, DateTime, Integer, MetaData, String, Table, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from eventstore import Projection, Recorded, Row, SqlProjection, projects
from examples.task_domain.events import (
    TaskAssigned,
    TaskCompleted,
    TaskCreated,
    TaskDeleted,
    TaskEscalated,
    TaskReopened,
    TaskUpdated,
)


class TaskRow(Row):
    task_id: str
    title: str
    assignee: str | None = None
    due: date | None = None
    done: bool = False
    updated_at: datetime


class TaskBoard(Projection[TaskRow], name="task_board", version=1, key="task_id"):
    """One row per task that is not deleted."""

    @projects
    def created(self, row: TaskRow | None, event: TaskCreated, at: Recorded) -> TaskRow:
        return TaskRow(task_id=at.stream.id, title=event.title, due=event.due, updated_at=at.occurred_at)

    @projects
    def assigned(self, row: TaskRow, event: TaskAssigned, at: Recorded) -> TaskRow:
        return row.model_copy(update={"assignee": event.assignee, "updated_at": at.occurred_at})

    @projects
    def updated(self, row: TaskRow, event: TaskUpdated, at: Recorded) -> TaskRow:
        return row.model_copy(update={"title": event.title, "updated_at": at.occurred_at})

    @projects
    def completed_or_reopened(self, row: TaskRow, event: TaskCompleted | TaskReopened, at: Recorded) -> TaskRow:
        return row.model_copy(update={"done": isinstance(event, TaskCompleted), "updated_at": at.occurred_at})

    @projects
    def deleted(self, row: TaskRow, event: TaskDeleted, at: Recorded) -> None:
        return None


class WorkloadRow(Row):
    assignee: str
    open_tasks: int = 0
    done_tasks: int = 0


class Workload(Projection[WorkloadRow], name="workload", version=1, key="assignee"):
    """Counters per assignee: the key is not the task's id, and one event may concern two rows."""

    @projects(key="assignee")
    def got(self, row: WorkloadRow | None, event: TaskAssigned, at: Recorded) -> WorkloadRow:
        row = row or WorkloadRow(assignee=event.assignee)
        row.open_tasks += 1
        return row

    @projects(key="previous")
    def lost(self, row: WorkloadRow, event: TaskAssigned, at: Recorded) -> WorkloadRow:
        row.open_tasks -= 1
        return row

    @projects(key="assignee")
    def completed(self, row: WorkloadRow, event: TaskCompleted, at: Recorded) -> WorkloadRow:
        row.open_tasks -= 1
        row.done_tasks += 1
        return row

    @projects(key="assignee")
    def reopened(self, row: WorkloadRow, event: TaskReopened, at: Recorded) -> WorkloadRow:
        row.open_tasks += 1
        row.done_tasks -= 1
        return row

    @projects(key="assignee")
    def deleted(self, row: WorkloadRow, event: TaskDeleted, at: Recorded) -> WorkloadRow:
        row.open_tasks -= not event.was_done
        row.done_tasks -= event.was_done
        return row


activity = Table(
    "activity",
    MetaData(),
    Column("event", String, primary_key=True),
    Column("task_id", String, nullable=False),
    Column("what", String, nullable=False),
    Column("version", Integer, nullable=False),
    Column("occurred_at", DateTime(timezone=True), nullable=False),
)


class ActivityFeed(SqlProjection, name="activity_feed", version=1, tables=[activity]):
    """Not a fold into keyed rows, so plain SQL inside the transaction that also moves the position."""

    @projects
    async def happened(
        self,
        db: AsyncConnection,
        event: TaskCreated | TaskAssigned | TaskUpdated | TaskCompleted | TaskReopened | TaskEscalated | TaskDeleted,
        at: Recorded,
    ) -> None:
        values: dict[str, Any] = {
            "event": str(at.event_id),
            "task_id": at.stream.id,
            "what": event.event_type.removeprefix("task."),
            "version": at.version,
            "occurred_at": at.occurred_at,
        }
        await db.execute(insert(self.tables["activity"]).values(values))
