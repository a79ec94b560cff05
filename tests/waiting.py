"""Waiting for what another task, thread or process does, where nobody tells when it has."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


async def until(
    holds: Callable[[], bool],
    otherwise: Callable[[], str] = lambda: "",
    seconds: float = 15,
    *,
    in_thread: bool = False,
) -> None:
    """Return when a condition holds.

    Args:
        holds: The condition.
        otherwise: What to say if it does not in time.
        seconds: How long to wait.
        in_thread: The condition takes a while to find out, and blocks meanwhile.
    """
    deadline = time.monotonic() + seconds
    while not (await asyncio.to_thread(holds) if in_thread else holds()):
        assert time.monotonic() < deadline, otherwise()
        await asyncio.sleep(0.01)
