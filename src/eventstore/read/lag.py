"""How far read models are behind the log, and whether that is being worked on; looking needs no part in the work."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias

from eventstore.core.checkpoints import Failure, PositionStatus, SubscriptionStatus
from eventstore.core.definitions import SubscriptionDefinition
from eventstore.core.records import Partition, from_micros
from eventstore.ports import Clock, PartitionReader, QueryStore

LagState: TypeAlias = Literal["idle", "running", "building", "stalled", "blocked"]
STALLED_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Lag:
    """How one version of a read model or process manager stands in one partition.

    Attributes:
        name: Its name.
        version: Its version.
        partition: The partition.
        state: `idle`: nothing to do. `running`: behind, and moving. `building`: the version is not live yet.
            `stalled`: behind, and nobody has moved it for a while. `blocked`: an event failed, see `failure`.
        events: How many events it is behind.
        seconds: The age of the oldest of them.
        position: The first offset that it has not processed.
        end: One past the partition's newest offset.
        owner: Who moves it; None for nobody.
        moved_at: When it was last moved.
        failure: The event it is blocked by, since when, the cause, and what resolves it.
    """

    name: str
    version: int
    partition: Partition
    state: LagState
    events: int
    seconds: float
    position: int
    end: int
    owner: str | None
    moved_at: datetime | None
    failure: Failure | None


class Lags:
    """Compares positions with the log.

    Args:
        log: Where events are.
        query: Where positions are.
        clock: Tells how old an event is.
        stalled_after: Seconds without a move after which a version that is behind counts as stalled.
    """

    def __init__(self, log: PartitionReader, query: QueryStore, clock: Clock, stalled_after: float) -> None:
        self._log: Final = log
        self._query: Final = query
        self._clock: Final = clock
        self._stalled_after: Final = stalled_after

    async def all(self, definitions: Mapping[str, SubscriptionDefinition], name: str | None) -> list[Lag]:
        """Give the lag of every version that serves readers or is being built, by name, version and partition.

        Args:
            definitions: What this code defines, by name: it tells which categories matter.
            name: Only of this one; None for all.

        Raises:
            StoreUnavailableError: Log or query store are out of reach.
        """
        # First the positions: what is written meanwhile counts as behind, never the other way round.
        statuses = [status for status in await self._query.statuses(name) if status.state != "retired"]
        ends = await self._log.ends()
        found = await asyncio.gather(
            *(
                self._of(status, partition, end, _categories(definitions.get(status.name)))
                for status in statuses
                for partition, end in sorted(ends.items(), key=_by_number)
            )
        )
        return [*found]

    async def _of(
        self, status: SubscriptionStatus, partition: Partition, end: int, categories: Sequence[str] | None
    ) -> Lag:
        known = next((p for p in status.positions if p.checkpoint.partition == partition), None)
        position = status.position(partition)
        events, seconds = 0, 0.0
        if position.next_offset < end:
            events = (await self._log.measure(partition, position.next_offset, categories)).events
            page = await self._log.read(partition, position.next_offset, 1, categories)
            if page.events:
                age = self._clock.now() - from_micros(page.events[0].occurred_at)
                seconds = max(age.total_seconds(), 0.0)
        return Lag(
            status.name,
            status.version,
            partition,
            self._state(status, known, events, seconds),
            events,
            seconds,
            position.next_offset,
            end,
            position.owner or None,
            known.moved_at if known else None,
            known.failure if known else None,
        )

    def _state(self, status: SubscriptionStatus, known: PositionStatus | None, events: int, seconds: float) -> LagState:
        if known is not None and known.failure is not None:
            return "blocked"
        if status.state == "building":
            return "building"
        if not events:
            return "idle"
        moved_at = known.moved_at if known else None
        still = (self._clock.now() - moved_at).total_seconds() if moved_at else seconds
        return "stalled" if min(still, seconds) > self._stalled_after else "running"


def _categories(definition: SubscriptionDefinition | None) -> Sequence[str] | None:
    return (definition.categories or None) if definition else None


def _by_number(item: tuple[Partition, int]) -> tuple[str, int, str]:
    """Sort `task/10` behind `task/9`."""
    name = item[0].rstrip("0123456789")
    return name, int(item[0][len(name) :] or 0), item[0]
