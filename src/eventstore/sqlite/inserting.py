"""Puts events into the table, many with each statement: a third of a statement's time goes into starting and ending it.

It also gives the interpreter's lock up and waits for it, which costs more than all the rest while other threads are busy.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Final, TypeAlias

from eventstore.core.records import StoredEvent

EventRow: TypeAlias = tuple[int, str, int, str, int, bytes, bytes, int, int, int, bytes]
"""The columns of the event table in their order: those of `StoredEvent`, with the position instead of the offset."""

_ROW: Final = f"({', '.join('?' * len(StoredEvent._fields))})"
_INTO: Final = f"INTO events (position, {', '.join(StoredEvent._fields[1:])}) VALUES "
_MANY: Final = 20  # more is not measurably faster
_ROWS: Final = ", ".join([_ROW] * _MANY)


def insert_events(connection: sqlite3.Connection, rows: Sequence[EventRow], *, ignore_present: bool = False) -> int:
    """Insert events in order, in the transaction that is open.

    Args:
        connection: To the file.
        rows: The events.
        ignore_present: Leave out whatever an index says is there, instead of failing.

    Returns:
        How many were inserted.

    Raises:
        sqlite3.IntegrityError: One is there already; the transaction has to be rolled back.
        sqlite3.Error: The file cannot be written.
    """
    into = ("INSERT OR IGNORE " if ignore_present else "INSERT ") + _INTO
    insert_many, many = into + _ROWS, len(rows) - len(rows) % _MANY
    inserted = 0
    for start in range(0, many, _MANY):
        values = [*chain.from_iterable(rows[start : start + _MANY])]
        inserted += connection.execute(insert_many, values).rowcount
    if many < len(rows):
        inserted += connection.executemany(into + _ROW, rows[many:]).rowcount
    return inserted
