"""Read your own writes: wait until a read model has reached a token."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from eventstore.core.checkpoints import PositionStatus, SubscriptionStatus
from eventstore.core.definitions import SubscriptionDefinition
from eventstore.core.errors import ProjectionFailedError, ReadModelStaleError
from eventstore.core.records import Token
from eventstore.ports import QueryStore
from eventstore.read.progress import Progress

_SHORTEST_POLL: Final = 0.01
_LONGEST_POLL: Final = 0.2


async def wait_for(
    query: QueryStore,
    progress: Progress,
    definition: SubscriptionDefinition,
    token: Token,
    timeout: float,  # noqa: ASYNC109
) -> None:
    """Return once a version of a read model shows everything up to the token; only the token's partitions count.

    Args:
        query: Where positions are.
        progress: Tells at once about moves inside this process; others' are polled for.
        definition: Which version.
        token: What a command returned.
        timeout: Seconds.

    Raises:
        ReadModelStaleError: It is not there in time.
        ProjectionFailedError: It is halted before the token.
        StoreUnavailableError: The query store is out of reach.
    """
    missing = {partition: offset for partition, offset in token.positions.items() if offset}
    behind = "its positions are not known yet"
    poll = _SHORTEST_POLL
    try:
        async with asyncio.timeout(timeout):
            while True:
                changed = progress.changed
                missing = {
                    partition: offset
                    for partition, offset in missing.items()
                    if progress.position(definition.name, definition.version, partition) < offset
                }
                if not missing:
                    return
                status = _of_version(await query.statuses(definition.name), definition)
                behind = _check(definition, status, missing)
                if not behind:
                    return
                try:
                    async with asyncio.timeout(poll):
                        await changed.wait()
                except TimeoutError:
                    poll = min(poll * 2, _LONGEST_POLL)
    except TimeoutError:
        message = (
            f"{definition.label} did not show {token} within {timeout:g} s ({behind}): "
            "wait longer, check that a worker runs (eventstore projections), or read older rows"
        )
        raise ReadModelStaleError(message) from None


def _of_version(
    statuses: Sequence[SubscriptionStatus], definition: SubscriptionDefinition
) -> SubscriptionStatus | None:
    return next((status for status in statuses if status.version == definition.version), None)


def _check(definition: SubscriptionDefinition, status: SubscriptionStatus | None, missing: dict[str, int]) -> str:
    """Drop what the database says is reached; tell what is still behind, or raise if it will not move."""
    if status is None:
        return "it is not registered"
    for partition, offset in list(missing.items()):
        found = next((p for p in status.positions if p.checkpoint.partition == partition), None)
        if found is not None and found.checkpoint.next_offset >= offset:
            del missing[partition]
        elif found is not None and found.failure is not None:
            raise _halted(definition, found)
    if not missing:
        return ""
    if status.state == "building":
        return f"it is being built; finish with: eventstore rebuild {definition.name}"
    return ", ".join(f"partition {p} is at {status.position(p).next_offset}" for p in sorted(missing))


def _halted(definition: SubscriptionDefinition, position: PositionStatus) -> ProjectionFailedError:
    failure = position.failure
    assert failure is not None  # noqa: S101 - the caller looked
    return ProjectionFailedError(
        projection=definition.label, event=failure.place, cause=failure.cause, remedy=failure.remedy
    )
