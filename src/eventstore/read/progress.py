"""What this process knows of positions without asking the database: its own workers' moves, and what it is told."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Final, TypeAlias

from eventstore.core.checkpoints import Checkpoint, SubscriptionStatus
from eventstore.core.definitions import SubscriptionDefinition
from eventstore.core.records import Partition
from eventstore.ports import Move

_Version: TypeAlias = tuple[str, int]
_Position: TypeAlias = tuple[str, int, Partition]


class Progress:
    """Remembers the newest known positions and wakes whoever waits for a change.

    Attributes:
        current: Whether everything that any process does to positions is told here, as by `looked` and `told`.
    """

    def __init__(self) -> None:
        self.current = False
        self._positions: Final[dict[_Position, int]] = {}
        self._statuses: dict[_Version, SubscriptionStatus] = {}
        self._interested: Final[dict[_Position, dict[asyncio.Event, int]]] = defaultdict(dict)
        self._intervened = asyncio.Event()

    def position(self, name: str, version: int, partition: Partition) -> int:
        """Give the newest next offset known in this process, 0 if none is."""
        return self._positions.get((name, version, partition), 0)

    def status(self, definition: SubscriptionDefinition) -> SubscriptionStatus | None:
        """Give a version's status as of the last look; its positions may have moved since."""
        return self._statuses.get((definition.name, definition.version))

    def moved(self, checkpoint: Checkpoint) -> None:
        """Take note of a move that this process has committed."""
        self._move((checkpoint.name, checkpoint.version, checkpoint.partition), checkpoint.next_offset)

    def told(self, move: Move) -> None:
        """Take note of a move of any process; the news of an older one may arrive after a younger one is known."""
        known = self.position(move.name, move.version, move.partition)
        self._move((move.name, move.version, move.partition), max(known, move.next_offset))

    def _move(self, key: _Position, next_offset: int) -> None:
        self._positions[key] = next_offset
        for news, offset in self._interested.get(key, {}).items():
            if offset <= next_offset:
                news.set()

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
        """Wake all waiters: something other than a move happened, they look themselves."""
        for interested in self._interested.values():
            for news in interested:
                news.set()

    @contextmanager
    def news(self, definition: SubscriptionDefinition, wanted: Mapping[Partition, int]) -> Generator[asyncio.Event]:
        """Have an event set when one of several positions is reached, or something else happens, during the block.

        Args:
            definition: Of which version.
            wanted: The positions, by partition.
        """
        news = asyncio.Event()
        keys = [(definition.name, definition.version, partition) for partition in wanted]
        for key in keys:
            self._interested[key][news] = wanted[key[2]]
        try:
            yield news
        finally:
            for key in keys:
                del self._interested[key][news]
                if not self._interested[key]:
                    del self._interested[key]

    def intervene(self) -> None:
        """Wake the workers that wait for somebody to act: a version was switched, or an event parked."""
        self._intervened.set()
        self._intervened = asyncio.Event()
        self.wake()

    @property
    def intervened(self) -> asyncio.Event:
        """The event that the next intervention sets."""
        return self._intervened
