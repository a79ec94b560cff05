"""The board as the next release wants it: the same name, another version, and a column that shows escalations."""

from datetime import date, datetime

from eventstore import Projection, Recorded, Row, projects
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
    escalated: bool = False
    updated_at: datetime


class TaskBoard(Projection[TaskRow], name="task_board", version=2, key="task_id"):
    """Version 2: titles are capitalised and escalated tasks are marked."""

    @projects
    def created(self, row: TaskRow | None, event: TaskCreated, at: Recorded) -> TaskRow:
        return TaskRow(task_id=at.stream.id, title=event.title.capitalize(), due=event.due, updated_at=at.occurred_at)

    @projects
    def assigned(self, row: TaskRow, event: TaskAssigned, at: Recorded) -> TaskRow:
        return row.model_copy(update={"assignee": event.assignee, "updated_at": at.occurred_at})

    @projects
    def updated(self, row: TaskRow, event: TaskUpdated, at: Recorded) -> TaskRow:
        return row.model_copy(update={"title": event.title.capitalize(), "updated_at": at.occurred_at})

    @projects
    def completed_or_reopened(self, row: TaskRow, event: TaskCompleted | TaskReopened, at: Recorded) -> TaskRow:
        return row.model_copy(update={"done": isinstance(event, TaskCompleted), "updated_at": at.occurred_at})

    @projects
    def escalated(self, row: TaskRow, event: TaskEscalated, at: Recorded) -> TaskRow:
        return row.model_copy(update={"escalated": True})

    @projects
    def deleted(self, row: TaskRow, event: TaskDeleted, at: Recorded) -> None:
        return None
