"""The one schema of the event table, and how a file is recognised as ours."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from eventstore.core.errors import ConfigurationError, CorruptLogError
from eventstore.core.records import StoredEvent

APPLICATION_ID: Final = 0x65767374  # "evst", shown by file(1)
INDEX_ID: Final = 0x65767378  # "evsx": the local index of a log that is kept elsewhere
_KINDS: Final = {APPLICATION_ID: "an event log", INDEX_ID: "the local index of a Kafka log, which holds no log itself"}
SCHEMA_VERSION: Final = 1

# A stream's category needs no column: names are category-id and "." follows "-", so a range selects a category.
_TABLES: Final = (
    """
    CREATE TABLE events (
        position       INTEGER PRIMARY KEY,
        stream         TEXT    NOT NULL,
        version        INTEGER NOT NULL,
        event_type     TEXT    NOT NULL,
        schema_version INTEGER NOT NULL,
        event_id       BLOB    NOT NULL,
        command_id     BLOB    NOT NULL,
        command_index  INTEGER NOT NULL,
        command_size   INTEGER NOT NULL,
        occurred_at    INTEGER NOT NULL,
        envelope       BLOB    NOT NULL
    ) STRICT
    """,
    "CREATE UNIQUE INDEX events_by_stream ON events (stream, version)",
    "CREATE UNIQUE INDEX events_by_command ON events (command_id) WHERE command_index = 1",
    """
    CREATE TABLE snapshots (
        stream      TEXT    PRIMARY KEY,
        version     INTEGER NOT NULL,
        occurred_at INTEGER NOT NULL,
        fingerprint TEXT    NOT NULL,
        state       BLOB    NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
)

# A position is a slot and an offset in it: one slot per partition, so that several partitions share the one table.
SLOT_BITS: Final = 44
_OFFSET: Final = (1 << SLOT_BITS) - 1
EVENT_COLUMNS: Final = ", ".join((f"position & {_OFFSET}", *StoredEvent._fields[1:]))


def create_or_check(
    connection: sqlite3.Connection, path: Path, new_log_id: str, application_id: int = APPLICATION_ID
) -> str:
    """Make the file a log if it is empty, or make sure it is one.

    Args:
        connection: In autocommit mode.
        path: The file, for messages.
        new_log_id: Identity of the log if it is created now.
        application_id: What marks the file: `APPLICATION_ID` a log, `INDEX_ID` an index of one.

    Returns:
        The log's identity.

    Raises:
        CorruptLogError: The file is a database, but not a log of ours.
        ConfigurationError: The log was written by a newer version of this package, or the file is of the other kind.
        sqlite3.Error: The file cannot be read or written.
    """
    found = _pragma(connection, "application_id")
    if found == application_id:
        return _check(connection, path)
    if found in _KINDS:
        message = (
            f"{path} is {_KINDS[found]}, and was opened as {_KINDS[application_id]}: choose another file, "
            "nothing was changed"
        )
        raise ConfigurationError(message)
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Asked again under the lock: another process may just have created it.
        if _pragma(connection, "application_id") != application_id:
            _create(connection, path, new_log_id, application_id)
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise
    return _check(connection, path)


def _create(connection: sqlite3.Connection, path: Path, log_id: str, application_id: int) -> None:
    if _pragma(connection, "schema_version") != 0:
        message = f"{path} is an SQLite database but not an event log: choose another file, nothing was changed"
        raise CorruptLogError(message)
    for statement in _TABLES:
        connection.execute(statement)
    connection.executemany("INSERT INTO meta VALUES (?, ?)", [("log_id", log_id), ("barrier", "0")])
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute(f"PRAGMA application_id = {application_id}")


def _check(connection: sqlite3.Connection, path: Path) -> str:
    found = _pragma(connection, "user_version")
    if found != SCHEMA_VERSION:
        message = (
            f"{path} has the format {found} and this version of eventstore writes format {SCHEMA_VERSION}: "
            "use the version that wrote it, or export it there and import it here"
        )
        raise ConfigurationError(message)
    row: tuple[str] | None = connection.execute("SELECT value FROM meta WHERE name = 'log_id'").fetchone()
    if row is None:
        message = f"{path} has lost its identity (meta.log_id): restore it from a backup"
        raise CorruptLogError(message)
    return row[0]


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    row: tuple[int] = connection.execute(f"PRAGMA {name}").fetchone()
    return row[0]
