"""Health for whoever restarts processes (live) and whoever sends them requests (ready)."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from eventstore.fastapi.serving import OpenStore
from eventstore.health import stuck, unready


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
        return _answer(await stuck(store, stalled_after))

    @router.get(
        "/ready",
        response_model=Health,
        responses={503: {"model": Health, "description": "Other instances should be asked."}},
    )
    async def ready(store: OpenStore) -> JSONResponse:
        """Tell whether requests should be sent here."""
        return _answer(await unready(store, max_lag))

    return router


def _answer(failing: list[str]) -> JSONResponse:
    health = Health(status="failing" if failing else "ok", failing=failing)
    return JSONResponse(health.model_dump(), 503 if failing else 200, {"Cache-Control": "no-store"})
