"""What this process knows of positions without asking the database: its own workers' moves, and what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Final, TypeAlias

from eventstore.core.checkpoints import Checkpoint, SubscriptionStatus
from eventstore.core.definitions import SubscriptionDefinition
from eventstore.core.records import Partition
from eventstore.ports import Move

_Version: TypeAlias = tuple[str, int]


class Progress:
    """Remembers the newest known positions and wakes whoever waits for a change.

    Attributes:
        current: Whether everything that any process does to positions is told here, as by `looked` and `told`.
    """

    def __init__(self) -> None:
        self.current = False
        self._positions: Final[dict[tuple[str, int, Partition], int]] = {}
        self._statuses: dict[_Version, SubscriptionStatus] = {}
        self._changed = asyncio.Event()
        self._intervened = asyncio.Event()

    def position(self, name: str, version: int, partition: Partition) -> int:
        """Give the newest next offset known in this process, 0 if none is."""
        return self._positions.get((name, version, partition), 0)

    def status(self, definition: SubscriptionDefinition) -> SubscriptionStatus | None:
        """Give a version's status as of the last look; its positions may have moved since."""
        return self._statuses.get((definition.name, definition.version))

    def moved(self, checkpoint: Checkpoint) -> None:
        """Take note of a move that this process has committed."""
        self._positions[checkpoint.name, checkpoint.version, checkpoint.partition] = checkpoint.next_offset
        self.wake()

    def told(self, move: Move) -> None:
        """Take note of a move of any process; the news of an older one may arrive after a younger one is known."""
        known = self.position(move.name, move.version, move.partition)
        self._positions[move.name, move.version, move.partition] = max(known, move.next_offset)
        self.wake()

    def looked(self, statuses: Sequence[SubscriptionStatus]) -> None:
        """Take over what the database said, from when on every change will be told."""
        before: dict[_Version, datetime] = {key: status.changed_at for key, status in self._statuses.items()}
        self._statuses = {(status.name, status.version): status for status in statuses}
        for key in [key for key in self._positions if key[:2] not in self._statuses]:
            del self._positions[key]
        for (name, version), status in self._statuses.items():
            # One that was dropped and made anew begins at its start again.
            anew = before.get((name, version), status.changed_at) != status.changed_at
            for found in status.positions:
                position, key = found.checkpoint, (name, version, found.checkpoint.partition)
                known = 0 if anew else self._positions.get(key, 0)
                self._positions[key] = max(known, position.next_offset)
        self.current = True
        self.wake()

    def lost(self) -> None:
        """Take note that changes are not told any more: a version may now be dropped and made anew unnoticed."""
        self.current = False
        self._positions.clear()
        self._statuses = {}
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
