"""How far publications have been published, as the brokers know it; looking needs no part in the work."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias

from eventstore.core.checkpoints import Failure
from eventstore.core.publications import PublicationDefinition
from eventstore.core.records import Partition
from eventstore.kafka.administration import Administration
from eventstore.kafka.opening import Place
from eventstore.kafka.relay_positions import Position, Positions

RelayState: TypeAlias = Literal["idle", "running", "stalled", "halted", "new"]
STALLED_SECONDS: Final = 10.0
_LOOK_AGAIN_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class RelayStatus:
    """How a publication stands in one partition.

    Attributes:
        name: The publication's name.
        partition: The partition.
        state: `idle`: nothing to do. `running`: behind, and moving. `stalled`: behind, and nobody has moved it for a
            while. `halted`: a handler raised, see `failure`. `new`: nobody has begun.
        behind: Records that are not published yet, those of owners and of other events included.
        position: The first offset that is not published.
        end: One past the partition's newest offset.
        moved_at: When it was last moved.
        failure: The event it is halted by, since when, the cause, and what resolves it.
    """

    name: str
    partition: Partition
    state: RelayState
    behind: int
    position: int
    end: int
    moved_at: datetime | None
    failure: Failure | None


async def relay_status(
    place: Place, definition: PublicationDefinition, stalled_after: float = STALLED_SECONDS
) -> list[RelayStatus]:
    """Tell how a publication stands, partition by partition.

    Args:
        place: Where the log is.
        definition: The publication's, with the categories it reads.
        stalled_after: Seconds without a move after which what is behind counts as stalled.

    Raises:
        ConfigurationError: This user may not see it.
        LogUnavailableError: The brokers cannot be reached.
    """
    names = place.names
    topics = await Administration(place.connection).find(map(names.events, definition.categories), settings=False)
    partitions = [
        names.partition(category, number)
        for category in definition.categories
        if names.events(category) in topics
        for number in range(topics[names.events(category)].identity.partitions)
    ]
    positions = Positions(place.connection, names.relay_group(definition.name))
    places = [(partition.topic, partition.number) for partition in partitions]
    known = await asyncio.to_thread(positions.read, places)
    ends = await asyncio.to_thread(positions.ends, places)
    now, seen = place.environment.clock.now(), known
    still = {where for where in places if _stands_still(known.get(where), ends[where], now, stalled_after)}
    if still:
        # What was idle for an hour and has just got something to do looks the same: does it move?
        await place.environment.clock.sleep(min(stalled_after, _LOOK_AGAIN_SECONDS))
        seen = await asyncio.to_thread(positions.read, places)
    found: list[RelayStatus] = []
    for partition, where in zip(partitions, places, strict=True):
        position, end = seen.get(where), ends[where]
        stalled = where in still and position == known.get(where)
        state, shown = _state(position, end, stalled=stalled), position or Position(0, "")
        behind = max(end - shown.offset, 0)
        found.append(
            RelayStatus(
                definition.name, partition.text, state, behind, shown.offset, end, shown.moved_at, shown.failure
            )
        )
    return found


def _stands_still(position: Position | None, end: int, now: datetime, stalled_after: float) -> bool:
    if position is None or position.moved_at is None or position.offset >= end:
        return False
    return (now - position.moved_at).total_seconds() > stalled_after


def _state(position: Position | None, end: int, *, stalled: bool) -> RelayState:
    if position is None:
        return "new"
    if position.failure is not None:
        return "halted"
    if position.offset >= end:
        return "idle"
    return "stalled" if stalled else "running"
