"""A log in front of a log: passes every call on, for those that look at or disturb some of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

from eventstore.core.records import Partition, Snapshot, StoredEvent, StreamEvent
from eventstore.ports import (
    CommandChannel,
    CommitOutcome,
    EventLog,
    LogCondition,
    Page,
    PartitionSharing,
    StreamCommit,
    StreamQuery,
    StreamSummary,
    Volume,
)


class DelegatingLog:
    """Implements `EventLog` by the log behind it.

    Args:
        log: The log behind.

    Attributes:
        behind: The log behind.
    """

    def __init__(self, log: EventLog) -> None:
        self.behind: Final = log

    async def _pass(self, method: str, *arguments: Any) -> Any:
        return await getattr(self.behind, method)(*arguments)

    async def __aenter__(self) -> Self:
        """Open the log behind."""
        await self.behind.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the log behind."""
        await self.behind.__aexit__(kind, error, trace)

    def declare(self, categories: Sequence[str]) -> None:
        """Tell the log behind."""
        self.behind.declare(categories)

    @property
    def channel(self) -> CommandChannel | None:
        """That of the log behind."""
        return self.behind.channel

    @property
    def sharing(self) -> PartitionSharing | None:
        """That of the log behind."""
        return self.behind.sharing

    def exists(self) -> bool:
        """Ask the log behind."""
        return self.behind.exists()

    async def check(self) -> str:
        """Ask the log behind."""
        verdict: str = await self._pass("check")
        return verdict

    @property
    def suggested_query_store(self) -> str | None:
        """Ask the log behind."""
        return self.behind.suggested_query_store

    @property
    def log_id(self) -> str:
        """Ask the log behind."""
        return self.behind.log_id

    @property
    def partitions(self) -> Sequence[Partition]:
        """Ask the log behind."""
        return self.behind.partitions

    def partition_of(self, stream: str) -> Partition:
        """Ask the log behind."""
        return self.behind.partition_of(stream)

    async def commit(self, partition: Partition, commits: Sequence[StreamCommit]) -> Sequence[CommitOutcome]:
        """Pass on."""
        outcomes: Sequence[CommitOutcome] = await self._pass("commit", partition, commits)
        return outcomes

    async def erase(self, stream: str, version: int) -> bool:
        """Pass on."""
        found: bool = await self._pass("erase", stream, version)
        return found

    async def read_streams(self, queries: Sequence[StreamQuery]) -> Sequence[Sequence[StoredEvent]]:
        """Pass on."""
        events: Sequence[Sequence[StoredEvent]] = await self._pass("read_streams", queries)
        return events

    async def read_to_fold(self, queries: Sequence[StreamQuery]) -> Sequence[Sequence[StreamEvent]]:
        """Pass on."""
        events: Sequence[Sequence[StreamEvent]] = await self._pass("read_to_fold", queries)
        return events

    async def find_commands(
        self, command_ids: Sequence[bytes], partition: Partition | None = None
    ) -> Mapping[bytes, Sequence[StoredEvent]]:
        """Pass on."""
        found: Mapping[bytes, Sequence[StoredEvent]] = await self._pass("find_commands", command_ids, partition)
        return found

    async def list_streams(self, prefix: str, after: str, limit: int) -> Sequence[StreamSummary]:
        """Pass on."""
        found: Sequence[StreamSummary] = await self._pass("list_streams", prefix, after, limit)
        return found

    async def read(
        self, partition: Partition, offset: int, limit: int, categories: Sequence[str] | None = None
    ) -> Page:
        """Pass on."""
        page: Page = await self._pass("read", partition, offset, limit, categories)
        return page

    async def ends(self) -> Mapping[Partition, int]:
        """Pass on."""
        ends: Mapping[Partition, int] = await self._pass("ends")
        return ends

    async def wait_beyond(self, partition: Partition, offset: int) -> None:
        """Pass on."""
        await self._pass("wait_beyond", partition, offset)

    async def measure(self, partition: Partition, offset: int, categories: Sequence[str] | None) -> Volume:
        """Pass on."""
        volume: Volume = await self._pass("measure", partition, offset, categories)
        return volume

    async def read_snapshots(self, streams: Sequence[str]) -> Mapping[str, Snapshot]:
        """Pass on."""
        found: Mapping[str, Snapshot] = await self._pass("read_snapshots", streams)
        return found

    async def write_snapshots(self, snapshots: Mapping[str, Snapshot]) -> None:
        """Pass on."""
        await self._pass("write_snapshots", snapshots)

    @property
    def condition(self) -> LogCondition | None:
        """Ask the log behind."""
        return self.behind.condition
