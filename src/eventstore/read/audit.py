"""Proof that a read model processed every event exactly once: recompute from the log what its position claims."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from eventstore.core.checkpoints import Checkpoint, SubscriptionStatus
from eventstore.core.completeness import EMPTY_HASH, DifferenceSearch, Trail, extend
from eventstore.core.definitions import SubscriptionDefinition
from eventstore.core.records import Partition, StoredEvent
from eventstore.ports import PartitionReader

_PAGE: Final = 5_000


@dataclass(frozen=True, slots=True)
class Difference:
    """Where the events that were processed and those of the log part company.

    Attributes:
        offset: Of the first event that was skipped, or processed again.
        event: Which one it is; None if the log does not hold it any more.
    """

    offset: int
    event: str | None


@dataclass(frozen=True, slots=True)
class AuditResult:
    """What one position claims and what the log says.

    Attributes:
        name: The read model's name.
        version: Its version.
        partition: The partition.
        next_offset: Up to where both were counted.
        claimed_count: How many handled events the read model says it processed.
        log_count: How many there are in the log.
        hashes_equal: Whether they are the same events in the same order.
        difference: Where it begins to differ; None if it does not, or if one run of events that was skipped or
            processed twice does not explain all that is wrong.
    """

    name: str
    version: int
    partition: Partition
    next_offset: int
    claimed_count: int
    log_count: int
    hashes_equal: bool
    difference: Difference | None = None

    @property
    def clean(self) -> bool:
        """Whether no event was skipped or doubled."""
        return self.claimed_count == self.log_count and self.hashes_equal

    @property
    def verdict(self) -> str:
        """Say it in words."""
        if self.clean:
            return "complete"
        if self.claimed_count < self.log_count:
            return f"{self.log_count - self.claimed_count} events skipped"
        if self.claimed_count > self.log_count:
            return f"{self.claimed_count - self.log_count} events too many"
        return "other events, or another order"


async def audit(
    log: PartitionReader,
    definition: SubscriptionDefinition,
    status: SubscriptionStatus,
    on_progress: Callable[[int], None] = lambda _: None,
) -> list[AuditResult]:
    """Compare every position of one version with the log.

    Args:
        log: The log.
        definition: Which events the version handles.
        status: Its positions.
        on_progress: Is told how many events were read.

    Returns:
        One result per partition.

    Raises:
        LogUnavailableError: The log cannot be read now.
    """
    return [
        await _audit(_Claim(log, definition, status.position(partition), on_progress)) for partition in log.partitions
    ]


@dataclass(frozen=True, slots=True)
class _Claim:
    """What a position claims to have processed, and the log that it is compared with."""

    log: PartitionReader
    definition: SubscriptionDefinition
    position: Checkpoint
    on_progress: Callable[[int], None]

    async def pages(self) -> AsyncGenerator[list[StoredEvent], None]:
        """Read the handled events up to the position."""
        offset, end = 0, self.position.next_offset
        while offset < end:
            page = await self.log.read(self.position.partition, offset, _PAGE, self.definition.categories or None)
            self.on_progress(len(page.events))
            yield [e for e in page.events if e.offset < end and e.event_type in self.definition.events]
            if page.next_offset == offset:
                break
            offset = page.next_offset


async def _audit(claim: _Claim) -> AuditResult:
    position = claim.position
    count, event_hash = 0, EMPTY_HASH
    async with aclosing(claim.pages()) as pages:
        async for events in pages:
            count += len(events)
            event_hash = extend(event_hash, (event.event_id for event in events))
    equal = event_hash == position.event_hash
    clean = equal and count == position.event_count
    return AuditResult(
        position.name,
        position.version,
        position.partition,
        position.next_offset,
        position.event_count,
        count,
        equal,
        None if clean else await _difference(claim, Trail(count, event_hash)),
    )


async def _difference(claim: _Claim, logged: Trail) -> Difference | None:
    """Read once more, now that it is known what is wrong in all, and see where."""
    end = (await claim.log.ends())[claim.position.partition]
    if claim.position.next_offset > end:
        return Difference(end, None)
    search = DifferenceSearch(Trail(claim.position.event_count, claim.position.event_hash), logged)
    if not search.is_possible:
        return None
    async with aclosing(claim.pages()) as pages:
        async for events in pages:
            for event in events:
                first = search.feed(event.event_id, event.offset)
                if first is not None:
                    return Difference(first, await _place(claim, first))
    return None


async def _place(claim: _Claim, offset: int) -> str | None:
    page = await claim.log.read(claim.position.partition, offset, 1, claim.definition.categories or None)
    return page.events[0].place if page.events else None
