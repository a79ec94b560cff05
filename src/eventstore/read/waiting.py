"""Read your own writes: wait until a read model has reached a token."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from eventstore.core.checkpoints import PositionStatus, SubscriptionStatus
from eventstore.core.definitions import SubscriptionDefinition
from eventstore.core.errors import ProjectionFailedError, ReadModelStaleError
from eventstore.core.records import Token
from eventstore.ports import QueryStore
from eventstore.read.progress import Progress
from eventstore.read.watching import Watcher

Stale: TypeAlias = Literal["raise", "allow"]
_SHORTEST_POLL: Final = 0.01
_LONGEST_POLL: Final = 0.2
# Where changes are told, this only bounds what a connection that died silently can cost.
_SAFETY_NET: Final = 1.0


async def wait_for(
    query: QueryStore,
    watcher: Watcher,
    definition: SubscriptionDefinition,
    token: Token,
    timeout: float,  # noqa: ASYNC109
) -> None:
    """Return once a version of a read model shows everything up to the token; only the token's partitions count.

    Args:
        query: Where positions are.
        watcher: Has moves told, those of this process and of others.
        definition: Which version.
        token: What a command returned.
        timeout: Seconds.

    Raises:
        ReadModelStaleError: It is not there in time.
        ProjectionFailedError: It is halted before the token.
        StoreUnavailableError: The query store is out of reach.
    """
    wait = _Wait(query, watcher.progress, definition, token)
    if wait.is_over:
        return
    try:
        with watcher.attention():
            async with asyncio.timeout(timeout):
                await wait.until_over()
    except TimeoutError:
        message = (
            f"{definition.label} did not show {token} within {timeout:g} s ({wait.behind}): "
            "wait longer, check that a worker runs (eventstore lag), or read older rows (stale='allow')"
        )
        raise ReadModelStaleError(message) from None


class _Wait:
    """What of a token is still missing, and why."""

    def __init__(self, query: QueryStore, progress: Progress, definition: SubscriptionDefinition, token: Token) -> None:
        self._query: Final = query
        self._progress: Final = progress
        self._definition: Final = definition
        self._missing: Final = {partition: offset for partition, offset in token.positions.items() if offset}
        self.behind = "its positions are not known yet"

    @property
    def is_over(self) -> bool:
        """Whether this process knows that nothing is missing any more."""
        name, version = self._definition.name, self._definition.version
        for partition, offset in list(self._missing.items()):
            if self._progress.position(name, version, partition) >= offset:
                del self._missing[partition]
        return not self._missing

    async def until_over(self) -> None:
        """Return when nothing is missing."""
        poll, look = _SHORTEST_POLL, False
        with self._progress.news(self._definition, dict(self._missing)) as news:
            while not self.is_over:
                told = self._progress.current and not look
                status = self._progress.status(self._definition) if told else await self._look()
                if self._is_reached(status):
                    return
                try:
                    async with asyncio.timeout(_SAFETY_NET if self._progress.current else poll):
                        await news.wait()
                except TimeoutError:
                    look, poll = True, min(poll * 2, _LONGEST_POLL)
                else:
                    look = False
                news.clear()

    async def _look(self) -> SubscriptionStatus | None:
        return _of_version(await self._query.statuses(self._definition.name), self._definition)

    def _is_reached(self, status: SubscriptionStatus | None) -> bool:
        """Drop what is reached; note what is still behind, or raise if it will not move."""
        if status is None:
            self.behind = "it is not registered"
            return False
        for partition, offset in list(self._missing.items()):
            found = next((p for p in status.positions if p.checkpoint.partition == partition), None)
            if found is not None and found.checkpoint.next_offset >= offset:
                del self._missing[partition]
            elif found is not None and found.failure is not None and not self._has_moved_since(found):
                raise _halted(self._definition, found)
        if status.state == "building":
            self.behind = f"it is being built; finish with: eventstore rebuild {self._definition.name}"
        else:
            places = (f"partition {p} is at {status.position(p).next_offset}" for p in sorted(self._missing))
            self.behind = ", ".join(places)
        return not self._missing

    def _has_moved_since(self, seen: PositionStatus) -> bool:
        position = seen.checkpoint
        return self._progress.position(position.name, position.version, position.partition) > position.next_offset


def _of_version(
    statuses: Sequence[SubscriptionStatus], definition: SubscriptionDefinition
) -> SubscriptionStatus | None:
    return next((status for status in statuses if status.version == definition.version), None)


def _halted(definition: SubscriptionDefinition, position: PositionStatus) -> ProjectionFailedError:
    failure = position.failure
    assert failure is not None  # noqa: S101 - the caller looked
    return ProjectionFailedError(
        projection=definition.label, event=failure.place, cause=failure.cause, remedy=failure.remedy
    )
