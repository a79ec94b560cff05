"""The application, for the command line: `eventstore --app examples.task_domain.app:store projections`."""

import os

from eventstore import EventStore, Settings, SqliteLog
from eventstore.ports import EventLog
from examples.task_domain.aggregates import Calendar, Task
from examples.task_domain.announcements import TaskAnnouncements
from examples.task_domain.escalation import Escalation
from examples.task_domain.read_models import ActivityFeed, TaskBoard, Workload


def log() -> EventLog:
    """Choose the log: on the brokers named in EVENTSTORE_BOOTSTRAP, or in the file in TASKS_DB, `tasks.db` by default."""
    if "EVENTSTORE_BOOTSTRAP" in os.environ:
        from eventstore.kafka import Connection, KafkaLog, KafkaOptions

        return KafkaLog(Connection.from_environment(), prefix="tasks", options=KafkaOptions.from_environment())
    return SqliteLog(os.environ.get("TASKS_DB", "tasks.db"))


def store() -> EventStore:
    """Make the store; it is opened with `async with`. TASKS_WORKERS=no leaves the read models to other processes."""
    return EventStore(
        log(),
        aggregates=[Task, Calendar],
        projections=[TaskBoard, Workload, ActivityFeed],
        processes=[Escalation],
        publications=[TaskAnnouncements],
        query_store=os.environ.get("EVENTSTORE_QUERY_STORE"),
        settings=Settings(workers=os.environ.get("TASKS_WORKERS") != "no"),
    )
