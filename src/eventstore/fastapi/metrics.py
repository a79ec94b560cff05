"""Metrics for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from eventstore.core.errors import ConfigurationError
from eventstore.telemetry import Telemetry


def metrics_router(telemetry: Telemetry, *, path: str = "/metrics") -> APIRouter:
    """Make the endpoint that Prometheus reads; it names commands and read models, so keep it from the public.

    Args:
        telemetry: What the store's `Settings(telemetry=...)` has.
        path: Where.

    Raises:
        ConfigurationError: The package for it is missing.
    """
    try:
        from eventstore.telemetry.prometheus import CONTENT_TYPE, exposition  # noqa: PLC0415 - optional
    except ImportError as cause:
        message = "metrics_router needs the package prometheus-client: pip install 'eventstore[telemetry]'"
        raise ConfigurationError(message) from cause
    router = APIRouter(tags=["health"])

    @router.get(path, response_class=Response, include_in_schema=False)
    async def metrics() -> Response:
        """Give what was measured so far."""
        return Response(exposition(telemetry.measurements), media_type=CONTENT_TYPE)

    return router
