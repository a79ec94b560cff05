"""Rebuilds as every process can see them: who builds a version, how far it is, and when it will be there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from eventstore.core.records import Partition

Phase: TypeAlias = Literal["building", "verifying", "catching up", "switched"]


@dataclass(frozen=True, slots=True)
class Span:
    """What a rebuild has to do in one partition.

    Attributes:
        start: The offset at which it began.
        target: The offset to get to, and not beyond.
        events: How many events there are to read in between, as far as known.
    """

    start: int
    target: int
    events: int

    def done(self, next_offset: int) -> int:
        """Tell how many events are read at a position, as if they were spread evenly."""
        if next_offset >= self.target:
            return self.events
        return max(0, self.events * (next_offset - self.start) // (self.target - self.start))


@dataclass(frozen=True, slots=True)
class RebuildProgress:
    """How far a rebuild has come.

    Attributes:
        phase: What it is doing.
        done: Events read in this run.
        total: Events to read, as far as known.
        rate: Events per second since the first of them.
        partitions: Events read and to read, by partition.
    """

    phase: Phase
    done: int
    total: int
    rate: float
    partitions: Mapping[Partition, tuple[int, int]]

    @property
    def eta(self) -> float:
        """Seconds left at this rate."""
        return max(self.total - self.done, 0) / self.rate if self.rate else 0.0


@dataclass(frozen=True, slots=True)
class RebuildStatus:
    """A rebuild that runs, or that was interrupted.

    Attributes:
        runner: The process that runs it.
        since: When it began.
        running: Whether that process still gives signs of life.
        phase: What it is doing.
        shared: Whether the workers of all processes that have the version's code build now.
        spans: What there is to do, by partition.
        batch_size: Events per transaction.
        throttle: At most so many events per second, all builders together; None for as fast as it goes.
        cpu_share: At most this share of the time of every process that builds, up to 1; None for all of it.
        rate: Events per second, when the runner last told; 0 until it knows.
    """

    runner: str
    since: datetime
    running: bool
    phase: Phase
    shared: bool
    spans: Mapping[Partition, Span]
    batch_size: int
    throttle: float | None = None
    cpu_share: float | None = None
    rate: float = 0.0

    @property
    def is_open(self) -> bool:
        """Whether workers are to build now."""
        return self.running and self.shared

    def progress(self, positions: Mapping[Partition, int]) -> RebuildProgress:
        """Compute how far it has come; every process comes to the same.

        Args:
            positions: The next offset in every partition.
        """
        partitions = {name: (span.done(positions.get(name, 0)), span.events) for name, span in self.spans.items()}
        done, total = (sum(counts[index] for counts in partitions.values()) for index in (0, 1))
        return RebuildProgress(self.phase, done, total, self.rate, partitions)
