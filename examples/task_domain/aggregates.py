"""The rules: which commands are accepted in which state, and how events change the state."""

from datetime import date

from eventstore import Aggregate, CommandRejectedError, decides, evolves
from examples.task_domain.commands import (
    AssignTask,
    CompleteTask,
    CreateTask,
    DeleteTask,
    EndDay,
    EscalateTask,
    ReopenTask,
    UpdateTask,
)
from examples.task_domain.events import (
    DayEnded,
    TaskAssigned,
    TaskCompleted,
    TaskCreated,
    TaskDeleted,
    TaskEscalated,
    TaskReopened,
    TaskUpdated,
)


class Task(Aggregate, category="task"):
    title: str = ""
    due: date | None = None
    assignee: str | None = None
    done: bool = False
    deleted: bool = False
    escalated: bool = False

    @decides
    def create(self, command: CreateTask) -> TaskCreated:
        if self.exists:
            raise CommandRejectedError("the task exists already", code="exists")
        return TaskCreated(title=command.title, due=command.due)

    @decides
    def assign(self, command: AssignTask) -> TaskAssigned | None:
        self._must_be_open()
        if command.assignee == self.assignee:
            return None
        return TaskAssigned(assignee=command.assignee, previous=self.assignee)

    @decides
    def update(self, command: UpdateTask) -> TaskUpdated | None:
        self._must_be_open()
        return TaskUpdated(title=command.title) if command.title != self.title else None

    @decides
    def complete(self, command: CompleteTask) -> TaskCompleted:
        self._must_be_open()
        return TaskCompleted(assignee=self.assignee, due=self.due)

    @decides
    def reopen(self, command: ReopenTask) -> TaskReopened:
        self._must_exist()
        if not self.done:
            raise CommandRejectedError("the task is not done", code="not_done")
        return TaskReopened(assignee=self.assignee, due=self.due)

    @decides
    def escalate(self, command: EscalateTask) -> TaskEscalated | None:
        self._must_be_open()
        return None if self.escalated else TaskEscalated(day=command.day)

    @decides
    def delete(self, command: DeleteTask) -> TaskDeleted:
        self._must_exist()
        return TaskDeleted(assignee=self.assignee, due=self.due, was_done=self.done)

    @evolves
    def was_created(self, event: TaskCreated) -> None:
        self.title = event.title
        self.due = event.due

    @evolves
    def was_assigned(self, event: TaskAssigned) -> None:
        self.assignee = event.assignee

    @evolves
    def was_updated(self, event: TaskUpdated) -> None:
        self.title = event.title

    @evolves
    def was_completed(self, event: TaskCompleted) -> None:
        self.done = True

    @evolves
    def was_reopened(self, event: TaskReopened) -> None:
        self.done = False

    @evolves
    def was_escalated(self, event: TaskEscalated) -> None:
        self.escalated = True

    @evolves
    def was_deleted(self, event: TaskDeleted) -> None:
        self.deleted = True

    def _must_exist(self) -> None:
        if not self.exists or self.deleted:
            raise CommandRejectedError("there is no such task", code="unknown")

    def _must_be_open(self) -> None:
        self._must_exist()
        if self.done:
            raise CommandRejectedError("the task is done already", code="done")


class Calendar(Aggregate, category="calendar"):
    """Time as events: a scheduler sends `EndDay` once a day, and everything that waits for a day reacts to it."""

    last_day: date = date.min

    @decides
    def end_day(self, command: EndDay) -> DayEnded | None:
        return DayEnded(day=command.day) if command.day > self.last_day else None

    @evolves
    def day_ended(self, event: DayEnded) -> None:
        self.last_day = event.day
