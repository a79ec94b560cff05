"""Looks at the database that keeps read models: does it take writes, is its clock right, are the tables as expected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, inspect, text
from sqlalchemy.ext.asyncio import AsyncConnection

from eventstore.core.definitions import SubscriptionDefinition
from eventstore.ports import Clock
from eventstore.sql.schema import metadata
from eventstore.sql.store import SqlQueryStore
from eventstore.sql.tables import physical_tables

_SIZE_OF_FILE = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
_STATE = """
    SELECT current_setting('server_version'), pg_database_size(current_database()), clock_timestamp(),
        pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool
"""
_SLOTS = """
    SELECT slot_name, active, coalesce(wal_status, ''), coalesce(pg_wal_lsn_diff(
        CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, restart_lsn), 0)::bigint
    FROM pg_replication_slots WHERE database = current_database() ORDER BY slot_name
"""


@dataclass(frozen=True, slots=True)
class Slot:
    """A replication slot of the database, through which somebody such as an outbox's connector reads its changes.

    Attributes:
        name: Its name.
        active: Whether somebody is reading.
        lost: Whether the database has given up what it still had to read.
        kept_bytes: Of write-ahead log that is kept for it.
    """

    name: str
    active: bool
    lost: bool
    kept_bytes: int


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """How the database is doing.

    Attributes:
        label: Its address without secrets.
        server: What it is, with its version.
        used_bytes: What it takes on disk.
        file: Where it is, if it is a file of this machine.
        ahead: Seconds that its clock is ahead of this machine's, negative if behind, as far as that is certain.
        read_only: Whether it takes no writes: a standby, or set so.
        differences: What about its tables is not as this code expects.
        slots: Its replication slots.
    """

    label: str
    server: str
    used_bytes: int
    file: Path | None = None
    ahead: float = 0.0
    read_only: bool = False
    differences: Sequence[str] = ()
    slots: Sequence[Slot] = ()


async def look_at(store: SqlQueryStore, definitions: Sequence[SubscriptionDefinition], clock: Clock) -> DatabaseState:
    """Tell how the database of an open query store is doing; changes nothing.

    Args:
        store: It is open.
        definitions: What the application defines; the tables of versions that are known to the database are compared.
        clock: The clock to compare the database's with.

    Raises:
        StoreUnavailableError: It cannot be reached now.
    """
    known = {(status.name, status.version) for status in await store.statuses() if status.state != "retired"}
    tables = [
        *metadata.sorted_tables,
        *(
            table
            for definition in definitions
            if (definition.name, definition.version) in known
            for table in physical_tables(definition).values()
        ),
    ]
    async with store.reading("looking at the database") as connection:
        differences = await connection.run_sync(_differences, tables)
        if connection.dialect.name == "sqlite":
            version, size = (
                (await _row(connection, "SELECT sqlite_version()"))[0],
                await _row(connection, _SIZE_OF_FILE),
            )
            file = Path(store.label)
            return DatabaseState(store.label, f"SQLite {version}", size[0], file, differences=differences)
        before = clock.now()
        version, used, stamp, read_only = await _row(connection, _STATE)
        ahead = _outside(before, stamp, clock.now())
        slots = [Slot(name, active, status == "lost", kept) for name, active, status, kept in await _rows(connection)]
    return DatabaseState(store.label, f"PostgreSQL {version}", used, None, ahead, read_only, differences, slots)


def _differences(connection: Connection, tables: Sequence[Table]) -> list[str]:
    found: list[str] = []
    inspector = inspect(connection)
    for table in tables:
        if not inspector.has_table(table.name):
            found.append(f"the table {table.name} is missing")
            continue
        there = {column["name"] for column in inspector.get_columns(table.name)}
        found += [f"the table {table.name} has no column {name}" for name in table.columns.keys() if name not in there]  # noqa: SIM118 - of a collection of columns
    return found


def _outside(before: datetime, stamp: datetime, after: datetime) -> float:
    """Tell how far a time lies outside an interval."""
    return (stamp - min(max(stamp, before), after)).total_seconds()


async def _row(connection: AsyncConnection, statement: str) -> Any:
    return (await connection.execute(text(statement))).one()


async def _rows(connection: AsyncConnection) -> Sequence[Any]:
    return (await connection.execute(text(_SLOTS))).all()
