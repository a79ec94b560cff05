"""Rows as they were: a fold of the past in memory, beside whatever the query store holds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, Final

from eventstore.core.definitions import SubscriptionDefinition
from eventstore.core.errors import ProjectionFailedError
from eventstore.core.projections import EventAt, HandlerFailedError, Projection, RowFold
from eventstore.core.records import Recorded, StoredEvent, to_micros
from eventstore.core.registry import TypeRegistry
from eventstore.core.rows import Key, Row
from eventstore.core.streams import StreamId
from eventstore.ports import EventLog, StreamQuery

_PAGE: Final = 5_000


class Preview:
    """Folds a projection in memory as of a time, or of one stream's version; nothing is stored.

    Args:
        log: The log.
        registry: Decodes events.
        projection: The user's projection; its rows must fit into memory.
    """

    def __init__(self, log: EventLog, registry: TypeRegistry, projection: Projection[Any]) -> None:
        self._log: Final = log
        self._registry: Final = registry
        self._definition: Final[SubscriptionDefinition] = projection.definition
        self._fold: Final = RowFold(projection)
        self._rows: dict[Key, Row] = {}

    async def of_log(self, at: datetime | None) -> dict[Key, Row]:
        """Give all rows as of a time.

        Args:
            at: Events that occurred later do not count; None for all events.

        Returns:
            The rows by key.

        Raises:
            ProjectionFailedError: A handler raised.
            EventSchemaError: An event does not fit the code.
            LogUnavailableError: The log cannot be read now.
        """
        self._rows = {}
        latest = None if at is None else to_micros(at)
        for partition, end in (await self._log.ends()).items():
            offset = 0
            while offset < end:
                page = await self._log.read(partition, offset, _PAGE, self._definition.categories or None)
                self._apply([e for e in page.events if latest is None or e.occurred_at <= latest], partition)
                offset = page.next_offset
        return self._rows

    async def of_streams(self, streams: Sequence[StreamId], at: int | datetime | None) -> dict[Key, Row]:
        """Give the rows that some streams alone lead to, as of one of their versions or a time.

        Args:
            streams: Which streams, folded in the order of the log where they share a partition.
            at: A version, a time, or None for all their events.

        Returns:
            The rows by key.

        Raises:
            ProjectionFailedError: A handler raised.
            EventSchemaError: An event does not fit the code.
            LogUnavailableError: The log cannot be read now.
        """
        self._rows = {}
        limit = at if isinstance(at, int) else None
        latest = to_micros(at) if isinstance(at, datetime) else None
        names = [str(stream) for stream in streams]
        found: dict[str, list[StoredEvent]] = {}
        for name, events in zip(
            names, await self._log.read_streams([StreamQuery(n, 0, limit) for n in names]), strict=True
        ):
            counted = [event for event in events if latest is None or event.occurred_at <= latest]
            found.setdefault(self._log.partition_of(name), []).extend(counted)
        for partition, events in found.items():
            self._apply(sorted(events, key=attrgetter("offset")), partition)
        return self._rows

    def _apply(self, events: Sequence[StoredEvent], partition: str) -> None:
        handled = [event for event in events if event.event_type in self._definition.events and not event.erased]
        batch = [EventAt(self._registry.decode(event), Recorded(event, partition)) for event in handled]
        try:
            changes = self._fold.fold(self._fold.plan(batch), self._rows)
        except HandlerFailedError as failure:
            raise ProjectionFailedError(
                projection=self._definition.label,
                event=handled[failure.index].place,
                cause=repr(failure.cause),
                remedy="Fix the handler",
            ) from failure.cause
        for key, row in changes.items():
            if row is None:
                self._rows.pop(key, None)
            else:
                self._rows[key] = row
