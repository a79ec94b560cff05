"""The one place where errors of databases and their drivers become ours."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import exc

from eventstore.core.errors import ConfigurationError, EventStoreError, StoreUnavailableError, UnstorableRowError

_LATER: Final = "try again later"
_VALUE: Final = "a value does not fit its column"
_DAMAGED: Final = "no database or a damaged one; move it away, read models are rebuilt from the log"

# SQLite by primary result code, PostgreSQL by SQLSTATE: the longest matching prefix counts.
REACTIONS: Final[dict[str, tuple[type[EventStoreError], str]]] = {
    "SQLITE_BUSY": (StoreUnavailableError, "another process holds the database's lock; try again"),
    "SQLITE_LOCKED": (StoreUnavailableError, "another connection holds the database's lock; try again"),
    "SQLITE_FULL": (StoreUnavailableError, "the disk is full; free some space"),
    "SQLITE_IOERR": (StoreUnavailableError, "the disk reported an error"),
    "SQLITE_NOMEM": (StoreUnavailableError, "there is not enough memory"),
    "SQLITE_INTERRUPT": (StoreUnavailableError, "the work was interrupted; try again"),
    "SQLITE_PROTOCOL": (StoreUnavailableError, "the file's locks are in disorder; try again"),
    "SQLITE_READONLY": (ConfigurationError, "the file or its directory is read-only; make both writable"),
    "SQLITE_CANTOPEN": (ConfigurationError, "check that the directory exists and its rights"),
    "SQLITE_PERM": (ConfigurationError, "check the file's rights"),
    "SQLITE_AUTH": (ConfigurationError, "check the file's rights"),
    "SQLITE_CORRUPT": (ConfigurationError, _DAMAGED),
    "SQLITE_NOTADB": (ConfigurationError, _DAMAGED),
    "SQLITE_ERROR": (ConfigurationError, "the database's tables are not what this code expects"),
    "SQLITE_CONSTRAINT": (UnstorableRowError, _VALUE),
    "SQLITE_MISMATCH": (UnstorableRowError, _VALUE),
    "SQLITE_TOOBIG": (UnstorableRowError, _VALUE),
    "08": (StoreUnavailableError, "the connection failed; try again"),
    "0A000": (StoreUnavailableError, "the tables were changed while they were read; try again"),
    "22": (UnstorableRowError, _VALUE),
    "23": (UnstorableRowError, _VALUE),
    "25006": (StoreUnavailableError, "the server takes no writes now; is it a standby?"),
    "25": (StoreUnavailableError, "the server ended the transaction; try again"),
    "28": (ConfigurationError, "check user and password in the URL"),
    "2BP01": (ConfigurationError, "drop the objects that depend on the read model first, create them again after"),
    "3D": (ConfigurationError, "create the database or correct its name in the URL"),
    "3F": (ConfigurationError, "the schema is missing: create it or correct the search_path"),
    "40": (StoreUnavailableError, "the transaction collided with another; try again"),
    "42501": (ConfigurationError, "grant the user the right to do this"),
    "42": (ConfigurationError, "the database's tables are not what this code expects"),
    "53": (StoreUnavailableError, "the server is short of resources; try again later"),
    "54": (UnstorableRowError, _VALUE),
    "55P03": (StoreUnavailableError, "somebody holds a lock on the table; try again"),
    "57": (StoreUnavailableError, "the server stopped or cancelled the work; try again"),
    "58": (StoreUnavailableError, "the server's disk reported an error"),
    "XX": (StoreUnavailableError, "the server reported an internal error"),
}
_UNIQUE_VIOLATIONS: Final = ("23505", "SQLITE_CONSTRAINT_PRIMARYKEY", "SQLITE_CONSTRAINT_UNIQUE")
_LOST: Final = (ConnectionError, TimeoutError, OSError, exc.TimeoutError)
_MISFITS: Final = (OverflowError, UnicodeEncodeError)


@contextmanager
def translated(label: str, doing: str) -> Generator[None]:
    """Raise our errors instead of the database's, saying which database, what was being done and what to do.

    Args:
        label: The database's address without secrets.
        doing: What is being tried, for example `"claiming a position"`.

    Raises:
        StoreUnavailableError: The database cannot do it now.
        ConfigurationError: Address, rights or tables are wrong.
        UnstorableRowError: A value does not fit its column.
    """
    try:
        yield
    except EventStoreError:
        raise
    except Exception as cause:
        error = translation(cause, label, doing)
        if error is None:
            raise
        raise error from cause


def translation(error: BaseException, label: str, doing: str) -> EventStoreError | None:
    """Give our error for a database's or driver's, or None if it is neither."""
    reaction = _reaction(error)
    if reaction is None:
        return None
    kind, remedy = reaction
    original = driver_error(error)
    said = str(original).strip().splitlines()
    name = getattr(original, "sqlite_errorname", None)
    cause = f"{name + ': ' if name else ''}{said[0] if said else type(original).__name__}"
    return kind(f"{label}: {doing} failed ({cause}): {remedy}")


def is_unique_violation(error: exc.DBAPIError) -> bool:
    """Tell whether a row could not be inserted because its key is there already."""
    return _code(driver_error(error)) in _UNIQUE_VIOLATIONS


def driver_error(error: BaseException) -> BaseException:
    """Give what the driver raised below SQLAlchemy's wrappers."""
    if isinstance(error, exc.DBAPIError) and error.orig is not None:
        # The asyncpg dialect puts one more wrapper in between, with the driver's error as its cause.
        return error.orig.__cause__ or error.orig
    return error


def _reaction(error: BaseException) -> tuple[type[EventStoreError], str] | None:
    original = driver_error(error)
    code = _code(original)
    for length in range(len(code), 1, -1):
        if found := REACTIONS.get(code[:length]):
            return found
    if isinstance(original, _MISFITS):
        return UnstorableRowError, _VALUE
    if isinstance(original, _LOST) or (isinstance(error, exc.DBAPIError) and error.connection_invalidated):
        return StoreUnavailableError, _LATER
    if type(original).__module__.startswith("asyncpg"):
        # Client-side errors carry no SQLSTATE: values that cannot be encoded, or a connection in no usable state.
        misfit = isinstance(original, ValueError | TypeError)
        return (UnstorableRowError, _VALUE) if misfit else (StoreUnavailableError, _LATER)
    if isinstance(error, exc.DBAPIError | sqlite3.Error):
        return StoreUnavailableError, _LATER
    return None


def _code(error: BaseException) -> str:
    code = getattr(error, "sqlite_errorname", None) or getattr(error, "sqlstate", None)
    return code if isinstance(code, str) else ""
