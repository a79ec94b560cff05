"""The workers of one read model in this process: one for every partition that is this process's now."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from eventstore.background import Background
from eventstore.core.errors import EventStoreError
from eventstore.core.records import Partition
from eventstore.ports import EventLog
from eventstore.read.batches import Surroundings
from eventstore.read.subscribers import Subscriber
from eventstore.read.worker import Worker, WorkerSettings

_LOGGER: Final = logging.getLogger(__name__)


class Crew:
    """Begins a worker when a partition is assigned, and has stopped it when others get the partition.

    Implements `Sharer`. On a log that does not deal partitions out, there is a worker for each; leases decide then.

    Args:
        surroundings: The query store and the rest.
        log: Where events are read, and who deals partitions out.
        subscriber: What to do with events.
        owner: A name no other process has.
        settings: Batch size and times.
    """

    def __init__(
        self, surroundings: Surroundings, log: EventLog, subscriber: Subscriber, owner: str, settings: WorkerSettings
    ) -> None:
        self._surroundings: Final = surroundings
        self._log: Final = log
        self._subscriber: Final = subscriber
        self._owner: Final = owner
        self._settings: Final = settings
        definition = subscriber.definition
        self._work: Final = f"{definition.name}.v{definition.version}"
        self.name: Final = f"eventstore-crew-{self._work}"
        self._workers: Final[dict[Partition, asyncio.Task[None]]] = {}
        self._background: Final = Background()
        self._failure: EventStoreError | None = None
        self._failed: Final = asyncio.Event()

    async def run(self, *, guest: bool = False) -> None:
        """Work until cancelled; then what is under way is finished or rolled back, and others may have the partitions.

        Args:
            guest: Work for a while only, beside a process of the same name that does so all the time.

        Raises:
            EventStoreError: This process may take no part, for good; the message says why.
        """
        sharing = self._log.sharing
        try:
            if sharing is None:
                self._begin(self._log.partitions, assigned=False)
                await asyncio.wait(self._workers.values())
                return
            async with sharing.share(self._work, self, guest=guest):
                await self._failed.wait()
        finally:
            await self._background.close()
        if self._failure is not None:
            raise self._failure

    def assigned(self, partitions: Sequence[Partition]) -> None:
        """Begin workers; see `Sharer.assigned`."""
        self._begin(partitions, assigned=True)

    async def revoked(self, partitions: Sequence[Partition]) -> None:
        """Return when the workers have stopped; see `Sharer.revoked`."""
        stopping = self._stop(partitions)
        if stopping:
            await asyncio.wait(stopping)

    def lost(self, partitions: Sequence[Partition]) -> None:
        """Have the workers stop; see `Sharer.lost`."""
        self._stop(partitions)

    def failed(self, error: EventStoreError) -> None:
        """End; see `Sharer.failed`."""
        _LOGGER.error("%s: this process works on it no more: %s", self._subscriber.definition.label, error)
        self._failure = error
        self._failed.set()

    def _begin(self, partitions: Sequence[Partition], *, assigned: bool) -> None:
        for partition in partitions:
            worker = Worker(self._surroundings, self._log, self._subscriber, partition, self._owner, self._settings)
            work = self._run(worker, self._workers.get(partition), assigned=assigned)
            self._workers[partition] = self._background.start(work, worker.name)

    async def _run(self, worker: Worker, former: asyncio.Task[None] | None, *, assigned: bool) -> None:
        if former is not None:
            await asyncio.wait({former})  # it was stopped, and may be finishing its last batch
        await worker.run(assigned=assigned)

    def _stop(self, partitions: Sequence[Partition]) -> list[asyncio.Task[None]]:
        stopping = [self._workers[partition] for partition in partitions if partition in self._workers]
        for worker in stopping:
            worker.cancel()
        return stopping
