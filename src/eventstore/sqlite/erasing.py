"""Erasing the data of events from a file: its row is emptied, and what SQLite would leave lying about is overwritten."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from eventstore.core.errors import LogUnavailableError
from eventstore.sqlite.inserting import EventRow, insert_events

_EMPTY: Final = "UPDATE events SET envelope = x'' WHERE stream = ? AND version = ?"
_NO_SNAPSHOT: Final = "INSERT OR REPLACE INTO snapshots VALUES (?, 0, 0, '', x'')"


def erase(connection: sqlite3.Connection, path: Path, stream: str, version: int) -> bool:
    """Empty an event's row, durably and without a trace in the write-ahead log.

    Args:
        connection: In autocommit mode.
        path: The file, for messages.
        stream: The stream's name.
        version: Which of its events.

    Returns:
        False if there is no such event.

    Raises:
        LogUnavailableError: It is erased, but a reader keeps the write-ahead log, which still has the data.
        sqlite3.Error: It cannot be written.
    """
    with overwriting(connection):
        connection.execute("BEGIN IMMEDIATE")
        try:
            found = connection.execute(_EMPTY, (stream, version)).rowcount > 0
            if found:
                keep_no_snapshot(connection, stream)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.rollback()
            raise
    if found and not empty_wal(connection):
        message = (
            f"{path}: {stream} version {version} is erased, but somebody reads the file all the time, so that its "
            "write-ahead log still holds the data: repeat"
        )
        raise LogUnavailableError(message)
    return found


def erase_row(connection: sqlite3.Connection, row: EventRow) -> bool:
    """Make an erased event's row what it is in the log, whether or not the event was there before.

    Args:
        connection: In a transaction.
        row: In the order of the event table's columns; the envelope is empty.

    Returns:
        False if another event stands in its place.
    """
    _, stream, version, _, _, event_id, *_ = row
    keep_no_snapshot(connection, stream)
    # Not by its position: in a topic that was copied, offsets may have shifted since the erasure named one.
    emptied = connection.execute(f"{_EMPTY} AND event_id = ?", (stream, version, event_id)).rowcount
    return emptied > 0 or insert_events(connection, [row], ignore_present=True) > 0


def keep_no_snapshot(connection: sqlite3.Connection, stream: str) -> None:
    """Put a mark in the place of a stream's snapshot, which may hold erased data, and of all that are to come.

    Another process may have the state in memory, and would write it as soon as the next snapshot is due.
    """
    connection.execute(_NO_SNAPSHOT, (stream,))


@contextmanager
def overwriting(connection: sqlite3.Connection) -> Generator[None]:
    """Let SQLite overwrite with zeros what is deleted or replaced meanwhile, instead of only marking it as free."""
    (before,) = connection.execute("PRAGMA secure_delete").fetchone()
    connection.execute("PRAGMA secure_delete = ON").fetchone()
    try:
        yield
    finally:
        connection.execute(f"PRAGMA secure_delete = {before:d}").fetchone()


def empty_wal(connection: sqlite3.Connection) -> bool:
    """Move everything from the write-ahead log to the file and cut it off; tells whether that could be done."""
    busy: int = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    return busy == 0
