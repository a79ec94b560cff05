"""Which events made a row: the projection's own key functions tell, so nothing has to be stored for it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from eventstore.core.errors import ConfigurationError, EventSchemaError
from eventstore.core.projections import EventAt, HandlerFailedError, Projection, RowFold
from eventstore.core.records import Partition, Recorded, StoredEvent
from eventstore.core.registry import TypeRegistry
from eventstore.core.rows import Key
from eventstore.core.streams import stream_id
from eventstore.ports import EventLog, QueryStore, StreamQuery

OnRead: TypeAlias = Callable[[int, int], None]
_PAGE: Final = 5_000


@dataclass(frozen=True, slots=True)
class _Processed:
    """What one version has processed: up to where by partition, and what of that was parked, so has had no effect."""

    up_to: dict[Partition, int]
    parked: set[tuple[Partition, int]]

    def holds(self, partition: Partition, event: StoredEvent) -> bool:
        return event.offset < self.up_to.get(partition, 0) and (partition, event.offset) not in self.parked


class Why:
    """Finds the events that a row was folded from.

    Args:
        log: The log.
        query: Tells how far the read model is.
        registry: Decodes events.
        projection: The user's projection.
        categories: Which categories it reads; empty for all.
    """

    def __init__(
        self,
        log: EventLog,
        query: QueryStore,
        registry: TypeRegistry,
        projection: Projection[Any],
        categories: Sequence[str],
    ) -> None:
        self._log: Final = log
        self._query: Final = query
        self._registry: Final = registry
        self._definition: Final = projection.definition
        self._categories: Final = categories
        self._fold: Final = RowFold(projection)
        self._keyed_by_stream: Final = bool(categories) and projection.is_keyed_by_stream()

    async def events(self, key: Key, on_read: OnRead) -> list[EventAt]:
        """Give the events that made a row, as of the read model's position; see `EventStore.why`."""
        if len(key) != len(self._definition.key):
            fields = ", ".join(self._definition.key)
            message = f"{self._definition.label} is keyed by {fields}: give {len(self._definition.key)}, not {len(key)}"
            raise ConfigurationError(message)
        processed = await self._processed()
        found: list[EventAt] = []
        pages = self._streams(key) if self._keyed_by_stream else self._partitions(processed, on_read)
        async with aclosing(pages):
            async for partition, events in pages:
                made = [event for event in events if processed.holds(partition, event)]
                found += [event for event in self._decoded(made, partition) if self._concerns(event, key)]
        return sorted(found, key=lambda one: (one.at.occurred_at, one.at.partition, one.at.offset))

    async def _processed(self) -> _Processed:
        name, version = self._definition.name, self._definition.version
        parked = {(x.partition, x.offset) for x in await self._query.dead_letters(name) if x.version == version}
        positions = [
            position.checkpoint
            for status in await self._query.statuses(name)
            if status.version == version
            for position in status.positions
        ]
        return _Processed({position.partition: position.next_offset for position in positions}, parked)

    async def _streams(self, key: Key) -> AsyncGenerator[tuple[Partition, Sequence[StoredEvent]], None]:
        names = [str(stream_id(category, str(key[0]))) for category in self._categories]
        for name, events in zip(names, await self._log.read_streams([StreamQuery(n) for n in names]), strict=True):
            yield self._log.partition_of(name), events

    async def _partitions(
        self, processed: _Processed, on_read: OnRead
    ) -> AsyncGenerator[tuple[Partition, Sequence[StoredEvent]], None]:
        before, total = 0, sum(processed.up_to.values())
        for partition, end in processed.up_to.items():
            offset = 0
            while offset < end:
                page = await self._log.read(partition, offset, _PAGE, self._categories or None)
                yield partition, page.events
                if page.next_offset == offset:
                    break  # the log has lost its end
                offset = page.next_offset
                on_read(before + min(offset, end), total)
            before += end

    def _decoded(self, events: Sequence[StoredEvent], partition: Partition) -> list[EventAt]:
        decoded: list[EventAt] = []
        for event in events:
            if event.event_type not in self._definition.events or event.erased:
                continue
            try:
                decoded.append(EventAt(self._registry.decode(event), Recorded(event, partition)))
            except EventSchemaError:
                continue  # what cannot be read was passed over, or nothing behind it was processed
        return decoded

    def _concerns(self, event: EventAt, key: Key) -> bool:
        try:
            return any(step[2] == key for step in self._fold.plan([event]))
        except HandlerFailedError:
            return False  # it was skipped, or nothing behind it was processed
