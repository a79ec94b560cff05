"""`SqliteLog`: the event log in one file."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from eventstore.core.errors import ConfigurationError, StoreClosedError
from eventstore.core.records import Partition, Snapshot, StoredEvent, StreamEvent
from eventstore.environment import Environment
from eventstore.ports import CommitOutcome, Page, StreamCommit, StreamQuery, StreamSummary, Volume
from eventstore.sqlite import erasing, reading
from eventstore.sqlite.committing import GroupWriter
from eventstore.sqlite.connections import ConnectionPool, connect
from eventstore.sqlite.errors import translated
from eventstore.sqlite.schema import create_or_check

T = TypeVar("T")
_PARTITION: Final = "0"
_POLL_SECONDS: Final = 0.025


class SqliteLog:
    """All streams in one SQLite file; what is committed survives power loss, and several processes may share it.

    The file is in WAL mode with `synchronous=FULL`. All events are in one order, partition `"0"`.

    Args:
        path: The file; it is created if it is missing, its directory is not.
        readers: How many reads run at the same time.
        busy_timeout: Seconds to wait while another process writes.
        environment: Where the identity of a new log comes from.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        readers: int = 4,
        busy_timeout: float = 10.0,
        environment: Environment | None = None,
    ) -> None:
        if readers < 1 or busy_timeout < 0:
            message = f"SqliteLog(readers={readers}, busy_timeout={busy_timeout}): at least 1 reader, no negative time"
            raise ConfigurationError(message)
        self.path: Final = Path(path)
        self._environment: Final = environment or Environment()
        open_connection = partial(self._connect, busy_timeout)
        self._writer: Final = ConnectionPool(open_connection, 1, "eventstore-writer")
        self._readers: Final = ConnectionPool(open_connection, readers, "eventstore-reader")
        self._group: Final = GroupWriter(self.path)
        self._appended = asyncio.Event()
        self._log_id: str | None = None

    async def __aenter__(self) -> Self:
        """Open the file, or create it.

        Raises:
            ConfigurationError: The path or its rights are wrong, or the format is another version's.
            CorruptLogError: The file is no database, damaged, or not an event log.
            LogUnavailableError: It cannot be opened now.
        """
        if self.path.is_dir():
            message = f"{self.path} is a directory: name a file for the log"
            raise ConfigurationError(message)
        if not self.path.parent.is_dir():
            message = f"{self.path}: the directory {self.path.parent} does not exist: create it first"
            raise ConfigurationError(message)
        try:
            await self._writer.start()
            self._log_id = await self._writer.run(self._prepare)
            await self._readers.start()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish what is being written and close the file."""
        await self._close()

    async def _close(self) -> None:
        self._log_id = None
        self._wake()
        try:
            await self._readers.close()
        finally:
            await self._writer.close()

    def _connect(self, busy_timeout: float) -> sqlite3.Connection:
        with translated(self.path, "opening"):
            return connect(self.path, busy_timeout)

    def _prepare(self, connection: sqlite3.Connection) -> str:
        with translated(self.path, "opening"):
            return create_or_check(connection, self.path, self._environment.new_id().hex)

    def declare(self, categories: Sequence[str]) -> None:
        """Do nothing: all categories share the file."""

    @property
    def channel(self) -> None:
        """None: every process that opens the file may write."""
        return

    @property
    def log_id(self) -> str:
        """Identify this log, whatever the file is called.

        Raises:
            StoreClosedError: The log is not open.
        """
        if self._log_id is None:
            message = f"{self.path} is not open: use the log inside `async with`"
            raise StoreClosedError(message)
        return self._log_id

    @property
    def sharing(self) -> None:
        """None: leases decide which process works."""
        return None

    @property
    def condition(self) -> None:
        """None: every process may write."""
        return None

    def exists(self) -> bool:
        """Tell whether the file is there."""
        return self.path.exists()

    @property
    def suggested_query_store(self) -> str:
        """Suggest a file of its own beside the log: SQLite has one write lock per file."""
        return str(self.path.with_suffix(f".read{self.path.suffix}"))

    @property
    def partitions(self) -> Sequence[Partition]:
        """Name the one partition."""
        return (_PARTITION,)

    def partition_of(self, stream: str) -> Partition:
        """Give the one partition."""
        del stream
        return _PARTITION

    async def commit(self, partition: Partition, commits: Sequence[StreamCommit]) -> Sequence[CommitOutcome]:
        """Write a group of commits durably; see `StreamWriter.commit`."""
        del partition
        outcomes = await self._writer.run(lambda connection: self._group.commit(connection, commits))
        self._wake()
        return outcomes

    async def erase(self, stream: str, version: int) -> bool:
        """Erase an event's data from the file and its write-ahead log; see `StreamWriter.erase`.

        What is erased is overwritten. Copies that SQLite made earlier, when it reorganised pages, may be left in free
        space of the file until `VACUUM`.
        """

        def erase(connection: sqlite3.Connection) -> bool:
            with translated(self.path, "erasing"):
                return erasing.erase(connection, self.path, stream, version)

        return await self._writer.run(erase)

    async def read_streams(self, queries: Sequence[StreamQuery]) -> Sequence[Sequence[StoredEvent]]:
        """Read streams by name; see `StreamReader.read_streams`."""
        return await self._read(lambda connection: reading.read_streams(connection, queries))

    async def read_to_fold(self, queries: Sequence[StreamQuery]) -> Sequence[Sequence[StreamEvent]]:
        """Read what folding takes; see `StreamReader.read_to_fold`."""
        return await self._read(lambda connection: reading.read_to_fold(connection, queries))

    async def find_commands(
        self, command_ids: Sequence[bytes], partition: Partition | None = None
    ) -> Mapping[bytes, Sequence[StoredEvent]]:
        """Find the events of commands; see `StreamReader.find_commands`."""
        del partition
        return await self._read(lambda connection: reading.find_commands(connection, command_ids))

    async def list_streams(self, prefix: str, after: str, limit: int) -> Sequence[StreamSummary]:
        """List streams in name order; see `StreamReader.list_streams`."""
        return await self._read(lambda connection: reading.list_streams(connection, prefix, after, limit))

    async def read(
        self, partition: Partition, offset: int, limit: int, categories: Sequence[str] | None = None
    ) -> Page:
        """Read events in order; see `PartitionReader.read`."""
        del partition
        return await self._read(
            lambda connection: reading.read_page(connection, offset, limit, categories, reading.read_end)
        )

    async def ends(self) -> Mapping[Partition, int]:
        """Give one past the newest offset."""
        return {_PARTITION: await self._read(reading.read_end)}

    async def wait_beyond(self, partition: Partition, offset: int) -> None:
        """Return once an event at `offset` or later is there; other processes' events are noticed within 25 ms."""
        while True:
            appended = self._appended
            if (await self.ends())[partition] > offset:
                return
            try:
                async with asyncio.timeout(_POLL_SECONDS):
                    await appended.wait()
            except TimeoutError:
                continue

    def _wake(self) -> None:
        # A fresh event for every append: a waiter that took the old one before it looked misses nothing.
        self._appended.set()
        self._appended = asyncio.Event()

    async def measure(self, partition: Partition, offset: int, categories: Sequence[str] | None) -> Volume:
        """Count events and bytes from an offset to the end, exactly."""
        del partition
        return await self._read(lambda connection: reading.measure(connection, offset, categories))

    async def read_snapshots(self, streams: Sequence[str]) -> Mapping[str, Snapshot]:
        """Give the snapshots there are, by stream."""
        return await self._read(lambda connection: reading.read_snapshots(connection, streams))

    async def write_snapshots(self, snapshots: Mapping[str, Snapshot]) -> None:
        """Keep snapshots, replacing older ones."""

        def write(connection: sqlite3.Connection) -> None:
            with translated(self.path, "writing a snapshot"):
                reading.write_snapshots(connection, snapshots)

        await self._writer.run(write)

    async def check(self) -> str:
        """Verify the whole file and give SQLite's verdict, `"ok"` if it is sound; takes time on a large log."""
        return await self._read(reading.quick_check)

    async def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        def translate(connection: sqlite3.Connection) -> T:
            with translated(self.path, "reading"):
                return query(connection)

        return await self._readers.run(translate)
