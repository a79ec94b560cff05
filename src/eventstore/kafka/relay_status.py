"""How far publications have been published, as the brokers know it; looking needs no part in the work."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from eventstore.core.checkpoints import Failure
from eventstore.core.publications import PublicationDefinition
from eventstore.core.records import Partition
from eventstore.kafka.administration import Administration
from eventstore.kafka.opening import Place
from eventstore.kafka.relay_positions import Position, Positions

RelayState: TypeAlias = Literal["idle", "running", "stalled", "halted", "new"]
STALLED_SECONDS = 10.0


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
    positions = Positions(place.connection.confluent(), names.relay_group(definition.name))
    places = [(partition.topic, partition.number) for partition in partitions]
    known = await asyncio.to_thread(positions.read, places)
    ends = await asyncio.to_thread(positions.ends, places)
    now = place.environment.clock.now()
    found: list[RelayStatus] = []
    for partition, where in zip(partitions, places, strict=True):
        position = known.get(where) or Position(0, "")
        end = ends[where]
        idle_seconds = (now - position.moved_at).total_seconds() if position.moved_at else 0.0
        state = _state(position, end, began=where in known, stalled=idle_seconds > stalled_after)
        behind = max(end - position.offset, 0)
        found.append(
            RelayStatus(
                definition.name,
                partition.text,
                state,
                behind,
                position.offset,
                end,
                position.moved_at,
                position.failure,
            )
        )
    return found


def _state(position: Position, end: int, *, began: bool, stalled: bool) -> RelayState:
    if position.failure is not None:
        return "halted"
    if not began:
        return "new"
    if position.offset >= end:
        return "idle"
    return "stalled" if stalled else "running"
