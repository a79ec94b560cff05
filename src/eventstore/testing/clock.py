"""Time that moves when a test says so."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from typing import Final


class ManualClock:
    """Implements `Clock`: stands still until `advance` moves it, and wakes sleepers in the order of their times.

    Args:
        start: The first time it shows.
    """

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._start: Final = start
        self._elapsed = 0.0
        self._number = 0
        self._sleepers: Final[list[tuple[float, int, asyncio.Future[None]]]] = []

    def now(self) -> datetime:
        """Give the clock's time."""
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        """Give the seconds since the start."""
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        """Return once the clock was advanced so far."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._number += 1
        heappush(self._sleepers, (self._elapsed + seconds, self._number, waiting))
        await waiting

    async def advance(self, seconds: float) -> None:
        """Move the time on, and let everything run that was waiting for it."""
        until = self._elapsed + seconds
        while self._sleepers and self._sleepers[0][0] <= until:
            self._elapsed, _, waiting = heappop(self._sleepers)
            if not waiting.done():
                waiting.set_result(None)
            await asyncio.sleep(0)
        self._elapsed = until
