"""Building a version that nobody reads yet: up to given offsets and not beyond, by one process or by all."""

from __future__ import annotations

from typing import Final

from eventstore.core.rebuilds import RebuildStatus
from eventstore.ports import PartitionReader
from eventstore.read.batches import BatchProcessor, Surroundings
from eventstore.read.subscribers import Subscriber


class Builder:
    """Builds batch by batch at the pace that a rebuild has.

    Args:
        surroundings: The query store and the rest.
        log: Where events are read.
        subscriber: The version to build.
    """

    def __init__(self, surroundings: Surroundings, log: PartitionReader, subscriber: Subscriber) -> None:
        self._clock: Final = surroundings.clock
        self._pace: Final = surroundings.pace
        self._log: Final = log
        self._categories: Final = subscriber.definition.categories or None

    async def build_batch(self, processor: BatchProcessor, target: int, rebuild: RebuildStatus) -> int:
        """Apply the next events before an offset.

        Args:
            processor: Of the partition.
            target: The offset.
            rebuild: Says how large batches are and how fast they may follow.

        Returns:
            How many events were read; none if it has to rest first.

        Raises:
            ProjectionFailedError: An event failed.
            OwnershipLostError: Somebody else moves this position now; nothing was applied.
            StoreUnavailableError: The query store is out of reach.
            LogUnavailableError: The log cannot be read now.
        """
        if not await self._pace.turn():
            return 0
        began, throttle = self._clock.monotonic(), _throttle(rebuild)
        position = processor.checkpoint
        # Never much longer than a second, so that leases are renewed and a pause is noticed.
        size = rebuild.batch_size if throttle is None else max(1, min(rebuild.batch_size, int(throttle)))
        page = await self._log.read(position.partition, position.next_offset, size, self._categories)
        events = [event for event in page.events if event.offset < target]
        await processor.process(events, min(page.next_offset, target))
        spent = self._clock.monotonic() - began
        if rebuild.cpu_share is not None:
            self._pace.spent(spent, rebuild.cpu_share)
        if throttle is not None:
            await self._clock.sleep(max(0.0, len(events) / throttle - spent))
        return len(events)


def _throttle(rebuild: RebuildStatus) -> float | None:
    """Give the events per second of one partition: each is built by somebody else if workers take part."""
    if rebuild.throttle is None or not rebuild.shared:
        return rebuild.throttle
    return rebuild.throttle / max(1, sum(span.target > span.start for span in rebuild.spans.values()))
