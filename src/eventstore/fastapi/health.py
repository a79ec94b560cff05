"""Health for whoever restarts processes (live) and whoever sends them requests (ready)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final, Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from eventstore.core.errors import EventStoreError
from eventstore.fastapi.serving import OpenStore
from eventstore.read.lag import Lag
from eventstore.store import EventStore

_LOOK_SECONDS: Final = 2.0
_NOT_SERVED_YET: Final = ("assigned", "claiming", "restoring")


class Health(BaseModel):
    """Whether the process is well, and what is not."""

    status: Literal["ok", "failing"]
    failing: list[str]


def health_router(*, prefix: str = "/health", max_lag: float | None = 30.0, stalled_after: float = 60.0) -> APIRouter:
    """Make endpoints for health checks; what is wrong is named, with status 503.

    - `GET {prefix}/live`: the event loop answers, and no read model that this process keeps stands still though the log
      and the query store can be read. Never whether they can be reached: a restart would not help.
    - `GET {prefix}/ready`: every partition that this process owns is served, and no read model is too far behind.

    Args:
        prefix: The path.
        max_lag: Seconds that a read model may be behind; None if that does not matter: all instances share the lag, so
            none is ready once it is too large.
        stalled_after: Seconds without a move after which a worker of this process counts as stuck.
    """
    router = APIRouter(prefix=prefix, tags=["health"])

    @router.get(
        "/live", response_model=Health, responses={503: {"model": Health, "description": "A restart is needed."}}
    )
    async def live(store: OpenStore) -> JSONResponse:
        """Tell whether the process should go on."""
        lags = await _lags(store, stalled_after)
        owner = store.query_side.owner if store.application.has_read_models else ""
        ours = [lag for lag in lags or () if lag.owner is not None and lag.owner.startswith(owner)]
        stuck = {lag.name for lag in ours if lag.state == "stalled"}
        return _answer(f"{name}: its worker is stuck" for name in sorted(stuck))

    @router.get(
        "/ready",
        response_model=Health,
        responses={503: {"model": Health, "description": "Other instances should be asked."}},
    )
    async def ready(store: OpenStore) -> JSONResponse:
        """Tell whether requests should be sent here."""
        return _answer([*_unserved(store), *await _behind(store, max_lag)])

    return router


def _answer(failing: Iterable[str]) -> JSONResponse:
    found = [*failing]
    health = Health(status="failing" if found else "ok", failing=found)
    return JSONResponse(health.model_dump(), 503 if found else 200, {"Cache-Control": "no-store"})


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
