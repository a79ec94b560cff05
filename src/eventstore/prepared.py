"""A log whose events can be decoded at once: whatever decoding takes was fetched while they were read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from eventstore.core.errors import LogUnavailableError, StoreUnavailableError
from eventstore.core.records import Partition, Snapshot, StoredEvent, StreamEvent
from eventstore.ports import (
    CommandChannel,
    CommitOutcome,
    EventCodec,
    EventLog,
    Page,
    PartitionSharing,
    StreamCommit,
    StreamQuery,
    StreamSummary,
    Volume,
)


class PreparedLog(EventLog):
    """The log it is given, with a codec that is open as long as it is and knows the schema of everything it gave.

    Args:
        log: Where events are.
        codec: Decodes them.
    """

    def __init__(self, log: EventLog, codec: EventCodec) -> None:
        self.given: Final = log
        self._codec: Final = codec

    async def read_streams(self, queries: Sequence[StreamQuery]) -> Sequence[Sequence[StoredEvent]]:
        """Read streams; see `StreamReader`."""
        found = await self.given.read_streams(queries)
        await self._prepare(event.envelope for events in found for event in events)
        return found

    async def read_to_fold(self, queries: Sequence[StreamQuery]) -> Sequence[Sequence[StreamEvent]]:
        """Read streams to fold them; see `StreamReader`."""
        found = await self.given.read_to_fold(queries)
        await self._prepare(event.envelope for events in found for event in events)
        return found

    async def find_commands(
        self, command_ids: Sequence[bytes], partition: Partition | None = None
    ) -> Mapping[bytes, Sequence[StoredEvent]]:
        """Find the events of commands; see `StreamReader`."""
        found = await self.given.find_commands(command_ids, partition)
        await self._prepare(event.envelope for events in found.values() for event in events)
        return found

    async def read(
        self, partition: Partition, offset: int, limit: int, categories: Sequence[str] | None = None
    ) -> Page:
        """Read a page; see `PartitionReader`."""
        page = await self.given.read(partition, offset, limit, categories)
        await self._prepare(event.envelope for event in page.events)
        return page

    async def _prepare(self, envelopes: Iterable[bytes]) -> None:
        try:
            await self._codec.prepare(envelopes)
        except StoreUnavailableError as cause:
            raise LogUnavailableError(str(cause)) from cause

    async def list_streams(self, prefix: str, after: str, limit: int) -> Sequence[StreamSummary]:
        """List streams; see `StreamReader`."""
        return await self.given.list_streams(prefix, after, limit)

    def partition_of(self, stream: str) -> Partition:
        """Give a stream's partition; see `StreamWriter`."""
        return self.given.partition_of(stream)

    async def commit(self, partition: Partition, commits: Sequence[StreamCommit]) -> Sequence[CommitOutcome]:
        """Write commands; see `StreamWriter`."""
        return await self.given.commit(partition, commits)

    async def erase(self, stream: str, version: int) -> bool:
        """Erase an event; see `StreamWriter`."""
        return await self.given.erase(stream, version)

    @property
    def log_id(self) -> str:
        """The log's own; see `PartitionReader`."""
        return self.given.log_id

    @property
    def partitions(self) -> Sequence[Partition]:
        """The log's own; see `PartitionReader`."""
        return self.given.partitions

    async def ends(self) -> Mapping[Partition, int]:
        """Give the ends; see `PartitionReader`."""
        return await self.given.ends()

    async def wait_beyond(self, partition: Partition, offset: int) -> None:
        """Wait for events; see `PartitionReader`."""
        await self.given.wait_beyond(partition, offset)

    async def measure(self, partition: Partition, offset: int, categories: Sequence[str] | None) -> Volume:
        """Count what there is; see `PartitionReader`."""
        return await self.given.measure(partition, offset, categories)

    async def read_snapshots(self, streams: Sequence[str]) -> Mapping[str, Snapshot]:
        """Give snapshots; see `SnapshotStore`."""
        return await self.given.read_snapshots(streams)

    async def write_snapshots(self, snapshots: Mapping[str, Snapshot]) -> None:
        """Keep snapshots; see `SnapshotStore`."""
        await self.given.write_snapshots(snapshots)

    def declare(self, categories: Sequence[str]) -> None:
        """Name categories; see `EventLog`."""
        self.given.declare(categories)

    @property
    def channel(self) -> CommandChannel | None:
        """The log's own; see `EventLog`."""
        return self.given.channel

    @property
    def sharing(self) -> PartitionSharing | None:
        """The log's own; see `EventLog`."""
        return self.given.sharing

    def exists(self) -> bool:
        """Tell whether there is a log; see `EventLog`."""
        return self.given.exists()

    async def check(self) -> str:
        """Verify what is stored; see `EventLog`."""
        return await self.given.check()

    @property
    def suggested_query_store(self) -> str | None:
        """The log's own; see `EventLog`."""
        return self.given.suggested_query_store

    async def __aenter__(self) -> Self:
        """Open the codec, then the log."""
        await self._codec.__aenter__()
        try:
            await self.given.__aenter__()
        except BaseException:
            await self._codec.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the log, then the codec."""
        try:
            await self.given.__aexit__(kind, error, trace)
        finally:
            await self._codec.__aexit__(kind, error, trace)


def unprepared(log: EventLog) -> EventLog:
    """Give the log that a store was given."""
    return log.given if isinstance(log, PreparedLog) else log
