"""The real world: clock and randomness of this machine, behind the ports that a simulator replaces."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from eventstore.core.ids import uuid7
from eventstore.ports import Clock, Entropy

_RANDOM_BITS = 74


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Give the time in UTC."""
        return datetime.now(UTC)

    monotonic = staticmethod(time.monotonic)
    """The loop-independent monotonic clock, in seconds; the function itself, since every command asks for the time."""

    async def sleep(self, seconds: float) -> None:
        """Sleep on the running loop."""
        await asyncio.sleep(seconds)


class SystemEntropy:
    """The operating system's randomness."""

    def bits(self, count: int) -> int:
        """Give `count` random bits."""
        return secrets.randbits(count)


@dataclass(frozen=True, slots=True)
class Environment:
    """Everything that is not a function of the arguments: time and randomness."""

    clock: Clock = field(default_factory=SystemClock)
    entropy: Entropy = field(default_factory=SystemEntropy)

    def new_id(self) -> UUID:
        """Make a unique id that sorts by time."""
        unix_ms = int(self.clock.now().timestamp() * 1000)
        return uuid7(unix_ms, self.entropy.bits(_RANDOM_BITS))
