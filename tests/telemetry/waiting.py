"""Waiting for what another task does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - nobody tells when it changes
        await asyncio.sleep(0.01)
