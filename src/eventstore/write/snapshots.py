"""Snapshots, written behind the answer: losing one costs time, never data."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from eventstore.core.aggregates import Aggregate, write_snapshot
from eventstore.core.errors import EventStoreError
from eventstore.core.records import Snapshot
from eventstore.ports import SnapshotStore

_LOGGER: Final = logging.getLogger(__name__)


class Snapshotter:
    """Writes a snapshot whenever a stream passes a multiple of its aggregate's `snapshot_every`.

    Args:
        store: Where snapshots go.
    """

    def __init__(self, store: SnapshotStore) -> None:
        self._store: Final = store
        self._due: dict[str, Snapshot] = {}
        self._wake: Final = asyncio.Event()
        self._writing: Final = asyncio.Lock()

    def offer(self, state: Aggregate, new_events: int) -> None:
        """Take note of a committed state; it is serialised only if a snapshot is due."""
        every = state.snapshot_every
        if every and new_events and state.version // every > (state.version - new_events) // every:
            snapshot = Snapshot(state.version, state.occurred_at, state.fingerprint, write_snapshot(state))
            self._due[str(state.stream)] = snapshot
            self._wake.set()

    async def run(self) -> None:
        """Write what is due until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.flush()

    async def flush(self) -> None:
        """Write what is due now; returns when that, and whatever was being written, is kept."""
        async with self._writing:
            due, self._due = self._due, {}
            if not due:
                return
            try:
                await self._store.write_snapshots(due)
            except EventStoreError:
                _LOGGER.warning("%d snapshots could not be written; rehydration does without", len(due), exc_info=True)
