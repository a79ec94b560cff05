"""The application, for the command line: `eventstore --app examples.task_domain.app:store projections`."""

import os

from eventstore import EventStore, SqliteLog
from eventstore.ports import EventLog
from examples.task_domain.aggregates import Calendar, Task
from examples.task_domain.escalation import Escalation
from examples.task_domain.read_models import ActivityFeed, TaskBoard, Workload


def log() -> EventLog:
    """Choose the log: on the brokers named in TASKS_KAFKA, or in the file named in TASKS_DB, `tasks.db` by default."""
    if bootstrap := os.environ.get("TASKS_KAFKA"):
        from eventstore.kafka import KafkaLog, KafkaOptions

        options = KafkaOptions(partitions=4, directory=os.environ.get("TASKS_DIRECTORY", ".eventstore"))
        return KafkaLog(bootstrap, prefix="tasks", options=options)
    return SqliteLog(os.environ.get("TASKS_DB", "tasks.db"))


def store() -> EventStore:
    """Make the store; it is opened with `async with`."""
    return EventStore(
        log(),
        aggregates=[Task, Calendar],
        projections=[TaskBoard, Workload, ActivityFeed],
        processes=[Escalation],
    )
