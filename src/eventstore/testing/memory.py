"""A log in memory, with several partitions: fast, and proof that nothing depends on how the embedded log works."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Self
from zlib import crc32

from eventstore.core.errors import StoreClosedError
from eventstore.core.records import Partition, Snapshot, StoredEvent, StreamEvent
from eventstore.environment import Environment
from eventstore.ports import (
    Appended,
    CommandChannel,
    CommitOutcome,
    Conflicted,
    Duplicated,
    Page,
    PartitionSharing,
    StreamCommit,
    StreamQuery,
    StreamSummary,
    Volume,
)

_OFFSETS_PER_EVENT: Final = 2
"""Offsets have gaps, as on a broker: whoever counts on the next one being one more is found out."""


class MemoryLog:
    """Implements `EventLog` for tests; what it holds survives closing and opening the same object.

    Args:
        partitions: How many.
    """

    def __init__(self, *, partitions: int = 3) -> None:
        self._partitions: Final = tuple(f"p{number}" for number in range(partitions))
        self._events: Final[dict[Partition, list[StoredEvent]]] = {name: [] for name in self._partitions}
        self._streams: Final[dict[str, list[StoredEvent]]] = {}
        self._commands: Final[dict[bytes, list[StoredEvent]]] = {}
        self._snapshots: Final[dict[str, Snapshot]] = {}
        self._log_id: Final = Environment().new_id().hex
        self._appended = asyncio.Event()
        self._open = False

    async def __aenter__(self) -> Self:
        """Open the log."""
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the log; its events stay."""
        self._open = False
        self._wake()

    def declare(self, categories: Sequence[str]) -> None:
        """Do nothing: all categories share the partitions."""

    @property
    def channel(self) -> CommandChannel | None:
        """None: whoever has the object may write."""
        return None

    @property
    def sharing(self) -> PartitionSharing | None:
        """None: leases decide who works on which partition."""
        return None

    @property
    def condition(self) -> None:
        """None: every process may write."""
        return None

    def exists(self) -> bool:
        """Tell that it is there."""
        return True

    async def check(self) -> str:
        """Find nothing wrong."""
        return "ok"

    @property
    def suggested_query_store(self) -> None:
        """Suggest nothing: a log in memory has no place."""
        return

    @property
    def log_id(self) -> str:
        """Identify this log."""
        self._check_open()
        return self._log_id

    @property
    def partitions(self) -> Sequence[Partition]:
        """Name the partitions."""
        return self._partitions

    def partition_of(self, stream: str) -> Partition:
        """Spread streams by a hash of their names."""
        return self._partitions[crc32(stream.encode()) % len(self._partitions)]

    async def commit(self, partition: Partition, commits: Sequence[StreamCommit]) -> Sequence[CommitOutcome]:
        """Write a group of commits; see `StreamWriter.commit`."""
        self._check_open()
        await asyncio.sleep(0)  # a commit takes its time, and others run meanwhile
        return self.write(partition, commits)

    def write(self, partition: Partition, commits: Sequence[StreamCommit]) -> Sequence[CommitOutcome]:
        """Write a group of commits at once, before anything else can happen; see `StreamWriter.commit`."""
        diverged: set[str] = set()
        outcomes = [self._commit_one(partition, commit, diverged) for commit in commits]
        self._wake()
        return outcomes

    def _commit_one(self, partition: Partition, commit: StreamCommit, diverged: set[str]) -> CommitOutcome:
        stream = self._streams.get(commit.stream, [])
        if commit.command_id in self._commands:
            diverged.add(commit.stream)
            return Duplicated()
        if len(stream) != commit.expected_version or commit.stream in diverged:
            # Later commands of the batch were decided on what this one would have written.
            diverged.add(commit.stream)
            return Conflicted(len(stream))
        for index, event in enumerate(commit.events, 1):
            stored = StoredEvent(
                self._end(partition) + _OFFSETS_PER_EVENT - 1,
                commit.stream,
                commit.expected_version + index,
                event.event_type,
                event.schema_version,
                event.event_id,
                commit.command_id,
                index,
                len(commit.events),
                event.occurred_at,
                event.envelope,
            )
            self._events[partition].append(stored)
            self._streams.setdefault(commit.stream, []).append(stored)
            self._commands.setdefault(commit.command_id, []).append(stored)
        return Appended(self._end(partition) if commit.events else 0)

    def _end(self, partition: Partition) -> int:
        events = self._events[partition]
        return events[-1].offset + 1 if events else 0

    async def erase(self, stream: str, version: int) -> bool:
        """Erase an event's data; see `StreamWriter.erase`."""
        self._check_open()
        await asyncio.sleep(0)
        events = self._streams.get(stream, [])
        if not 1 <= version <= len(events):
            return False
        event = events[version - 1]
        for kept in (self._events[self.partition_of(stream)], events, self._commands[event.command_id]):
            kept[kept.index(event)] = event.without_data()
        self._snapshots.pop(stream, None)
        return True

    async def read_streams(self, queries: Sequence[StreamQuery]) -> Sequence[Sequence[StoredEvent]]:
        """Read streams by name; see `StreamReader.read_streams`."""
        self._check_open()
        await asyncio.sleep(0)
        found: list[Sequence[StoredEvent]] = []
        for stream, after, limit in queries:
            events = self._streams.get(stream, [])[after:]
            found.append(events if limit is None else events[:limit])
        return found

    async def read_to_fold(self, queries: Sequence[StreamQuery]) -> Sequence[Sequence[StreamEvent]]:
        """Read streams by name; see `StreamReader.read_to_fold`."""
        return [[event.to_fold for event in events] for events in await self.read_streams(queries)]

    async def find_commands(
        self, command_ids: Sequence[bytes], partition: Partition | None = None
    ) -> Mapping[bytes, Sequence[StoredEvent]]:
        """Find the events of commands; see `StreamReader.find_commands`."""
        del partition
        self._check_open()
        await asyncio.sleep(0)
        return {key: [*self._commands[key]] for key in command_ids if key in self._commands}

    async def list_streams(self, prefix: str, after: str, limit: int) -> Sequence[StreamSummary]:
        """List streams in name order; see `StreamReader.list_streams`."""
        self._check_open()
        names = sorted(name for name in self._streams if name.startswith(prefix) and name > after)[:limit]
        return [StreamSummary(name, len(self._streams[name]), self._streams[name][-1].occurred_at) for name in names]

    async def read(
        self, partition: Partition, offset: int, limit: int, categories: Sequence[str] | None = None
    ) -> Page:
        """Read events in order; see `PartitionReader.read`."""
        self._check_open()
        await asyncio.sleep(0)
        events, end = self._events[partition], self._end(partition)
        start = bisect_left(events, offset, key=lambda event: event.offset)
        wanted = [event for event in events[start:] if _is_in(event, categories)]
        page = wanted[:limit]
        return Page(page, page[-1].offset + 1 if len(wanted) >= limit else max(end, offset), end)

    async def ends(self) -> Mapping[Partition, int]:
        """Give one past the newest offset of every partition."""
        self._check_open()
        return {partition: self._end(partition) for partition in self._partitions}

    async def wait_beyond(self, partition: Partition, offset: int) -> None:
        """Return once an event at `offset` or later is there."""
        while True:
            self._check_open()
            appended = self._appended
            if self._end(partition) > offset:
                return
            await appended.wait()

    async def measure(self, partition: Partition, offset: int, categories: Sequence[str] | None) -> Volume:
        """Count events and bytes from an offset to the end, exactly."""
        self._check_open()
        events = [event for event in self._events[partition] if event.offset >= offset and _is_in(event, categories)]
        return Volume(len(events), sum(len(event.envelope) for event in events))

    async def read_snapshots(self, streams: Sequence[str]) -> Mapping[str, Snapshot]:
        """Give the snapshots there are, by stream."""
        self._check_open()
        return {stream: self._snapshots[stream] for stream in streams if stream in self._snapshots}

    async def write_snapshots(self, snapshots: Mapping[str, Snapshot]) -> None:
        """Keep snapshots, replacing older ones."""
        self._check_open()
        for stream, snapshot in snapshots.items():
            if not any(event.erased for event in self._streams.get(stream, [])):
                self._snapshots[stream] = snapshot

    def _wake(self) -> None:
        self._appended.set()
        self._appended = asyncio.Event()

    def _check_open(self) -> None:
        if not self._open:
            message = "the log is not open: use it inside `async with`"
            raise StoreClosedError(message)


def _is_in(event: StoredEvent, categories: Sequence[str] | None) -> bool:
    return categories is None or event.stream.partition("-")[0] in categories
