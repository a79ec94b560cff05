"""Event sourcing for asyncio Python: an embedded SQLite log today, Apache Kafka with the same code.

The tutorial needs `EventStore`, `SqliteLog`, `Event`, `Command`, `Aggregate`, `decides`, `evolves`, `Row`, `Projection`,
`projects` and `Recorded`; everything else is for the second day.
"""

from typing import TYPE_CHECKING

from eventstore.core.aggregates import Aggregate, decides, evolves
from eventstore.core.commands import Command
from eventstore.core.errors import (
    AppendOutcomeUnknownError,
    CommandRejectedError,
    ConfigurationError,
    EventStoreError,
    ProjectionFailedError,
    ReadModelStaleError,
    WrongExpectedVersionError,
)
from eventstore.core.events import Event, upcasts
from eventstore.core.policies import OnError
from eventstore.core.processes import ProcessManager, ProcessState, Send, reacts
from eventstore.core.projections import Projection, projects
from eventstore.core.records import NEW, Recorded, Token
from eventstore.core.rows import Row
from eventstore.read.rebuild import RebuildOptions
from eventstore.settings import Settings
from eventstore.sqlite import SqliteLog
from eventstore.store import EventStore
from eventstore.write.pending import Committed

if TYPE_CHECKING:
    from eventstore.sql.projection import SqlProjection

__all__ = [
    "NEW",
    "Aggregate",
    "AppendOutcomeUnknownError",
    "Command",
    "CommandRejectedError",
    "Committed",
    "ConfigurationError",
    "Event",
    "EventStore",
    "EventStoreError",
    "OnError",
    "ProcessManager",
    "ProcessState",
    "Projection",
    "ProjectionFailedError",
    "ReadModelStaleError",
    "RebuildOptions",
    "Recorded",
    "Row",
    "Send",
    "Settings",
    "SqlProjection",
    "SqliteLog",
    "Token",
    "WrongExpectedVersionError",
    "decides",
    "evolves",
    "projects",
    "reacts",
    "upcasts",
]


def __getattr__(name: str) -> object:
    """Import `SqlProjection`, and SQLAlchemy with it, only when somebody asks for it."""
    if name == "SqlProjection":
        from eventstore.sql.projection import SqlProjection  # noqa: PLC0415

        return SqlProjection
    message = f"module 'eventstore' has no attribute {name!r}"
    raise AttributeError(message)
