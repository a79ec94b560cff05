"""Rebuilds: a new version of a read model, built beside the live one from the log, verified and switched to."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

from eventstore.background import Background, finished
from eventstore.core.checkpoints import SubscriptionStatus
from eventstore.core.errors import ConfigurationError, OwnershipLostError, ProjectionFailedError
from eventstore.core.rebuilds import Phase, RebuildProgress, RebuildStatus, Span
from eventstore.core.records import Partition
from eventstore.ports import EventLog
from eventstore.read.batches import BatchProcessor, Surroundings, as_failure
from eventstore.read.building import Builder
from eventstore.read.crew import Crew
from eventstore.read.planning import building_and_live
from eventstore.read.subscribers import Subscriber
from eventstore.read.verification import Comparison, Side, compare

_BATCH: Final = 5_000
_LOOK_SECONDS: Final = 0.2
_SHOW_SECONDS: Final = 1.0


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
        cpu_share: At most this share of the time of each process that builds; None for all of it.

    Raises:
        ConfigurationError: A limit is none.
    """

    expected: frozenset[str] = frozenset()
    verify: bool = True
    switch: bool = True
    throttle: float | None = None
    batch_size: int = _BATCH
    cpu_share: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.throttle is not None and self.throttle <= 0:
            message = f"throttle={self.throttle:g}: give events per second above 0, or None for as fast as it goes"
            raise ConfigurationError(message)
        if self.cpu_share is not None and not 0 < self.cpu_share <= 1:
            message = f"cpu_share={self.cpu_share:g}: give a share above 0 and up to 1, for example 0.25"
            raise ConfigurationError(message)


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

    On a log that deals partitions out, the workers of every process that has the version's code build together. What
    follows, to compare and to switch, this process does alone.

    Args:
        surroundings: The query store and the rest.
        log: Where events are read, and who deals partitions out.
        subscriber: The new version.
        owner: Who rebuilds, shown to others who try.
        lease: Seconds after which others may take over from a rebuild that was killed.
        crew: This process's part in building together; None if its workers of this version run already.
    """

    def __init__(
        self,
        surroundings: Surroundings,
        log: EventLog,
        subscriber: Subscriber,
        owner: str,
        lease: float,
        crew: Crew | None,
    ) -> None:
        self._surroundings: Final = surroundings
        self._query: Final = surroundings.query
        self._clock: Final = surroundings.clock
        self._log: Final = log
        self._subscriber: Final = subscriber
        self._definition: Final = subscriber.definition
        # Not the process's own name: its worker of this version may begin as soon as it is live, and has to wait.
        self._owner: Final = f"{owner}/rebuild"
        self._lease: Final = lease
        self._crew: Final = crew
        self._builder: Final = Builder(surroundings, log, subscriber)
        self._processors: Final[dict[Partition, BatchProcessor]] = {}
        self._done = 0
        self._started = 0.0
        self._first: tuple[float, int] | None = None
        self._options = RebuildOptions()
        self._on_progress: Callable[[RebuildProgress], None] = lambda _: None
        self._shown = RebuildStatus(self._owner, self._clock.now(), True, "building", False, {}, _BATCH)

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
        self._started, self._done, self._first = self._clock.monotonic(), 0, None
        async with self._alone():
            _, live = await self._statuses()
            targets = await self._targets(live)
            await self._show(await self._spans(targets), shared=self._log.sharing is not None)
            if self._shown.shared:
                await self._build_together()
            await self._claim()
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
                    self._done += await self._builder.build_batch(processor, target, self._shown)
                    self._tell(phase)
            except ProjectionFailedError as error:
                await self._query.report(processor.checkpoint, as_failure(error, self._clock))
                raise

    async def _statuses(self) -> tuple[SubscriptionStatus, SubscriptionStatus | None]:
        return await building_and_live(self._query, self._definition)

    @asynccontextmanager
    async def _alone(self) -> AsyncGenerator[None, None]:
        """Be the only one who rebuilds this version, for as long as the block runs; everybody sees how it stands."""
        await self._statuses()
        options = self._options
        self._processors.clear()
        self._shown = replace(
            self._shown,
            since=self._clock.now(),
            spans={},
            batch_size=options.batch_size,
            throttle=options.throttle,
            cpu_share=options.cpu_share,
        )
        await self._query.hold_rebuild(self._definition, self._shown, self._lease)
        heartbeat = Background()
        try:
            heartbeat.start(self._renew(), f"eventstore-rebuild-{self._definition.name}")
            yield
        finally:
            await heartbeat.close()
            for processor in self._processors.values():
                await finished(self._query.release(processor.checkpoint))
            await finished(self._query.let_go_rebuild(self._definition, self._owner))

    async def _renew(self) -> None:
        """Keep the rebuild and the positions while something long goes on that moves no position."""
        while True:
            await self._clock.sleep(min(self._lease / 3, _SHOW_SECONDS))
            await self._query.hold_rebuild(self._definition, self._shown, self._lease)
            for partition in [*self._processors]:
                await self._query.claim(self._definition, partition, self._owner, self._lease)

    async def _claim(self) -> None:
        """Take all positions over: from now on nobody else builds."""
        for partition in self._log.partitions:
            checkpoint = await self._query.claim(self._definition, partition, self._owner, self._lease, force=True)
            assert checkpoint is not None  # noqa: S101 - forced
            self._processors[partition] = BatchProcessor(self._surroundings, self._subscriber, checkpoint)

    async def _spans(self, targets: Mapping[Partition, int]) -> dict[Partition, Span]:
        """Tell what there is to do; forgets why an earlier rebuild failed."""
        own, _ = await self._statuses()
        spans: dict[Partition, Span] = {}
        for partition, target in targets.items():
            position, events = own.position(partition), 0
            await self._query.report(position, None)
            if position.next_offset < target:
                categories = self._definition.categories or None
                events = (await self._log.measure(partition, position.next_offset, categories)).events
            spans[partition] = Span(position.next_offset, max(target, position.next_offset), events)
        return spans

    async def _build_together(self) -> None:
        """Let the workers of all processes build, this one's too, until every target is reached."""
        self._surroundings.progress.intervene()  # this process's workers need not look for it
        working = Background()
        try:
            helping = None if self._crew is None else working.start(self._crew.run(guest=True), self._crew.name)
            while not await self._is_built():
                if helping is not None and helping.done():
                    return  # closing raises why
                await self._clock.sleep(_LOOK_SECONDS)
            await self._show(self._shown.spans, shared=False)
        finally:
            await working.close()

    async def _is_built(self) -> bool:
        """Look how far all are.

        Raises:
            ProjectionFailedError: A worker stands still at an event.
            OwnershipLostError: Somebody else has taken the rebuild over.
        """
        own, _ = await self._statuses()
        if own.rebuild is None or own.rebuild.runner != self._owner:
            message = f"{self._definition.label}: another process has taken the rebuild over; what was built is kept"
            raise OwnershipLostError(message)
        for position in own.positions:
            if failure := position.failure:
                raise ProjectionFailedError(
                    projection=self._definition.label, event=failure.place, cause=failure.cause, remedy=failure.remedy
                )
        reached = {name: own.position(name).next_offset for name in self._shown.spans}
        self._done = self._shown.progress(reached).done
        self._tell("building", reached)
        return all(reached[name] >= span.target for name, span in self._shown.spans.items())

    async def _show(self, spans: Mapping[Partition, Span], *, shared: bool) -> None:
        self._shown = replace(self._shown, phase="building", spans=spans, shared=shared)
        await self._query.hold_rebuild(self._definition, self._shown, self._lease)

    def _tell(self, phase: Phase, reached: Mapping[Partition, int] | None = None) -> None:
        self._shown = replace(self._shown, phase=phase, rate=self._rate())
        if reached is None:
            reached = {name: processor.checkpoint.next_offset for name, processor in self._processors.items()}
        progress = self._shown.progress(reached)
        self._on_progress(replace(progress, done=self._done, total=max(progress.total, self._done)))

    def _rate(self) -> float:
        """Measure from the first events on: before them, workers had to come together."""
        now = self._clock.monotonic()
        if self._done and self._first is None:
            self._first = now, self._done
        since, before = self._first if self._first and self._done > self._first[1] else (self._started, 0)
        return (self._done - before) / (now - since) if now > since else 0.0
