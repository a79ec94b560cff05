"""What people, and the escalation, can ask for. A command may be rejected; an event cannot."""

from datetime import date

from eventstore import Command


class CreateTask(Command):
    """Create a task under an id that was not used before."""

    title: str
    due: date | None = None


class AssignTask(Command):
    """Give the task to somebody, or to somebody else."""

    assignee: str


class UpdateTask(Command):
    """Give the task another title."""

    title: str


class CompleteTask(Command):
    """Mark the task as done."""


class ReopenTask(Command):
    """Mark a task as not done after all."""


class EscalateTask(Command):
    """Say that the task was due and is still open; the escalation does so."""

    day: date


class DeleteTask(Command):
    """Forget the task; its id cannot be used again."""


class EndDay(Command):
    """Say that a day has ended; a scheduler does so."""

    day: date
