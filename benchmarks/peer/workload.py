"""The same tasks for both sides: what happens to them, and which rows must come out.

Task n's life is `task.created {title, assignee}`, two `task.updated {title}` and `task.completed {}`. A hundred
tasks are under way at a time, so that neighbouring events belong to different tasks, as in a real log.
"""

from __future__ import annotations

import hashlib
from itertools import islice
from typing import TYPE_CHECKING, Literal, NamedTuple
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

TASKS_UNDER_WAY = 100
_ASSIGNEES = 50
_STEPS: tuple[Literal["created", "updated", "completed"], ...] = ("created", "updated", "updated", "completed")


class Change(NamedTuple):
    """One event of the history; `title` and `assignee` are empty where the event has no such field."""

    task: int
    version: int
    kind: Literal["created", "updated", "completed"]
    title: str
    assignee: str


class TaskRow(NamedTuple):
    """One row of the read model, as both sides must end up with."""

    task_id: str
    title: str
    assignee: str
    done: bool


def task_id(task: int) -> UUID:
    """Give the same id for the same task, ascending, so that neither side pays for random index pages."""
    return UUID(int=(0x7 << 76) | (0x2 << 62) | (task << 80))


def title(task: int, version: int) -> str:
    """Give the title a task has from this version on."""
    return f"Write the report for customer {task}, draft {version}"


def assignee(task: int) -> str:
    """Give the one person a task belongs to."""
    return f"user-{task % _ASSIGNEES}"


def history(events: int) -> Iterator[Change]:
    """Yield exactly `events` events in log order."""
    return islice(_endless_history(), events)


def _endless_history() -> Iterator[Change]:
    first = 0
    while True:
        for version, kind in enumerate(_STEPS, start=1):
            for task in range(first, first + TASKS_UNDER_WAY):
                yield Change(
                    task,
                    version,
                    kind,
                    "" if kind == "completed" else title(task, version),
                    assignee(task) if kind == "created" else "",
                )
        first += TASKS_UNDER_WAY


def expected_rows(events: int) -> Iterator[TaskRow]:
    """Yield the rows a correct projection of `history(events)` has, in the order of `task_id`, folded independently."""
    latest: dict[int, tuple[str, bool]] = {}
    for change in history(events):
        latest[change.task] = (change.title or latest[change.task][0], change.kind == "completed")
    for task, (current, done) in sorted(latest.items()):
        yield TaskRow(task_id(task).hex, current, assignee(task), done)


def digest(rows: Iterable[TaskRow]) -> str:
    """Give the same text for the same rows in the same order, whoever computed them."""
    seen = hashlib.sha256()
    for row in rows:
        seen.update(f"{row.task_id}\t{row.title}\t{row.assignee}\t{int(row.done)}\n".encode())
    return seen.hexdigest()
