"""Moves of read models inside this process, so that a waiter need not poll for them."""

from __future__ import annotations

import asyncio
from typing import Final

from eventstore.core.checkpoints import Checkpoint
from eventstore.core.records import Partition


class Progress:
    """Remembers the newest known positions and wakes whoever waits for a change."""

    def __init__(self) -> None:
        self._positions: Final[dict[tuple[str, int, Partition], int]] = {}
        self._changed = asyncio.Event()
        self._intervened = asyncio.Event()

    def position(self, name: str, version: int, partition: Partition) -> int:
        """Give the newest next offset seen in this process, 0 if none was."""
        return self._positions.get((name, version, partition), 0)

    def moved(self, checkpoint: Checkpoint) -> None:
        """Take note of a committed move."""
        self._positions[checkpoint.name, checkpoint.version, checkpoint.partition] = checkpoint.next_offset
        self.wake()

    def wake(self) -> None:
        """Wake all waiters: something changed, they look themselves."""
        # A fresh event each time: who took the old one before looking misses nothing.
        self._changed.set()
        self._changed = asyncio.Event()

    @property
    def changed(self) -> asyncio.Event:
        """The event that the next change sets: take it, look, then wait."""
        return self._changed

    def intervene(self) -> None:
        """Wake the workers that wait for somebody to act: a version was switched, or an event parked."""
        self._intervened.set()
        self._intervened = asyncio.Event()
        self.wake()

    @property
    def intervened(self) -> asyncio.Event:
        """The event that the next intervention sets."""
        return self._intervened
