"""A log whose events can be decoded at once: whatever decoding takes was fetched while they were read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from eventstore.core.errors import LogUnavailableError, StoreUnavailableError
from eventstore.core.records import Partition, StoredEvent, StreamEvent
from eventstore.delegation import DelegatingLog
from eventstore.ports import EventCodec, EventLog, Page, StreamQuery


class PreparedLog(DelegatingLog):
    """The log it is given, with a codec that is open as long as it is and knows the schema of everything it gave.

    Args:
        log: Where events are.
        codec: Decodes them.
    """

    def __init__(self, log: EventLog, codec: EventCodec) -> None:
        super().__init__(log)
        self._codec: Final = codec

    async def read_streams(self, queries: Sequence[StreamQuery]) -> Sequence[Sequence[StoredEvent]]:
        """Read streams; see `StreamReader`."""
        found = await self.behind.read_streams(queries)
        await self._prepare(event.envelope for events in found for event in events)
        return found

    async def read_to_fold(self, queries: Sequence[StreamQuery]) -> Sequence[Sequence[StreamEvent]]:
        """Read streams to fold them; see `StreamReader`."""
        found = await self.behind.read_to_fold(queries)
        await self._prepare(event.envelope for events in found for event in events)
        return found

    async def find_commands(
        self, command_ids: Sequence[bytes], partition: Partition | None = None
    ) -> Mapping[bytes, Sequence[StoredEvent]]:
        """Find the events of commands; see `StreamReader`."""
        found = await self.behind.find_commands(command_ids, partition)
        await self._prepare(event.envelope for events in found.values() for event in events)
        return found

    async def read(
        self, partition: Partition, offset: int, limit: int, categories: Sequence[str] | None = None
    ) -> Page:
        """Read a page; see `PartitionReader`."""
        page = await self.behind.read(partition, offset, limit, categories)
        await self._prepare(event.envelope for event in page.events)
        return page

    async def _prepare(self, envelopes: Iterable[bytes]) -> None:
        try:
            await self._codec.prepare(envelopes)
        except StoreUnavailableError as cause:
            raise LogUnavailableError(str(cause)) from cause

    async def __aenter__(self) -> Self:
        """Open the codec, then the log."""
        await self._codec.__aenter__()
        try:
            await self.behind.__aenter__()
        except BaseException:
            await self._codec.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the log, then the codec."""
        try:
            await self.behind.__aexit__(kind, error, trace)
        finally:
            await self._codec.__aexit__(kind, error, trace)


def unprepared(log: EventLog) -> EventLog:
    """Give the log that a store was given."""
    return log.behind if isinstance(log, PreparedLog) else log
