"""What other systems may rely on: integration events on a public topic, whatever becomes of the domain's own events."""

from eventstore import Event, Recorded
from eventstore.publishing import Publication, publishes
from examples.task_domain.events import TaskCompleted, TaskCreated


class TaskAnnounced(Event, type="task.announced"):
    title: str


class TaskFinished(Event, type="task.finished"):
    assignee: str | None


class TaskAnnouncements(Publication, name="task_announcements"):
    @publishes("tasks.public.tasks")
    def created(self, event: TaskCreated, at: Recorded) -> TaskAnnounced:
        return TaskAnnounced(title=event.title)

    @publishes("tasks.public.tasks")
    def completed(self, event: TaskCompleted, at: Recorded) -> TaskFinished:
        return TaskFinished(assignee=event.assignee)
