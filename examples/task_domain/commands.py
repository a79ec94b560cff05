"""What people, and the escalation, can ask for. A command may be rejected; an event cannot."""

from datetime import date

from eventstore import Command


class CreateTask(Command):
    title: str
    due: date | None = None


class AssignTask(Command):
    assignee: str


class UpdateTask(Command):
    title: str


class CompleteTask(Command):
    pass


class ReopenTask(Command):
    pass


class EscalateTask(Command):
    day: date


class DeleteTask(Command):
    pass


class EndDay(Command):
    day: date
