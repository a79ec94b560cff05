"""The queries behind the log's read methods, each run on a thread with a connection of its own."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from eventstore.core.records import Snapshot, StoredEvent, StreamEvent
from eventstore.ports import Page, StreamQuery, StreamSummary, Volume
from eventstore.sqlite.erasing import overwriting
from eventstore.sqlite.schema import EVENT_COLUMNS, SLOT_BITS

_STREAM: Final = f"SELECT {EVENT_COLUMNS} FROM events WHERE stream = ? AND version > ? ORDER BY version LIMIT ?"  # noqa: S608
_FOLD_COLUMNS: Final = ", ".join(StreamEvent._fields)
_MANY: Final = 32
_NO_VERSION: Final = 2**62
_TO_FOLD: Final = f"SELECT {_FOLD_COLUMNS} FROM events WHERE stream = ? AND version > ? ORDER BY version LIMIT ?"  # noqa: S608
_MANY_TO_FOLD: Final = (
    f"SELECT stream, {_FOLD_COLUMNS} FROM events WHERE stream IN ({', '.join('?' * _MANY)}) "  # noqa: S608
    "AND version > ? AND version <= ? ORDER BY stream, version"
)
_COMMAND: Final = "SELECT stream, version, command_size FROM events WHERE command_id = ? AND command_index = 1"
_END: Final = "SELECT coalesce(max(position) + 1, 1) FROM events"
_IN_SLOT: Final = "position >= ? AND position < ?"
_STREAMS: Final = "SELECT DISTINCT stream FROM events WHERE stream > ? ORDER BY stream LIMIT ?"
_NEXT_STREAM: Final = "SELECT min(stream) FROM events WHERE stream > ? AND stream >= ?"
# `StoredEvent._make` without its Python frame per row.
_event: Final[Callable[[Iterable[Any]], StoredEvent]] = partial(tuple.__new__, StoredEvent)  # pyright: ignore[reportUnknownMemberType]
_stream_event: Final[Callable[[Iterable[Any]], StreamEvent]] = partial(tuple.__new__, StreamEvent)  # pyright: ignore[reportUnknownMemberType]
_KEEP_SNAPSHOT: Final = (
    "INSERT INTO snapshots VALUES (?, ?, ?, ?, ?) ON CONFLICT (stream) DO UPDATE SET version = excluded.version, "
    "occurred_at = excluded.occurred_at, fingerprint = excluded.fingerprint, state = excluded.state "
    "WHERE fingerprint <> ''"
)
_NEWEST: Final = "SELECT version, occurred_at FROM events WHERE stream = ? ORDER BY version DESC LIMIT 1"


def read_streams(connection: sqlite3.Connection, queries: Sequence[StreamQuery]) -> list[list[StoredEvent]]:
    """Give each stream's events after a version."""
    return [
        [*map(_event, connection.execute(_STREAM, (stream, after, -1 if limit is None else limit)))]
        for stream, after, limit in queries
    ]


def read_to_fold(connection: sqlite3.Connection, queries: Sequence[StreamQuery]) -> list[list[StreamEvent]]:
    """Give each stream's events after a version, without what folding does not need."""
    if len(queries) >= _MANY and len({(after, limit) for _, after, limit in queries}) == 1:
        _, after, limit = queries[0]
        last = _NO_VERSION if limit is None else after + limit
        return _read_many_streams(connection, [query.stream for query in queries], after, last)
    read = connection.execute
    return [
        [*map(_stream_event, read(_TO_FOLD, (stream, after, -1 if limit is None else limit)))]
        for stream, after, limit in queries
    ]


def _read_many_streams(
    connection: sqlite3.Connection, streams: Sequence[str], after: int, last: int
) -> list[list[StreamEvent]]:
    """Read many streams with few queries: most of a batch's streams are new, and each query has its price."""
    found: dict[str, list[StreamEvent]] = {stream: [] for stream in streams}
    for start in range(0, len(streams), _MANY):
        some = [*streams[start : start + _MANY]]
        some += some[-1:] * (_MANY - len(some))  # one text for all, so that it is prepared once
        for stream, *event in connection.execute(_MANY_TO_FOLD, (*some, after, last)):
            found[stream].append(_stream_event(event))
    return [found[stream] for stream in streams]


def find_commands(connection: sqlite3.Connection, command_ids: Sequence[bytes]) -> dict[bytes, list[StoredEvent]]:
    """Give the events of the commands that are in the log."""
    found: dict[bytes, list[StoredEvent]] = {}
    with _one_moment(connection):
        for command_id in command_ids:
            first = connection.execute(_COMMAND, (command_id,)).fetchone()
            if first:
                stream, version, size = first
                rows = connection.execute(_STREAM, (stream, version - 1, size))
                found[command_id] = [*map(_event, rows)]
    return found


def list_streams(connection: sqlite3.Connection, prefix: str, after: str, limit: int) -> list[StreamSummary]:
    """List streams in name order, jumping from one to the next in the index."""
    summaries: list[StreamSummary] = []
    with _one_moment(connection):
        while len(summaries) < limit:
            (stream,) = connection.execute(_NEXT_STREAM, (after, prefix)).fetchone()
            if stream is None or not stream.startswith(prefix):
                break
            version, occurred_at = connection.execute(_NEWEST, (stream,)).fetchone()
            summaries.append(StreamSummary(stream, version, occurred_at))
            after = stream
    return summaries


def stream_names(connection: sqlite3.Connection, after: str, limit: int) -> list[str]:
    """Give the names of streams that sort after another, in order."""
    return [name for (name,) in connection.execute(_STREAMS, (after, limit))]


def read_page(
    connection: sqlite3.Connection,
    offset: int,
    limit: int,
    categories: Sequence[str] | None,
    read_end: Callable[[sqlite3.Connection], int],
    slot: int = 0,
) -> Page:
    """Give events of a slot in order of their offsets, and the slot's end at the same moment."""
    condition, bounds = _in_categories(categories)
    query = f"SELECT {EVENT_COLUMNS} FROM events WHERE {_IN_SLOT} {condition} ORDER BY position LIMIT ?"  # noqa: S608
    with _one_moment(connection):
        events = [*map(_event, connection.execute(query, (*_slot_bounds(slot, offset), *bounds, limit)))]
        end = read_end(connection)
    next_offset = events[-1].offset + 1 if len(events) >= limit else max(end, offset)
    return Page(events, next_offset, end)


def read_end(connection: sqlite3.Connection) -> int:
    """Give one past the newest position."""
    (end,) = connection.execute(_END).fetchone()
    found: int = end
    return found


def measure(connection: sqlite3.Connection, offset: int, categories: Sequence[str] | None, slot: int = 0) -> Volume:
    """Count events and bytes of a slot from an offset on."""
    condition, bounds = _in_categories(categories)
    query = f"SELECT count(*), coalesce(sum(length(envelope)), 0) FROM events WHERE {_IN_SLOT} {condition}"  # noqa: S608
    count, size = connection.execute(query, (*_slot_bounds(slot, offset), *bounds)).fetchone()
    return Volume(count, size)


def read_versions(connection: sqlite3.Connection, streams: Sequence[str]) -> dict[str, int]:
    """Give where streams stand, 0 for one that does not exist."""
    found = ((stream, connection.execute(_NEWEST, (stream,)).fetchone()) for stream in streams)
    return {stream: row[0] if row else 0 for stream, row in found}


def read_snapshots(connection: sqlite3.Connection, streams: Sequence[str]) -> dict[str, Snapshot]:
    """Give the snapshots there are."""
    query = "SELECT version, occurred_at, fingerprint, state FROM snapshots WHERE stream = ? AND fingerprint <> ''"
    rows = ((stream, connection.execute(query, (stream,)).fetchone()) for stream in streams)
    return {stream: Snapshot._make(row) for stream, row in rows if row}


def write_snapshots(connection: sqlite3.Connection, snapshots: Mapping[str, Snapshot]) -> None:
    """Keep snapshots, replacing older ones without a trace; a stream with an erased event has none."""
    with overwriting(connection):
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.executemany(_KEEP_SNAPSHOT, [(stream, *snapshot) for stream, snapshot in snapshots.items()])
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.rollback()
            raise


def quick_check(connection: sqlite3.Connection) -> str:
    """Verify the whole file and give SQLite's verdict."""
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    found: str = verdict
    return found


@contextmanager
def _one_moment(connection: sqlite3.Connection) -> Generator[None]:
    """Let several queries see the same state of the file."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("COMMIT")


def _slot_bounds(slot: int, offset: int) -> tuple[int, int]:
    return (slot << SLOT_BITS) + offset, (slot + 1) << SLOT_BITS


def _in_categories(categories: Sequence[str] | None) -> tuple[str, list[str]]:
    if categories is None:
        return "", []
    # "." is the character after "-": everything that starts with "category-" and nothing else.
    ranges = " OR ".join("(stream >= ? AND stream < ?)" for _ in categories) or "FALSE"
    return f"AND ({ranges})", [bound for name in categories for bound in (f"{name}-", f"{name}.")]
