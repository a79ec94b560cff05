"""The one place where SQLite's errors become ours."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from eventstore.core.errors import ConfigurationError, CorruptLogError, EventStoreError, LogUnavailableError

# By primary result code (https://www.sqlite.org/rescode.html): what to raise, and what to do about it.
REACTIONS: Final[dict[int, tuple[type[EventStoreError], str]]] = {
    sqlite3.SQLITE_BUSY: (
        LogUnavailableError,
        "another process keeps the file locked: try again, or find that process",
    ),
    sqlite3.SQLITE_LOCKED: (LogUnavailableError, "another connection keeps the file locked: try again"),
    sqlite3.SQLITE_FULL: (LogUnavailableError, "the disk is full: free some space and try again"),
    sqlite3.SQLITE_IOERR: (LogUnavailableError, "the disk reported an error: check it, then try again"),
    sqlite3.SQLITE_READONLY: (LogUnavailableError, "the file or its directory is read-only: make both writable"),
    sqlite3.SQLITE_NOMEM: (LogUnavailableError, "there is not enough memory: free some and try again"),
    sqlite3.SQLITE_INTERRUPT: (LogUnavailableError, "the work was interrupted: try again"),
    sqlite3.SQLITE_PROTOCOL: (LogUnavailableError, "the file's locks are in disorder: try again"),
    sqlite3.SQLITE_CANTOPEN: (
        ConfigurationError,
        "the file cannot be opened: check that the directory exists and its rights",
    ),
    sqlite3.SQLITE_PERM: (ConfigurationError, "the file may not be accessed: check its rights"),
    sqlite3.SQLITE_AUTH: (ConfigurationError, "the file may not be accessed: check its rights"),
    sqlite3.SQLITE_CORRUPT: (CorruptLogError, "the file is damaged: stop writing and restore a backup"),
    sqlite3.SQLITE_NOTADB: (CorruptLogError, "the file is no SQLite database: choose another one, nothing was changed"),
    sqlite3.SQLITE_CONSTRAINT: (CorruptLogError, "the file's content contradicts itself: restore a backup"),
}
_UNDECODABLE: Final = "Could not decode to UTF-8"


@contextmanager
def translated(path: Path, doing: str) -> Generator[None]:
    """Raise our errors instead of SQLite's, saying which file, what was being done and what to do.

    Args:
        path: The log's file.
        doing: What is being tried, for example `"writing"`.

    Raises:
        LogUnavailableError: The file cannot be used now.
        ConfigurationError: The path or its rights are wrong.
        CorruptLogError: The file is damaged or no database.
    """
    try:
        yield
    except sqlite3.Error as cause:
        kind, remedy = reaction_to(cause)
        message = f"{path}: {doing} failed ({describe(cause)}): {remedy}"
        raise kind(message) from cause


def reaction_to(error: sqlite3.Error) -> tuple[type[EventStoreError], str]:
    """Give the error class and the remedy for whatever SQLite reported."""
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(code, int):
        found = REACTIONS.get(code & 0xFF)
        if found:
            return found
    if _UNDECODABLE in str(error):
        return CorruptLogError, "a stored text is not UTF-8: the file is damaged, restore a backup"
    return LogUnavailableError, "SQLite refused: see the cause"


def describe(error: sqlite3.Error) -> str:
    """Give SQLite's name and words for an error."""
    name = getattr(error, "sqlite_errorname", None)
    return f"{name}: {error}" if name else str(error)
