"""What `worker` and `relay` answer to whoever watches over them: metrics, and whether they are well."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

from eventstore.core.errors import ConfigurationError
from eventstore.health import stuck, unready
from eventstore.store import EventStore
from eventstore.telemetry.endpoint import Page, endpoint

_ANSWER_SECONDS: Final = 4.0
_STALLED_SECONDS: Final = 60.0

Check: TypeAlias = Callable[[], Coroutine[Any, Any, list[str]]]
"""Names what is wrong."""


@contextmanager
def watched_worker(store: EventStore, port: int, address: str) -> Generator[int]:
    """Serve metrics and health of an open store while the block runs, and give the port.

    `/live` says whether the event loop answers and the workers move, `/ready` whether every owned partition is served.

    Args:
        store: The open store, which measures.
        port: Where to listen; 0 for any free port.
        address: On which address.

    Raises:
        ConfigurationError: The port cannot be listened on, or the package for metrics is missing.
    """
    try:
        from eventstore.telemetry.prometheus import METRICS_PATH, page_of  # noqa: PLC0415 - optional
    except ImportError as cause:
        message = "--metrics-port needs the package prometheus-client: pip install 'eventstore[telemetry]'"
        raise ConfigurationError(message) from cause
    telemetry = store.settings.telemetry
    assert telemetry is not None  # noqa: S101 - opened so
    loop = asyncio.get_running_loop()
    pages = {
        METRICS_PATH: page_of(telemetry.measurements),
        "/live": _page(loop, lambda: stuck(store, _STALLED_SECONDS)),
        "/ready": _page(loop, lambda: unready(store, None)),
    }
    with endpoint(pages, port, address) as found:
        yield found


@contextmanager
def watched_relay(port: int, address: str) -> Generator[int]:
    """Serve the health of relays that have begun, while the block runs, and give the port.

    Both `/live` and `/ready` say whether the event loop answers: a relay that cannot go on ends by itself.

    Args:
        port: Where to listen; 0 for any free port.
        address: On which address.

    Raises:
        ConfigurationError: The port cannot be listened on.
    """
    page = _page(asyncio.get_running_loop(), _nothing)
    with endpoint({"/live": page, "/ready": page}, port, address) as found:
        yield found


async def _nothing() -> list[str]:
    return []


def _page(loop: asyncio.AbstractEventLoop, check: Check) -> Callable[[], Page]:
    def asked() -> Page:
        answer = asyncio.run_coroutine_threadsafe(check(), loop)
        try:
            failing = answer.result(_ANSWER_SECONDS)
        except TimeoutError:
            answer.cancel()
            failing = ["the event loop does not answer"]
        health = {"status": "failing" if failing else "ok", "failing": failing}
        return Page(503 if failing else 200, "application/json", json.dumps(health).encode())

    return asked
