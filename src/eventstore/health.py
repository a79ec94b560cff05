"""Whether a process should go on, and whether it should be asked: what its health checks say is wrong."""

from __future__ import annotations

import asyncio
from typing import Final

from eventstore.core.errors import EventStoreError
from eventstore.read.lag import Lag
from eventstore.store import EventStore

_LOOK_SECONDS: Final = 2.0
_NOT_SERVED_YET: Final = ("assigned", "claiming", "restoring")


async def stuck(store: EventStore, stalled_after: float) -> list[str]:
    """Name what only a restart mends: read models that this process keeps and that stand still though they could move.

    Never whether log and query store can be reached: a restart would not help.

    Args:
        store: The open store.
        stalled_after: Seconds without a move after which a worker of this process counts as stuck.
    """
    lags = await _lags(store, stalled_after)
    owner = store.query_side.owner if store.application.has_read_models else ""
    ours = [lag for lag in lags or () if lag.owner is not None and lag.owner.startswith(owner)]
    return [f"{name}: its worker is stuck" for name in sorted({lag.name for lag in ours if lag.state == "stalled"})]


async def unready(store: EventStore, max_lag: float | None) -> list[str]:
    """Name why others should be asked: owned partitions that are not served yet, read models too far behind.

    Args:
        store: The open store.
        max_lag: Seconds that a read model may be behind; None if that does not matter.
    """
    return [*_unserved(store), *await _behind(store, max_lag)]


def _unserved(store: EventStore) -> list[str]:
    condition = store.log.condition
    if condition is None:
        return []
    waiting = sum(count for stage, count in condition.owned.items() if stage in _NOT_SERVED_YET)
    return [f"{waiting} owned partitions are not served yet"] if waiting else []


async def _behind(store: EventStore, max_lag: float | None) -> list[str]:
    if max_lag is None or not store.application.has_read_models:
        return []
    lags = await _lags(store, max_lag)
    if lags is None:
        return ["log or query store are out of reach"]
    late = {lag.name: lag for lag in lags if lag.seconds > max_lag and lag.state != "building"}
    return [f"{name}: {lag.seconds:.0f} s behind ({lag.state})" for name, lag in sorted(late.items())]


async def _lags(store: EventStore, stalled_after: float) -> list[Lag] | None:
    """Give the lag of what this code defines; None if log or query store cannot be read now."""
    if not store.application.has_read_models:
        return []
    defined = {(definition.name, definition.version) for definition in store.query_side.definitions}
    try:
        async with asyncio.timeout(_LOOK_SECONDS):
            return [lag for lag in await store.lag(stalled_after=stalled_after) if (lag.name, lag.version) in defined]
    except (EventStoreError, TimeoutError):
        return None
