"""Projections that are not "fold events into keyed rows": SQL on the connection of the running transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from sqlalchemy import Table

from eventstore.core.definitions import (
    Subscription,
    SubscriptionDefinition,
    check_name,
    handlers_of,
    read_subscriptions,
)
from eventstore.core.errors import ConfigurationError
from eventstore.core.events import Event
from eventstore.core.fingerprints import fingerprint
from eventstore.core.policies import OnError
from eventstore.sql.columns import POSTGRESQL, SQLITE
from eventstore.sql.tables import digest, versioned_table


class SqlProjection:
    """A read model of any shape: `class Feed(SqlProjection, name="feed", version=1, tables=[feed])`.

    Handlers are `async (self, db, event, at) -> None`, marked with `@projects`. They write through `db`, which is in
    the transaction that also moves the position, and to `self.tables["feed"]`, which is this version's own table.

    Args (of the class statement):
        name: Unique name.
        version: Raise it whenever the same events shall lead to other content.
        tables: SQLAlchemy tables as readers query them; every version gets its own copies.
        on_error: What to do when a handler raises.
        categories: Categories to read; by default those of the aggregates that emit the handled events.

    Raises:
        ConfigurationError: At import, when the definition cannot work.
    """

    definition: ClassVar[SubscriptionDefinition]
    subscriptions: ClassVar[Mapping[type[Event], tuple[Subscription, ...]]]
    tables: ClassVar[Mapping[str, Table]]

    def __init_subclass__(
        cls,
        *,
        name: str | None = None,
        version: int = 1,
        tables: Sequence[Table] = (),
        on_error: OnError | None = None,
        categories: Iterable[str] = (),
        **kwargs: Any,
    ) -> None:
        """Read and check the definition."""
        super().__init_subclass__(**kwargs)
        checked = check_name(cls, name, version)
        if not tables:
            message = f"{cls.__qualname__}: list its tables: class {cls.__name__}(SqlProjection, ..., tables=[table])"
            raise ConfigurationError(message)
        for table in tables:
            if not table.primary_key.columns:
                message = (
                    f"{cls.__qualname__}: give table {table.name!r} a primary key, so that versions can be compared"
                )
                raise ConfigurationError(message)
        cls.tables = {table.name: versioned_table(table, version, cls.__qualname__) for table in tables}
        cls.subscriptions = read_subscriptions(cls, ("db", "event", "at"))
        shape = " ".join(digest(table, dialect) for table in tables for dialect in (SQLITE, POSTGRESQL))
        cls.definition = SubscriptionDefinition(
            name=checked,
            version=version,
            fingerprint=fingerprint(shape, *handlers_of(cls.subscriptions)),
            events=frozenset(event.event_type for event in cls.subscriptions),
            categories=tuple(categories),
            on_error=on_error or OnError.halt(),
            tables=tuple(cls.tables.values()),
        )
