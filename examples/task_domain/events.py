"""What can have happened to a task. The names in quotes are stored for ever; the classes may be renamed."""

from datetime import date

from eventstore import Event


class TaskCreated(Event, type="task.created"):
    title: str
    due: date | None = None


class TaskAssigned(Event, type="task.assigned"):
    assignee: str
    previous: str | None


class TaskUpdated(Event, type="task.updated"):
    title: str


class TaskCompleted(Event, type="task.completed"):
    assignee: str | None
    due: date | None


class TaskReopened(Event, type="task.reopened"):
    assignee: str | None
    due: date | None


class TaskEscalated(Event, type="task.escalated"):
    day: date


class TaskDeleted(Event, type="task.deleted"):
    assignee: str | None
    due: date | None
    was_done: bool


class DayEnded(Event, type="calendar.day_ended"):
    day: date
