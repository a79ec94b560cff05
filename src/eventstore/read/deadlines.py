"""Deadlines of process managers, met by the worker whose partition set them: after all events from before them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from eventstore.background import finished
from eventstore.core.checkpoints import Checkpoint
from eventstore.core.errors import ProjectionFailedError
from eventstore.core.projections import HandlerFailedError
from eventstore.core.reactions import Deadline
from eventstore.core.records import Partition
from eventstore.ports import PartitionReader
from eventstore.read.batches import Surroundings, describe
from eventstore.read.subscribers import ProcessSubscriber, Subscriber

# Their commands run while the transaction is open, so it must end soon.
_MOST: Final = 100


class Deadlines:
    """Has the deadlines that have passed reacted to, each once in effect.

    Args:
        surroundings: The query store and the clock.
        log: Tells whether there are events that have to be reacted to first.
        subscriber: Whose deadlines; only those of process managers have any.
    """

    def __init__(self, surroundings: Surroundings, log: PartitionReader, subscriber: Subscriber) -> None:
        self._query: Final = surroundings.query
        self._clock: Final = surroundings.clock
        self._log: Final = log
        self._subscriber: Final = subscriber if isinstance(subscriber, ProcessSubscriber) else None

    async def meet(self, checkpoint: Checkpoint) -> bool:
        """React to the deadlines that have passed in a partition, unless events from before them are to come.

        Args:
            checkpoint: The position, owned by the caller, at which the log seemed to end.

        Returns:
            Whether there were any.

        Raises:
            ProjectionFailedError: `expired` raised, or a command could not be sent; the earlier deadlines are met.
            OwnershipLostError: Somebody else moves this position now; nothing happened.
            StoreUnavailableError: The query store or, for commands, the log is out of reach.
            AppendOutcomeUnknownError: A command's outcome is unknown; the next try resolves it.
        """
        subscriber, met = self._subscriber, False
        if subscriber is None or not subscriber.expires:
            return met
        while True:
            now = self._clock.now()
            passed = await self._query.deadlines(subscriber.definition, checkpoint.partition, now, _MOST)
            # Asked for the end after the time was taken: what comes later is too late for these deadlines.
            if not passed or not await self._is_at_end(subscriber, checkpoint):
                return met
            if not await self._meet(subscriber, checkpoint, passed):
                return met
            met = True

    async def _is_at_end(self, subscriber: ProcessSubscriber, checkpoint: Checkpoint) -> bool:
        ends = await self._log.ends()
        if checkpoint.next_offset < ends[checkpoint.partition]:
            return False
        if subscriber.keyed_by_stream:
            return True
        positions = await self._positions(subscriber)
        return all(positions.get(partition, 0) >= end for partition, end in ends.items())

    async def _positions(self, subscriber: ProcessSubscriber) -> dict[Partition, int]:
        definition = subscriber.definition
        return {
            position.checkpoint.partition: position.checkpoint.next_offset
            for status in await self._query.statuses(definition.name)
            if status.version == definition.version
            for position in status.positions
        }

    async def _meet(self, subscriber: ProcessSubscriber, checkpoint: Checkpoint, passed: Sequence[Deadline]) -> bool:
        try:
            return await finished(self._commit(subscriber, checkpoint, passed))
        except HandlerFailedError as failure:
            if failure.index:
                await self._meet(subscriber, checkpoint, passed[: failure.index])
            failed = passed[failure.index]
            raise ProjectionFailedError(
                projection=subscriber.definition.label,
                event=f"the deadline {failed.due:%Y-%m-%d %H:%M:%S} UTC of {', '.join(map(str, failed.key))}",
                cause=describe(failure.cause),
                remedy="Fix the method expired and restart; a deadline cannot be parked",
            ) from failure.cause

    async def _commit(self, subscriber: ProcessSubscriber, checkpoint: Checkpoint, passed: Sequence[Deadline]) -> bool:
        async with self._query.transaction() as transaction:
            # First, and without moving: a worker that was superseded is out before it sends anything.
            await transaction.advance(checkpoint, checkpoint)
            return await subscriber.expire(transaction, passed)
