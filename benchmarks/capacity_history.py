"""The history that `benchmarks.capacity` writes: lives of tasks that overlap, as the task domain decides them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from itertools import count
from typing import Final

from eventstore import Event
from eventstore.core.envelope import Metadata, write_envelope
from eventstore.core.ids import event_id, uuid7
from eventstore.core.records import from_micros
from eventstore.ports import NewEvent, StreamCommit
from examples.task_domain.events import TaskAssigned, TaskCompleted, TaskCreated, TaskReopened, TaskUpdated

EVENTS_PER_STREAM: Final = 10
_ALIVE: Final = 20_000
"""So many tasks live at the same time, so that the events of one lie far apart."""
_START_MS: Final = 1_750_000_000_000
_DUE: Final = date(2026, 3, 1)
_PEOPLE: Final = ("ann.ashby", "ben.brooks", "cleo.carter", "dan.dietrich", "eve.ellis")


def life(number: int) -> list[Event]:
    """Give the ten events of one task."""
    first, second = _PEOPLE[number % 5], _PEOPLE[(number + 1) % 5]
    title = f"write chapter {number % 97} of report {number}"
    return [
        TaskCreated(title=title, due=_DUE),
        TaskAssigned(assignee=first, previous=None),
        TaskUpdated(title=f"{title}, with figures"),
        TaskUpdated(title=f"{title}, with figures and sources"),
        TaskAssigned(assignee=second, previous=first),
        TaskUpdated(title=f"{title}, shorter"),
        TaskCompleted(assignee=second, due=_DUE),
        TaskReopened(assignee=second, due=_DUE),
        TaskUpdated(title=f"{title}, corrected"),
        TaskCompleted(assignee=second, due=_DUE),
    ]


def commits(events: int) -> Iterator[StreamCommit]:
    """Give every event as a command of its own, in the order in which the tasks' lives overlap."""
    clock = count()
    streams = events // EVENTS_PER_STREAM
    for start in range(0, streams, _ALIVE):
        numbers = range(start, min(start + _ALIVE, streams))
        lives = [(f"task-{uuid7(_START_MS + number, number)}", life(number)) for number in numbers]
        for version in range(EVENTS_PER_STREAM):
            for stream, told in lives:
                yield _commit(stream, version, told[version], next(clock))


def _commit(stream: str, version: int, event: Event, number: int) -> StreamCommit:
    command = uuid7(_START_MS + number // 10, number)
    micros = (_START_MS + number // 10) * 1_000 + number % 10
    identity = event_id(command, 1)
    envelope = write_envelope(event, identity, from_micros(micros), Metadata(command, command))
    new = NewEvent(event.event_type, 1, identity.bytes, micros, envelope)
    return StreamCommit(stream, version, command.bytes, (new,))
