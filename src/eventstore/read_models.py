"""Where read models are kept, and what keeps them up to date."""

from __future__ import annotations

import os
import socket
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, TypeVar

from eventstore.core.errors import ConfigurationError
from eventstore.core.projections import Projection
from eventstore.core.registry import TypeRegistry
from eventstore.core.rows import Row
from eventstore.environment import Environment
from eventstore.ports import Clock, EventLog, QueryStore
from eventstore.read.query_side import QuerySide
from eventstore.read.worker import WorkerSettings
from eventstore.settings import Settings

if TYPE_CHECKING:
    from eventstore.sql.read_model import ReadModel

R = TypeVar("R", bound=Row)


def query_store_at(where: str | PathLike[str] | QueryStore, clock: Clock, name: str) -> QueryStore:
    """Give the query store of a file or URL, not opened yet, or the given one.

    Raises:
        ConfigurationError: The address cannot be used.
    """
    if isinstance(where, str | PathLike):
        from eventstore.sql.store import SqlQueryStore  # noqa: PLC0415 - SQLAlchemy only when it is used

        return SqlQueryStore(os.fspath(where), clock=clock, name=name)
    return where


def process_name(environment: Environment) -> str:
    """Name this process, for others to see who works on what; another name each time."""
    return f"{socket.gethostname()}:{os.getpid()}:{environment.entropy.bits(32):08x}"


def query_side_over(
    log: EventLog, query_store: QueryStore, registry: TypeRegistry, settings: Settings, name: str
) -> QuerySide:
    """Give the query side of an open log and an open query store, with nothing registered yet."""
    return QuerySide(
        log,
        query_store,
        registry,
        settings.environment,
        WorkerSettings(
            batch_size=settings.batch_size,
            lease=settings.lease,
            concurrency=settings.concurrency,
            applied=None if settings.telemetry is None else settings.telemetry.applied,
        ),
        name,
    )


def read_model_in(
    query_store: QueryStore, projection: type[Projection[R]], query_side: QuerySide | None
) -> ReadModel[R]:
    """Give read access to a projection's rows; while they are being built, single ones come from the log.

    Raises:
        ConfigurationError: The query store is a custom one.
    """
    from eventstore.sql.read_model import ReadModel  # noqa: PLC0415 - SQLAlchemy only when it is used
    from eventstore.sql.store import SqlQueryStore  # noqa: PLC0415

    if not isinstance(query_store, SqlQueryStore):
        message = f"{type(query_store).__name__} is no SQL database: read its rows its own way"
        raise ConfigurationError(message)
    unbuilt = None if query_side is None else partial(query_side.unbuilt_row, projection)
    return ReadModel(query_store, projection, unbuilt)
