"""Rebuilds: a new version of a read model, built beside the live one from the log, verified and switched to."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from eventstore.background import Background, finished
from eventstore.core.checkpoints import SubscriptionStatus
from eventstore.core.errors import ConfigurationError, OwnershipLostError, ProjectionFailedError
from eventstore.core.records import Partition
from eventstore.ports import PartitionReader
from eventstore.read.batches import BatchProcessor, Surroundings, as_failure
from eventstore.read.subscribers import Subscriber
from eventstore.read.verification import Comparison, Side, compare
from eventstore.read.worker import REBUILDING

Phase: TypeAlias = Literal["building", "verifying", "catching up", "switched"]
_BATCH: Final = 5_000
_SAMPLE: Final = 2_000


@dataclass(frozen=True, slots=True)
class RebuildPlan:
    """What a rebuild will take.

    Attributes:
        name: The read model.
        version: The version to build.
        live_version: The version that serves readers now.
        done: Events processed already by an interrupted rebuild.
        events: Events still to read.
        bytes: Bytes of their envelopes.
        rate: Events per second of a sampled run that was rolled back; 0 if there was nothing to sample.
    """

    name: str
    version: int
    live_version: int | None
    done: int
    events: int
    bytes: int
    rate: float

    @property
    def eta(self) -> float:
        """Seconds it will take at the sampled rate."""
        return self.events / self.rate if self.rate else 0.0


@dataclass(frozen=True, slots=True)
class RebuildProgress:
    """How far a rebuild has come.

    Attributes:
        phase: What it is doing.
        done: Events read in this run.
        total: Events to read, as far as known.
        rate: Events per second since it started.
    """

    phase: Phase
    done: int
    total: int
    rate: float

    @property
    def eta(self) -> float:
        """Seconds left at this rate."""
        return max(self.total - self.done, 0) / self.rate if self.rate else 0.0


@dataclass(frozen=True, slots=True)
class RebuildOptions:
    """How to rebuild.

    Attributes:
        expected: Kinds of difference between the versions that are wanted: `missing`, `extra`, `changed`,
            `changed:<column>`, `keys`.
        verify: Compare with the live version before switching.
        switch: Make the new version live at the end.
        throttle: At most so many events per second; None for as fast as it goes.
        batch_size: Events per transaction: what a kill can cost.
    """

    expected: frozenset[str] = frozenset()
    verify: bool = True
    switch: bool = True
    throttle: float | None = None
    batch_size: int = _BATCH


@dataclass(frozen=True, slots=True)
class RebuildResult:
    """How a rebuild ended.

    Attributes:
        events: Events read in this run.
        seconds: How long it took.
        comparisons: What verification found, by table; empty if there was nothing to compare with.
        switched: Whether readers now see the new version.
    """

    events: int
    seconds: float
    comparisons: Mapping[str, Comparison]
    switched: bool


class Rebuild:
    """Builds one version; interrupted at any point, the next run goes on where the last batch ended.

    Args:
        surroundings: The query store and the rest.
        log: Where events are read.
        subscriber: The new version.
        owner: Who rebuilds, shown to others who try.
        lease: Seconds after which others may take over from a rebuild that was killed.
    """

    def __init__(
        self, surroundings: Surroundings, log: PartitionReader, subscriber: Subscriber, owner: str, lease: float
    ) -> None:
        self._surroundings: Final = surroundings
        self._query: Final = surroundings.query
        self._clock: Final = surroundings.clock
        self._log: Final = log
        self._subscriber: Final = subscriber
        self._definition: Final = subscriber.definition
        # Not the process's own name: its worker of this version may begin as soon as it is live, and has to wait.
        self._owner: Final = f"{owner}{REBUILDING}"
        self._lease: Final = lease
        self._processors: Final[dict[Partition, BatchProcessor]] = {}
        self._done = 0
        self._total = 0
        self._started = 0.0
        self._options = RebuildOptions()
        self._on_progress: Callable[[RebuildProgress], None] = lambda _: None

    async def plan(self) -> RebuildPlan:
        """Tell what is to be done, and how long it will take by a run on a sample that leaves nothing behind.

        Raises:
            ConfigurationError: The version is live already.
            OwnershipLostError: Somebody else rebuilds it.
        """
        status, live = await self._statuses()
        events = size = 0
        for partition in self._log.partitions:
            volume = await self._log.measure(
                partition, status.position(partition).next_offset, self._definition.categories or None
            )
            events, size = events + volume.events, size + volume.bytes
        done = sum(status.position(partition).event_count for partition in self._log.partitions)
        rate = await self._sample() if events else 0.0
        live_version = live.version if live else None
        return RebuildPlan(self._definition.name, self._definition.version, live_version, done, events, size, rate)

    async def run(
        self,
        options: RebuildOptions,
        on_progress: Callable[[RebuildProgress], None] = lambda _: None,
    ) -> RebuildResult:
        """Build, verify, catch up and switch, while writers write and readers read the live version.

        Args:
            options: How.
            on_progress: Is told after every batch.

        Returns:
            How it ended. With unexpected differences the new version is kept but not switched to.

        Raises:
            ConfigurationError: The version is live already.
            OwnershipLostError: Somebody else rebuilds it; the message says who.
            ProjectionFailedError: A handler raised; what was built is kept.
            StoreUnavailableError: Log or query store are out of reach; what was built is kept.
        """
        self._options, self._on_progress = options, on_progress
        self._started, self._done = self._clock.monotonic(), 0
        async with self._claimed():
            _, live = await self._statuses()
            targets = await self._targets(live)
            self._total = await self._remaining(targets)
            await self._build(targets, "building")
            comparisons = await self._verify(live) if live is not None and options.verify else {}
            switched = options.switch and all(comparison.accepted for comparison in comparisons.values())
            if switched:
                await self._switch()
                # Not before: a version ahead of the live one could not be compared with it after an interruption.
                await self._build(await self._log.ends(), "catching up")
        if switched:
            self._surroundings.progress.intervene()  # the workers may go on
        return RebuildResult(self._done, self._clock.monotonic() - self._started, comparisons, switched)

    async def _targets(self, live: SubscriptionStatus | None) -> Mapping[Partition, int]:
        """Give where to build to: never beyond the live version, so that both can be compared at one position."""
        if live is None:
            return await self._log.ends()
        return {partition: live.position(partition).next_offset for partition in self._log.partitions}

    async def _verify(self, live: SubscriptionStatus) -> dict[str, Comparison]:
        """Hold on to a view of the live version, build up to its very positions, and compare."""
        async with self._query.snapshot() as before:
            held = await before.checkpoints(live.name, live.version)
            targets = {partition: position.next_offset for partition, position in held.items()}
            await self._build(targets, "catching up")
            self._tell("verifying")
            async with self._query.snapshot() as after:
                return await compare(
                    Side(before, live.name, live.version),
                    Side(after, live.name, self._definition.version),
                    self._options.expected,
                )

    async def _switch(self) -> None:
        """Catch up with the live version until it has not moved on, and switch in that moment."""
        while True:
            _, live = await self._statuses()
            targets = await self._targets(live)
            await self._build(targets, "catching up")
            reached = {p: processor.checkpoint.next_offset for p, processor in self._processors.items()}
            try:
                await self._query.switch(self._definition, reached if live else None)
            except OwnershipLostError:
                continue
            self._tell("switched")
            return

    async def _build(self, targets: Mapping[Partition, int], phase: Phase) -> None:
        for partition, processor in self._processors.items():
            target = targets.get(partition, 0)
            try:
                while processor.checkpoint.next_offset < target:
                    await self._build_batch(processor, target)
                    self._tell(phase)
            except ProjectionFailedError as error:
                await self._query.report(processor.checkpoint, as_failure(error, self._clock))
                raise

    async def _build_batch(self, processor: BatchProcessor, target: int) -> None:
        began = self._clock.monotonic()
        position = processor.checkpoint
        categories = self._definition.categories or None
        page = await self._log.read(position.partition, position.next_offset, self._options.batch_size, categories)
        events = [event for event in page.events if event.offset < target]
        await processor.process(events, min(page.next_offset, target))
        self._done += len(events)
        await self._pace(len(events), began)

    async def _pace(self, events: int, began: float) -> None:
        if self._options.throttle:
            spent = self._clock.monotonic() - began
            await self._clock.sleep(max(0.0, events / self._options.throttle - spent))

    async def _sample(self) -> float:
        """Measure the rate on the first events in a transaction that is rolled back."""
        partition = self._log.partitions[0]
        checkpoint = (await self._statuses())[0].position(partition)
        processor = BatchProcessor(self._surroundings, self._subscriber, checkpoint)
        categories = self._definition.categories or None
        began = self._clock.monotonic()
        page = await self._log.read(partition, checkpoint.next_offset, _SAMPLE, categories)
        with suppress(_RollBack):
            async with self._query.transaction() as transaction:
                await processor.try_out(transaction, page.events)
                raise _RollBack
        spent = self._clock.monotonic() - began
        return len(page.events) / spent if spent else 0.0

    async def _statuses(self) -> tuple[SubscriptionStatus, SubscriptionStatus | None]:
        """Give the version to build and the live one."""
        statuses = await self._query.statuses(self._definition.name)
        own = next(status for status in statuses if status.version == self._definition.version)
        live = next((status for status in statuses if status.state == "live"), None)
        if own.state != "building":
            message = (
                f"{self._definition.label} is {own.state} already, there is nothing to rebuild: raise the version "
                "in the class statement to build a changed one beside it"
                + (f", or: eventstore projections rollback {own.name}" if own.state == "retired" else "")
            )
            raise ConfigurationError(message)
        return own, live

    @asynccontextmanager
    async def _claimed(self) -> AsyncGenerator[None, None]:
        """Be the only one who rebuilds this version, for as long as the block runs."""
        self._processors.clear()
        heartbeat = Background()
        try:
            for partition in self._log.partitions:
                checkpoint = await self._query.claim(self._definition, partition, self._owner, self._lease)
                if checkpoint is None:
                    raise await self._taken(partition)
                self._processors[partition] = BatchProcessor(self._surroundings, self._subscriber, checkpoint)
            heartbeat.start(self._renew(), f"eventstore-rebuild-{self._definition.name}")
            yield
        finally:
            await heartbeat.close()
            for processor in self._processors.values():
                await finished(self._query.release(processor.checkpoint))

    async def _renew(self) -> None:
        """Keep the leases while something long goes on that moves no position."""
        while True:
            await self._clock.sleep(self._lease / 3)
            for partition in self._log.partitions:
                await self._query.claim(self._definition, partition, self._owner, self._lease)

    async def _taken(self, partition: Partition) -> OwnershipLostError:
        own, _ = await self._statuses()
        owner = own.position(partition).owner
        return OwnershipLostError(
            f"{self._definition.label} is being rebuilt by {owner} (version known since "
            f"{own.changed_at:%Y-%m-%d %H:%M:%S} UTC): wait for it, or stop it and try again in {self._lease:g} s"
        )

    async def _remaining(self, targets: Mapping[Partition, int]) -> int:
        remaining = 0
        for partition, processor in self._processors.items():
            if processor.checkpoint.next_offset < targets.get(partition, 0):
                volume = await self._log.measure(
                    partition, processor.checkpoint.next_offset, self._definition.categories or None
                )
                remaining += volume.events
        return remaining

    def _tell(self, phase: Phase) -> None:
        seconds = self._clock.monotonic() - self._started
        rate = self._done / seconds if seconds else 0.0
        self._on_progress(RebuildProgress(phase, self._done, max(self._total, self._done), rate))


class _RollBack(Exception):  # noqa: N818 - never leaves this module
    """Ends a transaction without effect."""
