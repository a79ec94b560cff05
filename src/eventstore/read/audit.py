"""Proof that a read model processed every event exactly once: recompute from the log what its position claims."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from eventstore.core.checkpoints import EMPTY_HASH, Checkpoint, SubscriptionStatus, chain
from eventstore.core.definitions import SubscriptionDefinition
from eventstore.core.records import Partition
from eventstore.ports import PartitionReader

_PAGE: Final = 5_000


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
        dead_letters: How many of them are parked, so processed but without effect.
    """

    name: str
    version: int
    partition: Partition
    next_offset: int
    claimed_count: int
    log_count: int
    hashes_equal: bool
    dead_letters: int = 0

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
    results: list[AuditResult] = []
    for partition in log.partitions:
        claimed = status.position(partition)
        count, event_hash = await _recompute(log, definition, claimed, on_progress)
        results.append(
            AuditResult(
                claimed.name,
                claimed.version,
                partition,
                claimed.next_offset,
                claimed.event_count,
                count,
                event_hash == claimed.event_hash,
            )
        )
    return results


async def _recompute(
    log: PartitionReader, definition: SubscriptionDefinition, claimed: Checkpoint, on_progress: Callable[[int], None]
) -> tuple[int, bytes]:
    offset, count, event_hash = 0, 0, EMPTY_HASH
    while offset < claimed.next_offset:
        page = await log.read(claimed.partition, offset, _PAGE, definition.categories or None)
        ids = [
            event.event_id
            for event in page.events
            if event.offset < claimed.next_offset and event.event_type in definition.events
        ]
        count += len(ids)
        event_hash = chain(event_hash, ids)
        on_progress(len(page.events))
        if page.next_offset == offset:
            break
        offset = page.next_offset
    return count, event_hash
