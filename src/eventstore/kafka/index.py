"""The local index: the log's partitions in one SQLite file, to read streams by name. It is disposable.

It holds committed data only and follows behind the log. Rows and the place up to which they are complete move in one
transaction, so whatever happens to the process, reading goes on where it stopped.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, nullcontext, suppress
from functools import partial
from itertools import compress
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from eventstore.background import Background
from eventstore.core.errors import ConfigurationError, CorruptLogError, EventStoreError, LogUnavailableError
from eventstore.core.records import Partition, Snapshot, StoredEvent, StreamEvent
from eventstore.kafka.backlog import Backlog, Progress
from eventstore.kafka.bloom import StreamFilter
from eventstore.kafka.records import LeaseRule
from eventstore.kafka.schema import Places, open_index, remember_topics
from eventstore.kafka.topics import TopicIdentity
from eventstore.ports import Page, StreamQuery, StreamSummary, Volume
from eventstore.sqlite import reading
from eventstore.sqlite.connections import ConnectionPool, connect
from eventstore.sqlite.erasing import empty_wal, erase_row, overwriting
from eventstore.sqlite.errors import translated
from eventstore.sqlite.inserting import EventRow, insert_events
from eventstore.sqlite.schema import SLOT_BITS

T = TypeVar("T")
_LOGGER: Final = logging.getLogger(__name__)
_BUSY_SECONDS: Final = 10.0
_RETRY_SECONDS: Final = 1.0
_NAMES: Final = 5_000
_MOVE: Final = "UPDATE partitions SET next_offset = ?, lease = ?, open_producers = ?, skipped = ? WHERE slot = ?"


class Index:
    """Reads streams of all partitions, complete up to a known offset of each.

    Args:
        path: The file; this process's alone.
        log_id: Which log it is an index of.
        readers: How many reads run at the same time.
    """

    def __init__(self, path: Path, log_id: str, readers: int = 2) -> None:
        self.path: Final = path
        self._log_id: Final = log_id
        self._writer: Final = ConnectionPool(self._connect, 1, "eventstore-index-writer")
        self._readers: Final = ConnectionPool(self._connect, readers, "eventstore-index-reader")
        self._background: Final = Background()
        self._places: Places = {}
        self._streams: Final = StreamFilter()
        self._backlog: Final = Backlog()
        self._moved = asyncio.Event()
        self._failure: EventStoreError | None = None
        self._damage: CorruptLogError | None = None
        self.rules: Final[dict[Partition, LeaseRule]] = {}
        self.positions: Final[dict[Partition, int]] = {}

    async def __aenter__(self) -> Self:
        """Open the file; one that is damaged or belongs to another log is set aside and begun anew."""
        try:
            await self._open()
        except CorruptLogError as error:
            await self._writer.close()
            _set_aside(self.path, error)
            self._damage = None
            await self._open()
        self._background.start(self._run(), "eventstore-index")
        self._background.start(self._know_streams(), "eventstore-index-streams")
        return self

    async def _open(self) -> None:
        async with AsyncExitStack() as resources:
            resources.push_async_callback(self._close)
            await self._load()
            await self._readers.start()
            resources.pop_all()

    async def _close(self) -> None:
        await self._readers.close()
        await self._writer.close()

    async def _load(self) -> None:
        await self._writer.start()
        self._places = await self._write(lambda connection: open_index(connection, self.path, self._log_id))
        for name, place in self._places.items():
            self.positions[name], self.rules[name] = place.next_offset, place.rule

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what is pending and close the file; one that turned out to be damaged is set aside."""
        try:
            with suppress(EventStoreError):  # it was said when it happened; what is missing is read from the log again
                await self.flush()
            self._wake()
            with suppress(EventStoreError):
                await self._background.close()
        finally:
            await self._close()
            if self._damage is not None:
                _set_aside(self.path, self._damage)

    async def flush(self) -> None:
        """Return when everything that was put in so far is in the file."""
        offered = self._backlog.offered
        while self._backlog.written < offered:
            await self._next_move()

    async def put(self, progress: Progress) -> None:
        """Take more of a partition in, in order; waits while too much is pending."""
        while self._backlog.full:
            if self._failure is not None and not self._failure.retriable:
                raise self._failure
            await self._moved.wait()
        self.offer(progress)

    def offer(self, progress: Progress) -> None:
        """Take more of a partition in, in order, at once."""
        self._backlog.offer(progress)

    @property
    def lag(self) -> int:
        """How much waits to be written, in events of up to a kilobyte."""
        return self._backlog.size

    async def reached(self, partition: Partition, offset: int) -> None:
        """Return once everything before an offset is in the index."""
        while self.positions[partition] < offset:
            await self._next_move()

    async def moved(self) -> None:
        """Return when the index has moved, or may have."""
        await self._next_move()

    def fail(self, error: EventStoreError) -> None:
        """Raise this for everybody who waits from now on: nothing more will come."""
        self._failure = error
        self._wake()

    async def _next_move(self) -> None:
        if self._failure is not None:
            message = f"the index {self.path} is behind the log: {self._failure}"
            raise type(self._failure)(message) from self._failure
        self._backlog.hurry()
        await self._moved.wait()

    async def _run(self) -> None:
        try:
            while True:
                pending = await self._backlog.take()
                await self._add_patiently(pending)
                for progress in pending:
                    self.positions[progress.partition] = progress.next_offset
                    self.rules[progress.partition] = progress.rule
                self._backlog.done(pending)
                self._wake()
        except Exception as error:
            _LOGGER.exception("the index %s can no longer be written", self.path)
            unknown = CorruptLogError(f"{self.path} can no longer be written: {error!r}")
            self.fail(error if isinstance(error, EventStoreError) else unknown)
            raise

    async def _add_patiently(self, pending: Sequence[Progress]) -> None:
        """Write, again and again while there is no room on the disk; meanwhile everybody who waits is told."""
        while True:
            try:
                await self._write(partial(self._add, pending))
            except LogUnavailableError as error:
                if self._failure is None:
                    _LOGGER.error("the index %s cannot be written now: %s", self.path, error)  # noqa: TRY400 - said once
                self.fail(error)
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                if self._failure is not None and self._failure.retriable:
                    self._failure = None
                return

    def _wake(self) -> None:
        # A fresh event for every move: a waiter that took the old one before it looked misses nothing.
        self._moved.set()
        self._moved = asyncio.Event()

    def _add(self, pending: Sequence[Progress], connection: sqlite3.Connection) -> None:
        rows: list[EventRow] = []
        newest: dict[Partition, Progress] = {}
        for progress in pending:
            base = self._places[progress.partition].slot << SLOT_BITS
            rows += [(base + event[0], *event[1:]) for event in progress.events]
            newest[progress.partition] = progress
        moves = [
            (at.next_offset, at.rule.lease, json.dumps(sorted(at.rule.open_producers)), at.rule.skipped, slot)
            for slot, at in ((self._places[name].slot, progress) for name, progress in newest.items())
        ]
        self._streams.add({event.stream for progress in pending for event in progress.events})  # before it can be read
        erased = [row for row in rows if not row[-1]]
        with overwriting(connection) if erased else nullcontext():
            connection.execute("BEGIN IMMEDIATE")
            try:
                present = [row for row in rows if row[-1]] if erased else rows
                inserted = insert_events(connection, present, ignore_present=True)
                inserted += sum(erase_row(connection, row) for row in erased)
                connection.executemany(_MOVE, moves)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.rollback()
                raise
        if erased:
            self._empty_wal(connection)
        if inserted < len(rows):
            _LOGGER.error(
                "%d events stand at a version that an earlier event has, or repeat a command; the first ones count. "
                "Find out who else writes to the topics: eventstore topics check",
                len(rows) - inserted,
            )

    def _empty_wal(self, connection: sqlite3.Connection) -> None:
        try:
            emptied = empty_wal(connection)
        except sqlite3.Error:
            emptied = False
        if not emptied:
            _LOGGER.warning("%s: the write-ahead log holds what was erased for a while still", self.path)

    def _slot(self, partition: Partition) -> int:
        place = self._places.get(partition)
        if place is None:
            message = f"there is no partition {partition!r}; there are {', '.join(self._places) or 'none'}"
            raise ConfigurationError(message)
        return place.slot

    async def add_partitions(self, partitions: Sequence[Partition]) -> None:
        """Make room for partitions that are not in the index yet."""
        new = [name for name in partitions if name not in self._places]
        first = max((place.slot for place in self._places.values()), default=-1) + 1

        def insert(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT INTO partitions (slot, name) VALUES (?, ?)", list(enumerate(new, first)))

        if new:
            await self._write(insert)
            self._places = await self._write(lambda connection: open_index(connection, self.path, self._log_id))
            for name in new:
                self.positions[name], self.rules[name] = 0, self._places[name].rule

    async def remember(self, topics: Mapping[str, TopicIdentity]) -> None:
        """Note which topics the index is read from, so that others under their names are recognised."""
        await self._write(lambda connection: remember_topics(connection, topics))

    async def _know_streams(self) -> None:
        """Note every stream in the file; what is added meanwhile notes itself."""

        def note(connection: sqlite3.Connection, after: str) -> str | None:
            names = reading.stream_names(connection, after, _NAMES)
            self._streams.add(names)
            return names[-1] if len(names) == _NAMES else None

        last: str | None = ""
        while last is not None:
            last = await self._write(partial(note, after=last))
        self._streams.complete = True

    async def read_streams(self, queries: Sequence[StreamQuery]) -> Sequence[Sequence[StoredEvent]]:
        """Read streams by name."""
        return await self._read_existing(queries, reading.read_streams)

    async def read_to_fold(self, queries: Sequence[StreamQuery]) -> Sequence[Sequence[StreamEvent]]:
        """Read streams by name, only what folding takes."""
        return await self._read_existing(queries, reading.read_to_fold)

    async def _read_existing(
        self,
        queries: Sequence[StreamQuery],
        read: Callable[[sqlite3.Connection, Sequence[StreamQuery]], Sequence[Sequence[T]]],
    ) -> Sequence[Sequence[T]]:
        present = [not self._streams.lacks(query.stream) for query in queries]
        existing = [*compress(queries, present)]
        found = iter(await self._read(lambda connection: read(connection, existing)) if existing else ())
        return [next(found) if asked else () for asked in present]

    async def read_versions(self, streams: Sequence[str]) -> Mapping[str, int]:
        """Give where streams stand."""
        existing = [stream for stream in streams if not self._streams.lacks(stream)]
        found = await self._read(lambda connection: reading.read_versions(connection, existing)) if existing else {}
        return dict.fromkeys(streams, 0) | found

    async def find_commands(self, command_ids: Sequence[bytes]) -> Mapping[bytes, Sequence[StoredEvent]]:
        """Find the events of commands."""
        return await self._read(lambda connection: reading.find_commands(connection, command_ids))

    async def list_streams(self, prefix: str, after: str, limit: int) -> Sequence[StreamSummary]:
        """List streams in name order."""
        return await self._read(lambda connection: reading.list_streams(connection, prefix, after, limit))

    async def read(self, partition: Partition, offset: int, limit: int, categories: Sequence[str] | None) -> Page:
        """Read events of a partition in order."""
        slot = self._slot(partition)

        def read_end(connection: sqlite3.Connection) -> int:
            (end,) = connection.execute("SELECT next_offset FROM partitions WHERE slot = ?", (slot,)).fetchone()
            found: int = end
            return found

        return await self._read(
            lambda connection: reading.read_page(connection, offset, limit, categories, read_end, slot)
        )

    async def measure(self, partition: Partition, offset: int, categories: Sequence[str] | None) -> Volume:
        """Count events and bytes of a partition from an offset on."""
        slot = self._slot(partition)
        return await self._read(lambda connection: reading.measure(connection, offset, categories, slot))

    async def read_snapshots(self, streams: Sequence[str]) -> Mapping[str, Snapshot]:
        """Give the snapshots there are."""
        return await self._read(lambda connection: reading.read_snapshots(connection, streams))

    async def write_snapshots(self, snapshots: Mapping[str, Snapshot]) -> None:
        """Keep snapshots."""
        await self._write(lambda connection: reading.write_snapshots(connection, snapshots))

    async def check(self) -> str:
        """Verify the whole file and give SQLite's verdict, `"ok"` if it is sound."""
        verdict = await self._read(reading.quick_check)
        if verdict != "ok":
            self._damage = CorruptLogError(verdict)
        return verdict

    def _connect(self) -> sqlite3.Connection:
        with translated(self.path, "opening"):
            connection = connect(self.path, _BUSY_SECONDS)
            # A crash of the machine may cost the newest transactions, whole ones: they are read from the log again.
            connection.execute("PRAGMA synchronous = NORMAL")
            return connection

    async def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        return await self._readers.run(lambda connection: self._translated(query, connection, "reading"))

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._writer.run(lambda connection: self._translated(work, connection, "writing"))

    def _translated(self, work: Callable[[sqlite3.Connection], T], connection: sqlite3.Connection, doing: str) -> T:
        try:
            with translated(self.path, doing):
                return work(connection)
        except CorruptLogError as error:
            # Whoever opens the file next begins anew: nothing is lost, since the log has it all.
            self._damage = error
            message = f"{error}. It is only an index: restart this process, and it is built anew from the log"
            raise CorruptLogError(message) from error


def _set_aside(path: Path, reason: CorruptLogError) -> None:
    aside = path.with_name(f"{path.name}.set-aside")
    _LOGGER.warning("the index %s is now %s, and is built anew, because: %s", path, aside.name, reason)
    for suffix in ("", "-wal", "-shm"):
        file, old = path.with_name(path.name + suffix), aside.with_name(aside.name + suffix)
        old.unlink(missing_ok=True)
        if file.exists():
            file.replace(old)
