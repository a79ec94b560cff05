"""An outbox: events of a service whose truth is PostgreSQL, written in its own transactions and carried on by Debezium."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from sqlalchemy import Column, DateTime, LargeBinary, MetaData, SmallInteger, String, Table, Uuid, delete, insert
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.schema import CreateTable

from eventstore.core.envelope import Metadata, write_envelope
from eventstore.core.errors import ConfigurationError
from eventstore.core.events import Event
from eventstore.core.streams import StreamId, parse_stream
from eventstore.environment import Environment

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_CATEGORY: Final = "{category}"
_COLUMNS: Final = frozenset(
    "id aggregatetype aggregateid type schema_version occurred_at correlation_id causation_id traceparent payload".split()  # noqa: SIM905 - reads better
)


def outbox_table(metadata: MetaData, name: str = "outbox", *, schema: str | None = None) -> Table:
    """Define an outbox's table, for the service's own migrations.

    Args:
        metadata: The service's.
        name: The table's name.
        schema: Its schema; None for `public`.
    """
    return Table(
        name,
        metadata,
        Column("id", Uuid, primary_key=True),
        Column("aggregatetype", String(64), nullable=False),
        Column("aggregateid", String(64), nullable=False),
        Column("type", String(200), nullable=False),
        Column("schema_version", SmallInteger, nullable=False),
        Column("occurred_at", DateTime(timezone=True), nullable=False),
        Column("correlation_id", Uuid, nullable=False),
        Column("causation_id", Uuid, nullable=False),
        Column("traceparent", String(64)),
        Column("payload", LargeBinary, nullable=False),
        schema=schema,
    )


class Outbox:
    """Writes events that leave if, and only if, the service's own transaction commits, in the order of the commits.

    The row is deleted in the transaction that inserted it: the table stays empty, and the connector reads the
    database's write-ahead log. `eventstore outbox sql` and `eventstore outbox connector` print what it takes.

    Args:
        table: Made by `outbox_table`.
        name: Of the service: its publication and slot are `<name>_outbox`.
        topic: Where events go; `{category}` stands for the first part of their stream.
        environment: Clock and ids.

    Raises:
        ConfigurationError: The table has other columns, or a name is not allowed.
    """

    def __init__(
        self, table: Table, *, name: str, topic: str | None = None, environment: Environment | None = None
    ) -> None:
        missing = _COLUMNS - set(table.columns.keys())
        if missing:
            message = (
                f"the table {table.name} has no column {', '.join(sorted(missing))}: make it with outbox_table(...)"
            )
            raise ConfigurationError(message)
        if not _NAME.fullmatch(name):
            message = f"Outbox(name={name!r}): use 1 to 40 lower case letters, digits and underscores"
            raise ConfigurationError(message)
        self.table: Final = table
        self.name: Final = name
        self.topic: Final = topic or f"{name}.public.{_CATEGORY}"
        if not re.fullmatch(r"[A-Za-z0-9._-]+", self.topic.replace(_CATEGORY, "x", 1)):
            message = (
                f"Outbox(topic={self.topic!r}): use letters, digits, dots, dashes, underscores and one {_CATEGORY}"
            )
            raise ConfigurationError(message)
        self._environment: Final = environment or Environment()

    @property
    def slot(self) -> str:
        """The replication slot and the publication."""
        return f"{self.name}_outbox"

    @property
    def qualified_table(self) -> str:
        """The table with its schema."""
        return f"{self.table.schema or 'public'}.{self.table.name}"

    def topic_of(self, category: str) -> str:
        """Give the topic that a category's events go to."""
        return self.topic.replace(_CATEGORY, category)

    async def add(
        self,
        connection: AsyncConnection | AsyncSession,
        stream: StreamId | str,
        *events: Event,
        correlation_id: UUID | None = None,
        causation_id: UUID | None = None,
        traceparent: str | None = None,
    ) -> Sequence[UUID]:
        """Add events to the transaction that is under way: they leave when it commits, or not at all.

        Args:
            connection: In the transaction; a session is fine.
            stream: Whose events, as `category-id`; those of one stream arrive in the order in which their transactions
                committed.
            events: In order.
            correlation_id: What they belong to; by default the first event's id.
            causation_id: What caused them; by default the same.
            traceparent: The W3C trace context.

        Returns:
            The events' ids, by which receivers recognise what is delivered twice.

        Raises:
            InvalidIdError: The stream is malformed.
            UnencodableEventError: An event cannot be written; nothing was.
            ConfigurationError: The connection commits each statement by itself.
        """
        target = parse_stream(stream) if isinstance(stream, str) else stream
        inner = await connection.connection() if isinstance(connection, AsyncSession) else connection
        await _refuse_autocommit(inner)
        if not events:
            return ()
        ids = [self._environment.new_id() for _ in events]
        correlation = correlation_id or ids[0]
        metadata = Metadata(correlation, causation_id or correlation)
        now = self._environment.clock.now().astimezone(UTC)
        rows = [self._row(target, *each, now, metadata, traceparent) for each in zip(events, ids, strict=True)]
        await inner.execute(insert(self.table), rows)
        await inner.execute(delete(self.table).where(self.table.c.id.in_(ids)))
        return ids

    def _row(
        self, target: StreamId, event: Event, event_id: UUID, now: datetime, metadata: Metadata, traceparent: str | None
    ) -> dict[str, Any]:
        return {
            "id": event_id,
            "aggregatetype": target.category,
            "aggregateid": target.id,
            "type": event.event_type,
            "schema_version": event.schema_version,
            "occurred_at": now,
            "correlation_id": metadata.correlation_id,
            "causation_id": metadata.causation_id,
            "traceparent": traceparent,
            "payload": write_envelope(event, event_id, now, metadata),
        }

    def sql(self, role: str, *, heartbeat: bool = False) -> list[str]:
        """Give the statements that prepare the database, in order; to be executed by an administrator, once.

        Args:
            role: Who the connector logs in as.
            heartbeat: With a table that the connector writes to now and then: without it, a database in which nothing
                happens keeps the write-ahead log of all others on its server.

        Raises:
            ConfigurationError: The role's name is not allowed.
        """
        if not _NAME.fullmatch(role):
            message = f"{role!r} is no role for the connector: use 1 to 40 lower case letters, digits and underscores"
            raise ConfigurationError(message)
        schema, table = self.table.schema or "public", self.qualified_table
        create = str(CreateTable(self.table).compile(dialect=postgresql.dialect())).strip()  # type: ignore[no-untyped-call]
        statements = [
            re.sub(r"[ \t]+\n", "\n", create),
            f"CREATE PUBLICATION {self.slot} FOR TABLE {table} WITH (publish = 'insert')",
            f"CREATE ROLE {role} WITH LOGIN REPLICATION",
            f"GRANT USAGE ON SCHEMA {schema} TO {role}",
            f"GRANT SELECT ON {table} TO {role}",
        ]
        if heartbeat:
            beats = self.heartbeat_table
            statements += [
                f"CREATE TABLE {beats} (id integer PRIMARY KEY, at timestamptz NOT NULL)",
                f"GRANT SELECT, INSERT, UPDATE ON {beats} TO {role}",
                f"ALTER PUBLICATION {self.slot} ADD TABLE {beats}",
            ]
        # From here on nothing is missed, however late the connector starts.
        statements.append(f"SELECT pg_create_logical_replication_slot('{self.slot}', 'pgoutput')")
        return statements

    @property
    def heartbeat_table(self) -> str:
        """The heartbeat's table with its schema."""
        return f"{self.qualified_table}_heartbeat"


async def _refuse_autocommit(connection: AsyncConnection) -> None:
    raw: DBAPIConnection | None = (await connection.get_raw_connection()).dbapi_connection
    if raw is not None and connection.dialect.detect_autocommit_setting(raw):
        message = (
            "the outbox needs a transaction, and this connection commits each statement by itself: leave out "
            'isolation_level="AUTOCOMMIT", and use `async with engine.begin() as connection`'
        )
        raise ConfigurationError(message)
