"""The application, for the command line: `eventstore --app examples.task_domain.app:store projections`."""

import os

from eventstore import EventStore, SqliteLog
from examples.task_domain.aggregates import Calendar, Task
from examples.task_domain.escalation import Escalation
from examples.task_domain.read_models import ActivityFeed, TaskBoard, Workload


def store() -> EventStore:
    """Make the store of the file named in TASKS_DB, `tasks.db` by default; it is opened with `async with`."""
    return EventStore(
        SqliteLog(os.environ.get("TASKS_DB", "tasks.db")),
        aggregates=[Task, Calendar],
        projections=[TaskBoard, Workload, ActivityFeed],
        processes=[Escalation],
    )
