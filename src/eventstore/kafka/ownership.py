"""The partitions that this process owns now: what the election gave it and has not taken away."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

from eventstore.background import Background
from eventstore.core.errors import EventStoreError, OwnershipLostError, StoreClosedError
from eventstore.core.records import Partition
from eventstore.kafka.election import Delivery
from eventstore.kafka.fence import FencedWriter
from eventstore.kafka.means import Means
from eventstore.kafka.membership import Place
from eventstore.kafka.names import Names, PartitionName
from eventstore.kafka.partition import OwnedPartition
from eventstore.kafka.stages import Stage
from eventstore.ports import LogCondition

_LOGGER: Final = logging.getLogger(__name__)
_FOLLOW_AGAIN_SECONDS: Final = 1.0

AnswerDelivery: TypeAlias = Callable[[Partition, Delivery, bool], Awaitable[None]]
"""Answers a message; or, if the flag is False, asks for it to be sent again."""


class _Owned(NamedTuple):
    """An owned partition, its writer, and the tasks that live as long as it does."""

    partition: OwnedPartition
    writer: FencedWriter
    work: Background


class Ownership:
    """Begins to own partitions and gives them up as the election says; implements its `Member`.

    Args:
        names: Names of partitions.
        writer_of: Makes the fenced writer of a partition.
        means: What all partitions share.
        drain_seconds: How long a hand-over may take.
    """

    def __init__(
        self, names: Names, writer_of: Callable[[PartitionName], FencedWriter], means: Means, drain_seconds: float
    ) -> None:
        self._names: Final = names
        self._writer_of: Final = writer_of
        self._means: Final = means
        self._drain_seconds: Final = drain_seconds
        self._owned: Final[dict[Partition, _Owned]] = {}
        self._background: Final = Background()
        self._changed = asyncio.Event()
        self._answer: AnswerDelivery | None = None
        self._failure: EventStoreError | None = None
        self._fenced = 0

    @property
    def condition(self) -> LogCondition:
        """How this process is doing with what it owns, and its index with what others write."""
        index, owned = self._means.index, self._owned.values()
        stages = Counter(each.partition.stage.name.lower() for each in owned)
        fenced = self._fenced + sum(each.writer.fenced for each in owned)
        return LogCondition(stages, fenced, index.lag, sum(rule.skipped for rule in index.rules.values()))

    def answer_with(self, answer: AnswerDelivery) -> None:
        """Say how other processes' messages are answered; before the election begins."""
        self._answer = answer

    async def close(self) -> None:
        """Give up what the election has not taken away already."""
        await self._background.close()
        for owned in self._owned.values():
            await owned.work.close()
        self._owned.clear()

    def assigned(self, places: Sequence[Place]) -> None:
        """Begin to own partitions."""
        for place in places:
            name = self._names.partition_at(*place)
            writer = self._writer_of(name)
            owned = _Owned(OwnedPartition(name, writer, self._means), writer, Background())
            self._owned[str(name)] = owned
            owned.work.start(self._own(owned.partition), f"eventstore-own-{name}")
        self._wake()

    async def _own(self, partition: OwnedPartition) -> None:
        try:
            await partition.run()
        except EventStoreError as error:
            self.failed(error)

    async def revoked(self, places: Sequence[Place]) -> None:
        """Hand partitions over: finish what is under way, take nothing new."""
        await asyncio.gather(*(self._give_up(place, self._drain_seconds) for place in places))

    def lost(self, places: Sequence[Place]) -> None:
        """Stop owning partitions that another process has had for a while."""
        for place in places:
            self._background.start(self._give_up(place, 0), f"eventstore-lost-{place}")

    async def _give_up(self, place: Place, drain_seconds: float) -> None:
        name = self._names.partition_at(*place)
        owned = self._owned.pop(str(name), None)
        if owned is None:
            return
        try:
            await owned.partition.release(drain_seconds)
        finally:
            await owned.work.close()
            self._fenced += owned.writer.fenced
        self._background.start(self._follow_again(name), f"eventstore-follow-{name}")
        self._wake()

    async def _follow_again(self, name: PartitionName) -> None:
        """Have a partition read from the log again, behind what was committed here; the next owner need not wait."""
        while True:
            try:
                await self._means.index.flush()
                if str(name) not in self._owned:  # unless it came back meanwhile
                    await self._means.follower.follow(name)
            except EventStoreError as error:
                if error.retriable:
                    await self._means.environment.clock.sleep(_FOLLOW_AGAIN_SECONDS)
                    continue
                # Whatever ended the index or the follower for good is raised for everybody who calls.
                _LOGGER.warning("%s: no longer read from the log: %s", name, error)
            return

    def delivered(self, deliveries: Sequence[Delivery]) -> None:
        """Answer other processes' messages, each when its partition is served."""
        for delivery in deliveries:
            owned = self._owned.get(str(self._names.partition_at(*delivery.place)))
            if owned is None:
                delivery.settle(False)  # left to the next owner
            else:
                owned.work.start(self._answer_one(owned.partition, delivery), "eventstore-answer")

    async def _answer_one(self, partition: OwnedPartition, delivery: Delivery) -> None:
        assert self._answer is not None  # noqa: S101 - set before the election begins
        answered = True
        try:
            await partition.serving()
            # A former owner may have refused it, and told the caller so: only what is asked now may be executed.
            new = not partition.is_of_former_owner(delivery.offset)
            await self._answer(str(partition.name), delivery, new)
        except asyncio.CancelledError:
            answered = False
            raise
        except Exception:
            # Whoever asked asks again. Kept by the task, the error would come out when the partition is handed over.
            _LOGGER.exception("%s: a command of another process could not be answered", partition.name)
        finally:
            delivery.settle(answered)

    def failed(self, error: EventStoreError) -> None:
        """Stop for good: this process can no longer read the log or take part in the election."""
        _LOGGER.error("the log can no longer be used by this process: %s", error)
        self._failure = self._failure or error
        self._wake()

    def check(self) -> None:
        """Raise what made this process stop for good, if anything did.

        Raises:
            StoreClosedError: With the cause.
        """
        if self._failure is not None:
            message = f"the log can no longer be used by this process: {self._failure}"
            raise StoreClosedError(message) from self._failure

    def is_local(self, partition: Partition) -> bool:
        """Tell whether this process is the one to ask.

        Raises:
            StoreClosedError: Something made it stop for good.
        """
        self.check()
        return self.serves(partition)

    def serves(self, partition: Partition) -> bool:
        """Tell whether commands of a partition can be executed here now."""
        return self.served(partition) is not None

    def served(self, partition: Partition) -> OwnedPartition | None:
        """Give a partition that is served here now."""
        owned = self._owned.get(partition)
        return owned.partition if owned is not None and owned.partition.stage is Stage.SERVING else None

    def owned(self, partition: Partition) -> OwnedPartition:
        """Give a partition whose owner this process is or is about to be.

        Raises:
            OwnershipLostError: It is not.
        """
        self.check()
        owned = self._owned.get(partition)
        if owned is None:
            message = f"{partition} is not owned by this process; nothing was written"
            raise OwnershipLostError(message)
        return owned.partition

    async def serving(self, partitions: Collection[Partition]) -> None:
        """Return when this process serves all of some partitions."""
        while not all(map(self.serves, partitions)):
            changed = self._changed
            self.check()
            waiting = [self._owned[name].partition for name in partitions if name in self._owned]
            # Whatever is first: a failure is a change, and would otherwise never end the wait for a partition.
            first = [asyncio.ensure_future(changed.wait())]
            if len(waiting) == len(partitions):
                first += [asyncio.ensure_future(_all_serving(waiting))]
            try:
                await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in first:
                    task.cancel()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


async def _all_serving(partitions: Collection[OwnedPartition]) -> Literal[True]:
    await asyncio.gather(*(partition.serving() for partition in partitions))
    return True
