"""Workers: move one read model along one partition for as long as they own its position."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from eventstore.background import finished
from eventstore.core.checkpoints import Checkpoint, Failure, SubscriptionStatus
from eventstore.core.errors import (
    AppendOutcomeUnknownError,
    EventStoreError,
    OwnershipLostError,
    ProjectionFailedError,
    StoreClosedError,
    StoreUnavailableError,
)
from eventstore.core.rebuilds import RebuildStatus
from eventstore.core.records import Partition
from eventstore.ports import Page, PartitionReader
from eventstore.read.batches import Applied, BatchProcessor, Surroundings, as_failure
from eventstore.read.building import Builder
from eventstore.read.deadlines import Deadlines
from eventstore.read.subscribers import Subscriber

_LOGGER: Final = logging.getLogger(__name__)
_LONGEST_BACKOFF: Final = 5.0


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """How workers share and pace their work.

    Attributes:
        batch_size: Events per transaction.
        lease: Seconds after which others may take over from a worker that stopped renewing; renewed three times as often.
        retry: Seconds until a halted or superseded version is looked at again.
        concurrency: How many batches of all workers of this process may be written at the same time.
        applied: Is told of every batch that was applied, if anybody is.
    """

    batch_size: int = 1_000
    lease: float = 5.0
    retry: float = 2.0
    concurrency: int = 8
    applied: Applied | None = None


class Worker:
    """Moves one version of one read model along one partition.

    Args:
        surroundings: The query store and the rest.
        log: Where events are read.
        subscriber: What to do with them.
        partition: Which partition.
        owner: A name no other worker has.
        settings: Batch size and times.
    """

    def __init__(
        self,
        surroundings: Surroundings,
        log: PartitionReader,
        subscriber: Subscriber,
        partition: Partition,
        owner: str,
        settings: WorkerSettings,
    ) -> None:
        self._surroundings: Final = surroundings
        self._query: Final = surroundings.query
        self._clock: Final = surroundings.clock
        self._log: Final = log
        self._subscriber: Final = subscriber
        self._definition: Final = subscriber.definition
        self._deadlines: Final = Deadlines(surroundings, log, subscriber)
        self._partition: Final = partition
        self._owner: Final = owner
        self._settings: Final = settings
        self._label: Final = f"{subscriber.definition.label} partition {partition}"
        self.name: Final = f"eventstore-worker-{subscriber.definition.name}-{partition}"
        self._failure: Failure | None = None
        self._take_over = False

    async def run(self, *, assigned: bool) -> None:
        """Work until cancelled; whatever goes wrong is reported, and tried again later.

        Args:
            assigned: The partition was given to this process alone: the first claim takes the position over, whoever
                has it. Only the first one: were it lost again, somebody else would have been assigned it since.
        """
        self._take_over = assigned
        backoff = _LONGEST_BACKOFF / 32
        while True:
            # Taken before the work: who acts on a failure while it is still being reported must not be missed.
            intervened = self._surroundings.progress.intervened
            try:
                if await self._work_while_owner():
                    backoff = _LONGEST_BACKOFF / 32
                await self._pause(self._settings.retry, intervened)
            except StoreClosedError:
                return
            except OwnershipLostError:
                _LOGGER.info("%s: another worker has taken over", self._label)
            except (StoreUnavailableError, AppendOutcomeUnknownError) as error:
                _LOGGER.warning("%s: trying again in %g s: %s", self._label, backoff, error)
                await self._clock.sleep(backoff)
                backoff = min(backoff * 2, _LONGEST_BACKOFF)
            except Exception:
                _LOGGER.exception("%s: a defect stopped the worker; it starts again in %g s", self._label, backoff)
                await self._clock.sleep(backoff)
                backoff = min(backoff * 2, _LONGEST_BACKOFF)

    async def _work_while_owner(self) -> bool:
        """Claim the position and move it; returns if it cannot be had or stands still, and tells if it was had."""
        status = await self._status()
        if status is None or not self._is_wanted(status):
            return False
        built = status.state == "building"
        # A lease is respected while a version is built: who builds it alone at the end must not lose it.
        checkpoint = await self._claim(force=self._take_over and not built)
        if checkpoint is None:
            return False
        self._take_over = self._take_over and built
        processor = BatchProcessor(self._surroundings, self._subscriber, checkpoint)
        try:
            await (self._build(processor, status.rebuild) if built else self._follow(processor))
        except ProjectionFailedError as error:
            await self._report(processor.checkpoint, error)
        finally:
            # Also when cancelled, so that the next worker need not wait for the lease to end.
            with suppress(EventStoreError):
                await finished(self._query.release(processor.checkpoint))
        return True

    def _is_wanted(self, status: SubscriptionStatus) -> bool:
        """Tell whether there is something to do: not while one process alone builds, nor once the target is reached."""
        rebuild = status.rebuild
        if status.state != "building":
            return rebuild is None or not rebuild.running
        return (
            rebuild is not None
            and rebuild.is_open
            and self._partition in rebuild.spans
            and status.position(self._partition).next_offset < rebuild.spans[self._partition].target
        )

    async def _build(self, processor: BatchProcessor, rebuild: RebuildStatus | None) -> None:
        """Move a version that is being built, for as long as its rebuild wants it."""
        builder, looked = Builder(self._surroundings, self._log, self._subscriber), self._clock.monotonic()
        while rebuild and processor.checkpoint.next_offset < rebuild.spans[self._partition].target:
            await builder.build_batch(processor, rebuild.spans[self._partition].target, rebuild)
            if self._clock.monotonic() - looked > self._settings.lease / 3:
                status, looked = await self._status(), self._clock.monotonic()
                rebuild = status.rebuild if status and self._is_wanted(status) else None

    async def _follow(self, processor: BatchProcessor) -> None:
        """Apply the log as it grows; reads the next page while one is being applied."""
        reported = await self._has_failure()
        renewed = self._clock.monotonic()
        page = await self._read(processor.checkpoint.next_offset)
        while True:
            if page.next_offset > processor.checkpoint.next_offset:
                following = asyncio.ensure_future(self._read(page.next_offset))
                try:
                    await processor.process(page.events, page.next_offset)
                    renewed = self._clock.monotonic()
                    if reported:
                        await self._query.report(processor.checkpoint, None)
                        reported = False
                    page = await following
                finally:
                    following.cancel()
                    await asyncio.gather(following, return_exceptions=True)
                continue
            if self._clock.monotonic() - renewed > self._settings.lease / 3:
                if await self._claim() is None:
                    message = f"{self._label}: the lease ended and another worker has it"
                    raise OwnershipLostError(message)
                renewed = self._clock.monotonic()
            if await self._deadlines.meet(processor.checkpoint) and reported:
                await self._query.report(processor.checkpoint, None)
                reported = False
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.lease / 3):
                    await self._log.wait_beyond(self._partition, page.next_offset)
            page = await self._read(page.next_offset)

    async def _report(self, checkpoint: Checkpoint, error: ProjectionFailedError) -> None:
        """Show why the position stands still; the log gets one line, however often it is tried again."""
        known, failure = self._failure, as_failure(error, self._clock)
        if known is not None and (known.place, known.cause) == (failure.place, failure.cause):
            failure = known
        else:
            _LOGGER.error("%s", error)
        self._failure = failure
        await self._query.report(checkpoint, failure)
        self._surroundings.progress.wake()

    async def _read(self, offset: int) -> Page:
        categories = self._definition.categories or None
        return await self._log.read(self._partition, offset, self._settings.batch_size, categories)

    async def _claim(self, *, force: bool = False) -> Checkpoint | None:
        lease = self._settings.lease
        return await self._query.claim(self._definition, self._partition, self._owner, lease, force=force)

    async def _status(self) -> SubscriptionStatus | None:
        for status in await self._query.statuses(self._definition.name):
            if status.version == self._definition.version:
                return status
        return None

    async def _has_failure(self) -> bool:
        status = await self._status()
        return status is not None and any(
            position.failure is not None
            for position in status.positions
            if position.checkpoint.partition == self._partition
        )

    async def _pause(self, seconds: float, intervened: asyncio.Event) -> None:
        """Wait for so long, or less if this process changes what is to be done: a switch, a parked event."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await intervened.wait()
