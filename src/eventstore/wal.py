"""Putting an SQLite file into WAL mode while others do the same."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Any, Final

_PAUSE_SECONDS: Final = 0.002


def switch_to_wal(execute: Callable[[str], Any], seconds: float) -> None:
    """Make the write-ahead log the file's journal; waits for others who are just doing so.

    The switch needs the file for itself, and SQLite does not apply its busy timeout to it: of two connections that
    try at once, one fails immediately (https://www.sqlite.org/rescode.html#busy).

    Args:
        execute: Executes a statement on a connection in autocommit mode.
        seconds: How long to try.

    Raises:
        sqlite3.Error: It cannot be done, or not in time.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            busy = getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return
