"""What waits to be written to the index: bounded, in order, and gathered while nobody waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from eventstore.core.records import Partition, StoredEvent
from eventstore.kafka.records import LeaseRule

MOST: Final = 20_000
"""So much may wait, in events of up to a kilobyte, of which a larger one counts as several."""
_ENOUGH: Final = 2_000
"""So much is written at once."""
_LINGER_SECONDS: Final = 0.05
"""Less than that waits for more, unless somebody waits for it: a transaction costs as much as dozens of events."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What to add to the index, and what is true of a partition when it is added.

    Attributes:
        partition: Which partition.
        events: In order.
        next_offset: Everything before it is in the index then.
        rule: What decides about the next record.
    """

    partition: Partition
    events: Sequence[StoredEvent]
    next_offset: int
    rule: LeaseRule

    @property
    def size(self) -> int:
        """How much of it there is, in events of up to a kilobyte."""
        return len(self.events) + sum(len(event.envelope) for event in self.events) // 1024


class Backlog:
    """Keeps progress until it is written.

    Attributes:
        size: How much is taken in and not written yet, in events of up to a kilobyte.
        offered: How often something was taken in.
        written: How much of that is written.
    """

    def __init__(self) -> None:
        self._waiting: list[Progress] = []
        self._any: Final = asyncio.Event()
        self._urgent: Final = asyncio.Event()
        self.size = self.offered = self.written = 0

    @property
    def full(self) -> bool:
        """Whether no more should be taken in for now."""
        return self.size >= MOST

    def offer(self, progress: Progress) -> None:
        """Take more of a partition in, in order."""
        self.offered += 1
        self._waiting.append(progress)
        self.size += progress.size
        self._any.set()
        if self.size >= _ENOUGH:
            self._urgent.set()

    def hurry(self) -> None:
        """Gather no longer: somebody waits for what is here, or for what comes next."""
        self._urgent.set()

    async def take(self) -> Sequence[Progress]:
        """Give everything that waits, at least one, when it is worth a transaction or somebody waits for it."""
        await self._any.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                await self._urgent.wait()
        self._any.clear()
        self._urgent.clear()
        taken, self._waiting = self._waiting, []
        return taken

    def done(self, taken: Sequence[Progress]) -> None:
        """Note that what was taken is written."""
        self.written += len(taken)
        self.size -= sum(progress.size for progress in taken)
