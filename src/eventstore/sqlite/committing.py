"""One group commit: arbitrate versions and command ids, write, and settle the outcome if the disk fails midway."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

from eventstore.core.errors import AppendOutcomeUnknownError, LogUnavailableError
from eventstore.ports import Appended, CommitOutcome, Conflicted, Duplicated, StreamCommit
from eventstore.sqlite.errors import describe, reaction_to, translated
from eventstore.sqlite.inserting import EventRow, insert_events

_VERSION: Final = "SELECT version FROM events WHERE stream = ? ORDER BY version DESC LIMIT 1"
_COMMAND: Final = "SELECT position, command_size FROM events WHERE command_id = ? AND command_index = 1"


class GroupWriter:
    """Writes batches of commits on the log's one writing connection.

    Args:
        path: The file, for messages.
    """

    def __init__(self, path: Path) -> None:
        self._path: Final = path

    def commit(self, connection: sqlite3.Connection, commits: Sequence[StreamCommit]) -> list[CommitOutcome]:
        """Write the batch in one transaction; see `StreamWriter.commit`.

        Args:
            connection: In autocommit mode.
            commits: At least one.

        Returns:
            What became of each.

        Raises:
            LogUnavailableError: Nothing was written.
            AppendOutcomeUnknownError: It may have been written, and the file cannot be asked.
            CorruptLogError: The file is damaged.
        """
        try:
            return self._write(connection, commits, check_commands=False)
        except sqlite3.IntegrityError:
            # A command id or a stream is there already; ask for each, which the usual case does not pay for.
            with translated(self._path, "writing"):
                return self._write(connection, commits, check_commands=True)

    def _write(
        self, connection: sqlite3.Connection, commits: Sequence[StreamCommit], *, check_commands: bool
    ) -> list[CommitOutcome]:
        try:
            connection.execute("BEGIN IMMEDIATE")
            outcomes, rows = _arbitrate(connection, commits, check_commands=check_commands)
            insert_events(connection, rows)
        except BaseException as cause:
            _roll_back(connection)
            if isinstance(cause, sqlite3.Error) and not isinstance(cause, sqlite3.IntegrityError):
                with translated(self._path, "writing"):
                    raise
            raise
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as cause:
            self._settle(connection, commits, outcomes, cause)
        return outcomes

    def _settle(
        self,
        connection: sqlite3.Connection,
        commits: Sequence[StreamCommit],
        outcomes: Sequence[CommitOutcome],
        cause: sqlite3.Error,
    ) -> None:
        """Find out what a failed COMMIT left behind; returns if the batch is in the log, raises if it is not.

        A commit record may have reached the write-ahead log although SQLite reports an error; after a crash it
        would count. A further commit overwrites it, so once that succeeds, what the file says is final.
        """
        if not any(commit.events for commit in commits):
            return
        _roll_back(connection)
        written = [c for c, o in zip(commits, outcomes, strict=True) if c.events and isinstance(o, Appended)]
        try:
            connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'barrier'")
            found = [connection.execute(_COMMAND, (commit.command_id,)).fetchone() for commit in written]
        except sqlite3.Error as second:
            _roll_back(connection)
            ids = tuple(str(UUID(bytes=commit.command_id)) for commit in written)
            raise AppendOutcomeUnknownError(ids, f"{self._path}: {describe(cause)}, then {describe(second)}") from cause
        if written and all(found):
            return
        _, remedy = reaction_to(cause)
        message = f"{self._path}: committing failed ({describe(cause)}), nothing was written: {remedy}"
        raise LogUnavailableError(message) from cause


def _arbitrate(
    connection: sqlite3.Connection, commits: Sequence[StreamCommit], *, check_commands: bool
) -> tuple[list[CommitOutcome], list[EventRow]]:
    """Decide each commit's outcome inside the transaction and lay out the rows to insert."""
    versions: dict[str, int] = {}
    seen: set[bytes] = set()
    # A later command of the batch was decided on what an earlier one of its stream would have written.
    diverged: set[str] = set()
    outcomes: list[CommitOutcome] = []
    rows: list[EventRow] = []
    (last,) = connection.execute("SELECT coalesce(max(position), 0) FROM events").fetchone()
    position: int = last
    for commit in commits:
        stream, expected, command_id = commit.stream, commit.expected_version, commit.command_id
        actual = versions.get(stream)
        if actual is None and expected == 0 and commit.events and not check_commands:
            # A stream believed to be new needs no question: if it is not, the unique index objects.
            actual = versions[stream] = 0
        elif actual is None:
            found = connection.execute(_VERSION, (stream,)).fetchone()
            actual = versions[stream] = found[0] if found else 0
        if actual != expected or stream in diverged or check_commands:
            if command_id in seen or connection.execute(_COMMAND, (command_id,)).fetchone():
                diverged.add(stream)
                outcomes.append(Duplicated())
                continue
            if actual != expected or stream in diverged:
                diverged.add(stream)
                outcomes.append(Conflicted(actual))
                continue
        size = len(commit.events)
        rows.extend(_rows_of(commit, position))
        position += size
        if size:
            versions[stream] = expected + size
            seen.add(command_id)
        outcomes.append(Appended(position + 1 if size else 0))
    return outcomes, rows


def _rows_of(commit: StreamCommit, position: int) -> list[EventRow]:
    """Lay a commit's events out behind a position, in the order of the columns."""
    stream, expected, command_id, events = commit.stream, commit.expected_version, commit.command_id, commit.events
    size = len(events)
    return [
        (position + n, stream, expected + n, kind, schema, event_id, command_id, n, size, occurred_at, envelope)
        for n, (kind, schema, event_id, occurred_at, envelope) in enumerate(events, 1)
    ]


def _roll_back(connection: sqlite3.Connection) -> None:
    """Leave the transaction, if SQLite has not done so by itself."""
    if connection.in_transaction:
        connection.rollback()
