"""Given, when, then."""

from __future__ import annotations

from datetime import date

import pytest

from eventstore import Send
from eventstore.testing.scenarios import given, rows_of, sent_by
from examples.task_domain.aggregates import Task
from examples.task_domain.commands import CompleteTask, CreateTask, EscalateTask
from examples.task_domain.escalation import Escalation
from examples.task_domain.events import DayEnded, TaskAssigned, TaskCompleted, TaskCreated
from examples.task_domain.read_models import Workload, WorkloadRow

DAY = date(2026, 1, 1)


def test_a_command_leads_to_events() -> None:
    after = given(Task).when(CreateTask(title="a")).then(TaskCreated(title="a"))
    assert after.title == "a"


def test_other_events_than_expected_are_shown() -> None:
    with pytest.raises(AssertionError, match="the command emitted other events"):
        given(Task).when(CreateTask(title="a")).then(TaskCreated(title="b"))


def test_a_command_is_rejected_with_its_code() -> None:
    given(Task, TaskCreated(title="a")).when(CreateTask(title="a")).then_rejected(
        "the task exists already", code="exists"
    )


def test_an_accepted_command_is_no_rejection() -> None:
    with pytest.raises(AssertionError, match="the command was accepted"):
        given(Task).when(CreateTask(title="a")).then_rejected()


def test_a_rejected_command_has_no_events() -> None:
    with pytest.raises(AssertionError, match="the command was rejected"):
        given(Task).when(CompleteTask()).then()


def test_events_are_folded_into_rows() -> None:
    rows = rows_of(
        Workload,
        ("task-1", TaskAssigned(assignee="ann", previous=None)),
        ("task-2", TaskAssigned(assignee="ann", previous=None)),
        ("task-1", TaskAssigned(assignee="ben", previous="ann")),
        ("task-2", TaskCompleted(assignee="ann", due=None)),
    )
    assert rows == {
        ("ann",): WorkloadRow(assignee="ann", done_tasks=1),
        ("ben",): WorkloadRow(assignee="ben", open_tasks=1),
    }


def test_a_process_manager_sends_commands() -> None:
    sent = sent_by(
        Escalation,
        ("task-1", TaskCreated(title="a", due=DAY)),
        ("task-2", TaskCreated(title="b", due=DAY)),
        ("task-1", TaskCompleted(assignee=None, due=DAY)),
        ("calendar-x", DayEnded(day=DAY)),
    )
    assert sent == [Send(Task, "2", EscalateTask(day=DAY))]
