"""Applications for pipes: one with a relay and an inbox on Kafka, and a later release of the task domain."""

from __future__ import annotations

import os

from eventstore import Event, EventStore, Projection, Recorded, projects
from eventstore.inbox import Envelopes, Inbox, Received, Send, receives
from eventstore.kafka import KafkaLog, KafkaOptions
from eventstore.publishing import Publication, publishes
from examples.task_domain.aggregates import Task
from examples.task_domain.app import store as tasks
from examples.task_domain.commands import CreateTask
from examples.task_domain.events import TaskCreated
from examples.task_domain.next_release import TaskRow
from examples.task_domain.read_models import TaskBoard

PREFIX = os.environ.get("PIPES_PREFIX", "pipes")


class PublicTask(Event, type="public.task"):
    title: str


class Feed(Publication, name="feed"):
    @publishes(f"{PREFIX}.public.tasks")
    def created(self, event: TaskCreated, at: Recorded) -> PublicTask:
        return PublicTask(title=event.title)


class Notices(Inbox, name="notices", topics=[f"{PREFIX}.public.tasks"]):
    format = Envelopes()

    @receives
    def told(self, event: PublicTask, at: Received) -> Send:
        return Send(Task, "1", CreateTask(title=event.title))


class Board(Projection[TaskRow], name="task_board", version=3, key="task_id"):
    @projects
    def created(self, row: TaskRow | None, event: TaskCreated, at: Recorded) -> TaskRow:
        return TaskRow(task_id=at.stream.id, title=event.title, updated_at=at.occurred_at)


def third() -> EventStore:
    old = tasks()
    return EventStore(old.log, aggregates=[*old.application.aggregates.values()], projections=[Board])


def store() -> EventStore:
    options = KafkaOptions(partitions=2, directory=".")
    log = KafkaLog(os.environ["PIPES_KAFKA"], prefix=PREFIX, options=options)
    return EventStore(log, aggregates=[Task], projections=[TaskBoard], publications=[Feed], inboxes=[Notices])
