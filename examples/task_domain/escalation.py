"""A process manager: when a day ends, every task that was due on it and is still open is escalated."""

from datetime import date

from pydantic import Field

from eventstore import ProcessManager, ProcessState, Recorded, Send, reacts
from examples.task_domain.aggregates import Task
from examples.task_domain.commands import EscalateTask
from examples.task_domain.events import DayEnded, TaskCompleted, TaskCreated, TaskDeleted, TaskReopened


class DueTasks(ProcessState):
    """The open tasks that are due on a day."""

    due: date
    task_ids: list[str] = Field(default_factory=list)


class Escalation(ProcessManager[DueTasks], name="escalation", key="due"):
    @reacts(key="due")
    def opened(self, state: DueTasks, event: TaskCreated | TaskReopened, at: Recorded) -> None:
        state.task_ids.append(at.stream.id)

    @reacts(key="due")
    def closed(self, state: DueTasks, event: TaskCompleted | TaskDeleted, at: Recorded) -> None:
        state.task_ids = [task_id for task_id in state.task_ids if task_id != at.stream.id]

    @reacts(key="day")
    def day_ended(self, state: DueTasks, event: DayEnded, at: Recorded) -> list[Send]:
        state.finished = True
        return [Send(Task, task_id, EscalateTask(day=event.day)) for task_id in state.task_ids]
