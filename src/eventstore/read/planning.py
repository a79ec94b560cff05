"""Planning a rebuild: what there is to do, and how long it will take."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from eventstore.core.checkpoints import Checkpoint, SubscriptionStatus
from eventstore.core.definitions import SubscriptionDefinition
from eventstore.core.errors import ConfigurationError
from eventstore.ports import PartitionReader, QueryStore
from eventstore.read.batches import BatchProcessor, Surroundings
from eventstore.read.subscribers import Subscriber

_SAMPLE: Final = 2_000


@dataclass(frozen=True, slots=True)
class RebuildPlan:
    """What a rebuild will take.

    Attributes:
        name: The read model.
        version: The version to build.
        live_version: The version that serves readers now.
        done: Events processed already by an interrupted rebuild.
        events: Events still to read.
        bytes: Bytes of their envelopes.
        rate: Events per second of a sampled run that was rolled back; 0 if there was nothing to sample.
    """

    name: str
    version: int
    live_version: int | None
    done: int
    events: int
    bytes: int
    rate: float

    @property
    def eta(self) -> float:
        """Seconds it will take at the sampled rate."""
        return self.events / self.rate if self.rate else 0.0


async def plan(surroundings: Surroundings, log: PartitionReader, subscriber: Subscriber) -> RebuildPlan:
    """Tell what is to be done, and how long it will take by a run on a sample that leaves nothing behind.

    Args:
        surroundings: The query store and the rest.
        log: Where events are read.
        subscriber: The version to build.

    Raises:
        ConfigurationError: The version is live already.
        ProjectionFailedError: A handler raised at one of the first events.
        StoreUnavailableError: Log or query store are out of reach.
    """
    definition = subscriber.definition
    status, live = await building_and_live(surroundings.query, definition)
    events = size = 0
    longest: tuple[int, Checkpoint] = (0, status.position(log.partitions[0]))
    for partition in log.partitions:
        position = status.position(partition)
        volume = await log.measure(partition, position.next_offset, definition.categories or None)
        events, size = events + volume.events, size + volume.bytes
        longest = max(longest, (volume.events, position), key=lambda found: found[0])
    done = sum(status.position(partition).event_count for partition in log.partitions)
    rate = await _sample(surroundings, log, subscriber, longest[1]) if events else 0.0
    live_version = live.version if live else None
    return RebuildPlan(definition.name, definition.version, live_version, done, events, size, rate)


async def building_and_live(
    query: QueryStore, definition: SubscriptionDefinition
) -> tuple[SubscriptionStatus, SubscriptionStatus | None]:
    """Give the version to build and the live one.

    Raises:
        ConfigurationError: There is nothing to build.
    """
    statuses = await query.statuses(definition.name)
    own = next(status for status in statuses if status.version == definition.version)
    live = next((status for status in statuses if status.state == "live"), None)
    if own.state != "building":
        message = (
            f"{definition.label} is {own.state} already, there is nothing to rebuild: raise the version "
            "in the class statement to build a changed one beside it"
            + (f", or: eventstore projections rollback {own.name}" if own.state == "retired" else "")
        )
        raise ConfigurationError(message)
    return own, live


async def _sample(
    surroundings: Surroundings, log: PartitionReader, subscriber: Subscriber, checkpoint: Checkpoint
) -> float:
    """Measure the rate on the first events in a transaction that is rolled back."""
    processor, clock = BatchProcessor(surroundings, subscriber, checkpoint), surroundings.clock
    categories = subscriber.definition.categories or None
    began = clock.monotonic()
    page = await log.read(checkpoint.partition, checkpoint.next_offset, _SAMPLE, categories)
    with suppress(_RollBack):
        async with surroundings.query.transaction() as transaction:
            await processor.try_out(transaction, page.events)
            raise _RollBack
    spent = clock.monotonic() - began
    return len(page.events) / spent if spent else 0.0


class _RollBack(Exception):  # noqa: N818 - never leaves this module
    """Ends a transaction without effect."""
