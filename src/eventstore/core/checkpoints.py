"""Positions of projections, the proof that nothing was skipped or doubled, and what to show when one stands still."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, TypeAlias

from eventstore.core.completeness import EMPTY_HASH, extend
from eventstore.core.rebuilds import RebuildProgress, RebuildStatus
from eventstore.core.records import Partition, StoredEvent

VersionState: TypeAlias = Literal["building", "live", "retired"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far one version of a projection has effectively processed one partition.

    Attributes:
        name: The projection's name.
        version: Its version.
        partition: The partition.
        next_offset: The first offset that is not processed.
        event_count: How many events were.
        event_hash: Rolling hash of their ids, 16 bytes.
        owner: Who moves it.
    """

    name: str
    version: int
    partition: Partition
    next_offset: int = 0
    event_count: int = 0
    event_hash: bytes = EMPTY_HASH
    owner: str = ""

    def after(self, events: Iterable[StoredEvent], next_offset: int) -> Checkpoint:
        """Give the position after so many more events."""
        ids = [event.event_id for event in events]
        return replace(
            self,
            next_offset=next_offset,
            event_count=self.event_count + len(ids),
            event_hash=extend(self.event_hash, ids),
        )


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a position stands still.

    Attributes:
        place: Which event, for example `"task.created at task-1 version 3 (offset 17)"`.
        cause: What was raised.
        remedy: What to do.
        since: When it was first seen.
    """

    place: str
    cause: str
    remedy: str
    since: datetime


@dataclass(frozen=True, slots=True)
class PositionStatus:
    """A position as tools show it.

    Attributes:
        checkpoint: The position.
        lease_until: Until when its owner is sure of it.
        moved_at: When it was last moved.
        failure: Why it stands still, if it does.
    """

    checkpoint: Checkpoint
    lease_until: datetime | None
    moved_at: datetime | None
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class SubscriptionStatus:
    """One known version of a projection or process manager.

    Attributes:
        name: Its name.
        version: Its version.
        state: Being built, serving readers, or kept for a rollback.
        fingerprint: Of the code that built it.
        changed_at: When the state last changed.
        positions: By partition.
        rebuild: The one that runs, or the last one that did; None if there was none.
    """

    name: str
    version: int
    state: VersionState
    fingerprint: str
    changed_at: datetime
    positions: tuple[PositionStatus, ...]
    rebuild: RebuildStatus | None = None

    @property
    def progress(self) -> RebuildProgress | None:
        """Tell how far the rebuild is that runs or was interrupted, if there is one."""
        if self.rebuild is None or self.state != "building":
            return None
        return self.rebuild.progress({name: self.position(name).next_offset for name in self.rebuild.spans})

    def position(self, partition: Partition) -> Checkpoint:
        """Give the position in a partition, at its start if nothing was processed yet."""
        for status in self.positions:
            if status.checkpoint.partition == partition:
                return status.checkpoint
        return Checkpoint(self.name, self.version, partition)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A parked event that a handler cannot process, with its cause; `id` is 0 until it is stored."""

    id: int
    name: str
    version: int
    partition: Partition
    offset: int
    stream: str
    event_version: int
    event_type: str
    cause: str
    parked_at: datetime
