"""Time and randomness as arguments, so that a simulator can own them."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Time as an argument, so that a simulator can own it."""

    def now(self) -> datetime:
        """Give the wall clock's time in UTC."""
        ...

    def monotonic(self) -> float:
        """Give seconds that never go backwards, for deadlines and rates."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""
        ...


class Entropy(Protocol):
    """Randomness as an argument, so that a simulator can own it."""

    def bits(self, count: int) -> int:
        """Give `count` random bits."""
        ...
