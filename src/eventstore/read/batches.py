"""One partition of one read model, moved along batch by batch: effects and position together, policies for failures."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from eventstore.background import finished
from eventstore.core.checkpoints import Checkpoint, DeadLetter, Failure
from eventstore.core.definitions import SubscriptionDefinition
from eventstore.core.errors import (
    EventSchemaError,
    ProjectionFailedError,
    RowConflictError,
    StoreUnavailableError,
    UnstorableRowError,
)
from eventstore.core.projections import EventAt, HandlerFailedError
from eventstore.core.records import Recorded, StoredEvent
from eventstore.core.registry import TypeRegistry
from eventstore.ports import Clock, QueryStore, QueryTransaction
from eventstore.read.pacing import Pace
from eventstore.read.progress import Progress
from eventstore.read.subscribers import Subscriber

_LOGGER: Final = logging.getLogger(__name__)
_REFOLDS: Final = 20


class Applied(Protocol):
    """Is told of every batch once it is applied and committed; must not raise."""

    def __call__(self, definition: SubscriptionDefinition, batch: Sequence[EventAt], seconds: float) -> None:
        """Note a batch.

        Args:
            definition: What has applied it.
            batch: Its events; not empty.
            seconds: How long the transaction took.
        """
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every part of the query side works with.

    Attributes:
        query: The query store.
        registry: Decodes events.
        clock: For times, waits and rates.
        progress: Is told about every move.
        turns: Bounds how many batches are written at the same time.
        pace: Lets rebuilds rest.
        applied: Is told of every batch that was applied, if anybody is.
    """

    query: QueryStore
    registry: TypeRegistry
    clock: Clock
    progress: Progress
    turns: asyncio.Semaphore
    pace: Pace
    applied: Applied | None = None


class BatchProcessor:
    """Applies events in order; `checkpoint` is always what the database holds.

    Args:
        surroundings: The query store and the rest.
        subscriber: What to do with events.
        checkpoint: The claimed position to go on from.
    """

    def __init__(self, surroundings: Surroundings, subscriber: Subscriber, checkpoint: Checkpoint) -> None:
        self._query: Final = surroundings.query
        self._registry: Final = surroundings.registry
        self._clock: Final = surroundings.clock
        self._progress: Final = surroundings.progress
        self._turns: Final = surroundings.turns
        self._applied: Final = surroundings.applied
        self._subscriber: Final = subscriber
        self._handled: Final = subscriber.definition.events
        self.checkpoint = checkpoint

    async def process(self, events: Sequence[StoredEvent], next_offset: int) -> None:
        """Apply a page of the log and move behind it.

        Args:
            events: From the checkpoint's position on, in order; those without a handler are passed over.
            next_offset: Where the page ends.

        Raises:
            ProjectionFailedError: An event failed and the policy is to halt; everything before it is applied.
            OwnershipLostError: Somebody else moves this position now; nothing was applied.
            StoreUnavailableError: The query store or, for commands, the log is out of reach.
            AppendOutcomeUnknownError: A command's outcome is unknown; the same batch resolves it.
        """
        handled = [event for event in events if event.event_type in self._handled]
        while handled:
            most = self._subscriber.most or len(handled)
            part, rest = handled[:most], handled[most:]
            failed = await self._apply_until_failure(part, rest[0].offset if rest else next_offset)
            if failed is not None:
                index, cause = failed
                await self._react(part[index], cause)
                rest = handled[index + 1 :]
            handled = rest
        await self._move([], next_offset)

    async def _apply_until_failure(
        self, events: Sequence[StoredEvent], next_offset: int
    ) -> tuple[int, BaseException] | None:
        """Apply events, or those before the first that fails; tells which one failed and why."""
        try:
            await self._move(events, next_offset)
        except HandlerFailedError as failure:
            if failure.index:
                # A shorter batch may fail earlier still: handlers see the same events, but code is code.
                earlier = await self._apply_until_failure(events[: failure.index], events[failure.index].offset)
                if earlier is not None:
                    return earlier
            return failure.index, failure.cause
        except UnstorableRowError as misfit:
            # The row does not tell which event spoiled it: halve until one event is left.
            if len(events) == 1:
                return 0, misfit
            middle = len(events) // 2
            failed = await self._apply_until_failure(events[:middle], events[middle].offset)
            if failed is not None:
                return failed
            failed = await self._apply_until_failure(events[middle:], next_offset)
            return None if failed is None else (middle + failed[0], failed[1])
        return None

    async def _move(self, events: Sequence[StoredEvent], next_offset: int) -> None:
        """Apply events and the new position in one transaction."""
        if next_offset == self.checkpoint.next_offset:
            return
        # Erased events are counted as processed, which they may have been before, and have no effect.
        after, present = self.checkpoint.after(events, next_offset), [event for event in events if not event.erased]
        for attempt in range(_REFOLDS):
            try:
                async with self._turns:
                    await finished(self._commit(self._decode(present), after))
            except RowConflictError:
                _LOGGER.debug("%s: rows appeared meanwhile, folding again (%d)", self._label, attempt + 1)
                continue
            except HandlerFailedError as failure:
                raise HandlerFailedError(events.index(present[failure.index]), failure.cause) from failure.cause
            return
        message = f"{self._label}: other workers insert the same rows all the time; trying again later"
        raise StoreUnavailableError(message)

    async def _commit(self, batch: Sequence[EventAt], after: Checkpoint) -> None:
        began = self._clock.monotonic()
        async with self._query.transaction() as transaction:
            if batch:
                await self._subscriber.apply(transaction, batch)
            await transaction.advance(self.checkpoint, after)
        self._moved(after)
        if batch and self._applied is not None:
            self._applied(self._subscriber.definition, batch, self._clock.monotonic() - began)

    def _decode(self, events: Sequence[StoredEvent]) -> list[EventAt]:
        partition, decode = self.checkpoint.partition, self._registry.decode
        batch: list[EventAt] = []
        for stored in events:
            try:
                batch.append(EventAt(decode(stored), Recorded(stored, partition)))
            except EventSchemaError as error:
                raise HandlerFailedError(len(batch), error) from error
        return batch

    async def _react(self, event: StoredEvent, cause: BaseException) -> None:
        """Try the failing event again as its policy says, then halt, park or skip it."""
        policy = self._subscriber.definition.on_error
        for attempt in range(1, policy.attempts):
            await self._clock.sleep(policy.delay(attempt))
            failed = await self._apply_until_failure([event], event.offset + 1)
            if failed is None:
                return
            _, cause = failed
        match policy.then:
            case "halt":
                raise self._halted(event, cause) from cause
            case "dead_letter":
                await self.pass_over(event, describe(cause))
            case "skip":
                _LOGGER.error("%s skips %s: %s", self._label, event.place, describe(cause))
                await self.pass_over(event, None)

    async def pass_over(self, event: StoredEvent, parked_for: str | None) -> None:
        """Move behind an event without applying it.

        Args:
            event: The next event with a handler.
            parked_for: The cause to keep it as a dead letter with; None to drop it.

        Raises:
            OwnershipLostError: Somebody else moves this position now.
            StoreUnavailableError: The query store is out of reach.
        """
        await finished(self._pass_over(event, parked_for))

    async def _pass_over(self, event: StoredEvent, parked_for: str | None) -> None:
        after = self.checkpoint.after([event], event.offset + 1)
        async with self._query.transaction() as transaction:
            if parked_for is not None:
                await transaction.park(self._letter(event, parked_for))
            await transaction.advance(self.checkpoint, after)
        self._moved(after)

    async def try_out(self, transaction: QueryTransaction, events: Sequence[StoredEvent]) -> None:
        """Apply events without moving the position, for a transaction that will be rolled back."""
        batch = self._decode([event for event in events if event.event_type in self._handled and not event.erased])
        if batch:
            await self._subscriber.apply(transaction, batch)

    @property
    def _label(self) -> str:
        return f"{self._subscriber.definition.label} partition {self.checkpoint.partition}"

    def _moved(self, after: Checkpoint) -> None:
        self.checkpoint = after
        self._progress.moved(after)

    def _letter(self, event: StoredEvent, cause: str) -> DeadLetter:
        position = self.checkpoint
        return DeadLetter(
            0,
            position.name,
            position.version,
            position.partition,
            event.offset,
            event.stream,
            event.version,
            event.event_type,
            cause,
            self._clock.now(),
        )

    def _halted(self, event: StoredEvent, cause: BaseException) -> ProjectionFailedError:
        name = self._subscriber.definition.name
        remedy = (
            f"Fix the handler and restart, or park the event: eventstore dead-letters park {name}"
            if not isinstance(cause, EventSchemaError)
            else f"Deploy code that can read it, or park the event: eventstore dead-letters park {name}"
        )
        return ProjectionFailedError(
            projection=self._subscriber.definition.label, event=event.place, cause=describe(cause), remedy=remedy
        )


def describe(cause: BaseException) -> str:
    """Say what was raised, on one line."""
    return " ".join(f"{type(cause).__name__}: {cause}".split())


def as_failure(error: ProjectionFailedError, clock: Clock) -> Failure:
    """Give what is shown for a position that stands still."""
    return Failure(error.event, error.cause, error.remedy, clock.now())
