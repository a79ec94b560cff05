"""Events that a handler could not process: parked, tried again, or given up by somebody who has looked at them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from eventstore.core.checkpoints import Checkpoint, DeadLetter, Failure
from eventstore.core.errors import ConfigurationError, CorruptLogError, OwnershipLostError, ProjectionFailedError
from eventstore.core.projections import EventAt, HandlerFailedError
from eventstore.core.records import Partition, Recorded, StoredEvent
from eventstore.ports import PartitionReader
from eventstore.read.batches import BatchProcessor, Surroundings, describe
from eventstore.read.subscribers import Subscriber

_PAGE: Final = 1_000


class DeadLetters:
    """Parks, retries and discards the events that stop a read model.

    Args:
        surroundings: The query store and the rest.
        log: Where events are read.
        find: Gives the read model or process manager of a name, or raises `ConfigurationError`.
        owner: Who acts.
        lease: Seconds for which a position is held while an event is parked.
    """

    def __init__(
        self,
        surroundings: Surroundings,
        log: PartitionReader,
        find: Callable[[str], Subscriber],
        owner: str,
        lease: float,
    ) -> None:
        self._surroundings: Final = surroundings
        self._query: Final = surroundings.query
        self._log: Final = log
        self._find: Final = find
        self._owner: Final = owner
        self._lease: Final = lease

    async def list(self, name: str | None = None) -> list[DeadLetter]:
        """List what is parked, oldest first.

        Raises:
            StoreUnavailableError: The query store is out of reach.
        """
        return [*await self._query.dead_letters(name)]

    async def park(self, name: str, partition: Partition | None = None) -> DeadLetter:
        """Park the event that a halted read model stands at, so that it goes on behind it.

        Args:
            name: The read model.
            partition: Which partition; None for the only one that is halted.

        Returns:
            The parked event.

        Raises:
            ConfigurationError: The read model is unknown, or not halted there.
            OwnershipLostError: A worker is just trying the event again.
            StoreUnavailableError: Log or query store are out of reach.
        """
        subscriber = self._find(name)
        halted, failure = await self._halted(subscriber, partition)
        checkpoint = await self._query.claim(subscriber.definition, halted.partition, self._owner, self._lease)
        if checkpoint is None:
            message = (
                f"{subscriber.definition.label}: a worker is just trying partition {halted.partition} again; repeat"
            )
            raise OwnershipLostError(message)
        processor = BatchProcessor(self._surroundings, subscriber, checkpoint)
        try:
            event = await self._next_handled(subscriber, checkpoint)
            if event.place != failure.place:
                message = f"{subscriber.definition.label} is halted at {failure.place}, and that is no event to park"
                raise ConfigurationError(message)
            await processor.pass_over(event, failure.cause)
            await self._query.report(processor.checkpoint, None)
        finally:
            await self._query.release(processor.checkpoint)
            self._surroundings.progress.intervene()
        return next(
            letter
            for letter in await self._query.dead_letters(name)
            if (letter.partition, letter.offset) == (halted.partition, event.offset)
        )

    async def retry(self, letter_id: int) -> DeadLetter:
        """Apply a parked event now, on top of all events processed since, and remove the letter with it.

        One that was erased has no effect.

        Args:
            letter_id: Which one, as listed.

        Returns:
            The letter that was removed.

        Raises:
            ConfigurationError: There is no such letter, or its read model's version is not this code's.
            ProjectionFailedError: The handler raised again; the letter stays.
            EventSchemaError: The event still does not fit the code; the letter stays.
            OwnershipLostError: Somebody else removed it meanwhile; nothing happened.
        """
        letter = await self._letter(letter_id)
        subscriber = self._find(letter.name)
        if subscriber.definition.version != letter.version:
            message = (
                f"dead letter {letter_id} belongs to {letter.name} v{letter.version} and this code is "
                f"v{subscriber.definition.version}: retry with the old code, or discard it"
            )
            raise ConfigurationError(message)
        page = await self._log.read(letter.partition, letter.offset, 1)
        if not page.events or page.events[0].offset != letter.offset:
            message = (
                f"the log has no event at offset {letter.offset} of partition {letter.partition}: discard the letter"
            )
            raise CorruptLogError(message)
        stored = page.events[0]
        if stored.erased:
            return await self.discard(letter_id)
        batch = [EventAt(self._surroundings.registry.decode(stored), Recorded(stored, letter.partition))]
        async with self._query.transaction() as transaction:
            try:
                await subscriber.apply(transaction, batch)
            except HandlerFailedError as failure:
                raise ProjectionFailedError(
                    projection=subscriber.definition.label,
                    event=stored.place,
                    cause=describe(failure.cause),
                    remedy=f"Dead letter {letter_id} stays; fix the handler and retry, or discard it",
                ) from failure.cause
            await transaction.discard(letter_id)
        return letter

    async def discard(self, letter_id: int) -> DeadLetter:
        """Give a parked event up; it stays in the log, the read model goes without it.

        Raises:
            ConfigurationError: There is no such letter.
            OwnershipLostError: Somebody else removed it meanwhile.
        """
        letter = await self._letter(letter_id)
        async with self._query.transaction() as transaction:
            await transaction.discard(letter_id)
        return letter

    async def forget(self, stream: str, version: int) -> None:
        """Discard what is parked of an erased event: the cause may quote its data.

        Args:
            stream: The stream's name.
            version: Which of its events.

        Raises:
            StoreUnavailableError: The query store is out of reach.
        """
        for letter in await self._query.dead_letters():
            if (letter.stream, letter.event_version) == (stream, version):
                with suppress(OwnershipLostError):  # somebody else removed it meanwhile
                    await self.discard(letter.id)

    async def _letter(self, letter_id: int) -> DeadLetter:
        for letter in await self._query.dead_letters():
            if letter.id == letter_id:
                return letter
        message = f"there is no dead letter {letter_id}: list them with eventstore dead-letters list"
        raise ConfigurationError(message)

    async def _halted(self, subscriber: Subscriber, partition: Partition | None) -> tuple[Checkpoint, Failure]:
        definition = subscriber.definition
        halted = [
            (position.checkpoint, position.failure)
            for status in await self._query.statuses(definition.name)
            if status.version == definition.version
            for position in status.positions
            if position.failure is not None and partition in (None, position.checkpoint.partition)
        ]
        if len(halted) == 1:
            return halted[0]
        where = "" if partition is None else f" in partition {partition}"
        message = (
            f"{definition.label} is not halted{where}: there is nothing to park"
            if not halted
            else f"{definition.label} is halted in partitions {', '.join(position.partition for position, _ in halted)}: name one"
        )
        raise ConfigurationError(message)

    async def _next_handled(self, subscriber: Subscriber, checkpoint: Checkpoint) -> StoredEvent:
        offset = checkpoint.next_offset
        categories = subscriber.definition.categories or None
        while True:
            page = await self._log.read(checkpoint.partition, offset, _PAGE, categories)
            for event in page.events:
                if event.event_type in subscriber.definition.events:
                    return event
            if page.next_offset == offset:
                message = f"{subscriber.definition.label} has processed the whole log: there is nothing to park"
                raise ConfigurationError(message)
            offset = page.next_offset
