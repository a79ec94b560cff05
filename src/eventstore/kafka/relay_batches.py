"""Batches of one partition: events become integration events in public topics, and the position moves with them."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Final

from eventstore.core.checkpoints import Failure
from eventstore.core.records import Recorded, StoredEvent
from eventstore.kafka.names import PartitionName
from eventstore.kafka.public_records import PublicRecord, public_record
from eventstore.kafka.relay_feed import Chunk, Feed
from eventstore.kafka.relay_positions import Position
from eventstore.kafka.relay_transactions import Transactions
from eventstore.kafka.relay_work import Reader, Surroundings

_LOGGER: Final = logging.getLogger(__name__)
_IDLE_SECONDS: Final = 1.0
"""So long a position may stay behind what was read, if nothing in between was published."""
_MOST_BYTES: Final = 8 * 2**20
_MOST_SECONDS: Final = 0.5


class HaltedError(Exception):
    """An event cannot be published; the position before it, and why, are committed.

    Args:
        failure: Which, why, and what to do.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.place)
        self.failure: Final = failure


class Batches:
    """Publishes what is in a feed, each batch in one transaction; belongs to one thread.

    Args:
        surroundings: What to do.
        partition: Which partition is published.
        transactions: Of the partition.
        reader: Fills the feed.
        feed: What was read of it.

    Attributes:
        published: How many events were published so far.
    """

    def __init__(
        self,
        surroundings: Surroundings,
        partition: PartitionName,
        transactions: Transactions,
        reader: Reader,
        feed: Feed,
    ) -> None:
        self._work: Final = surroundings.work
        self._clock: Final = surroundings.environment.clock
        self._topic_id: Final = surroundings.topic_ids[partition.topic]
        self._place: Final = partition.topic, partition.number
        self._partition: Final = partition.text
        self._label: Final = f"{surroundings.work.definition.name} partition {partition}"
        self._transactions: Final = transactions
        self._reader: Final = reader
        self._feed: Final = feed
        self._unsaved: Position | None = None
        self._saved_at = time.monotonic()
        self._full_at = 0.0
        self._events = self._bytes = 0
        self.published = 0

    def publish(self) -> None:
        """Publish what waits, up to a bound, and wait for a moment if nothing does.

        Raises:
            HaltedError: A handler raised.
            StoreUnavailableError: The schema of an event cannot be had now.
            TransactionError: The batch did not commit, or nobody knows.
        """
        self._full_at, self._events, self._bytes = time.monotonic() + _MOST_SECONDS, 0, 0
        reached: Position | None = None
        chunk = self._feed.take(_IDLE_SECONDS)
        while chunk is not None:
            reached = self._add(chunk)
            chunk = None if self._is_full else self._feed.take(0)
        if reached is not None and self._events:
            self.commit(reached)
        else:
            self._unsaved = reached or self._unsaved
            if time.monotonic() - self._saved_at > _IDLE_SECONDS:
                self.save()

    def save(self) -> None:
        """Commit the position if there is a newer one than the last that was."""
        if self._unsaved is not None:
            self.commit(self._unsaved)

    def forget(self) -> None:
        """Begin anew from a position that was asked for."""
        self._unsaved = None
        self._feed.clear()

    def commit(self, position: Position, failure: Failure | None = None) -> None:
        """Commit the open transaction together with a position.

        Args:
            position: Of which offset and lease are taken.
            failure: Why it stands still from now on.

        Raises:
            TransactionError: It did not commit, or nobody knows.
        """
        moved = Position(position.offset, position.lease, self._topic_id, self._clock.now(), failure)
        self._transactions.commit(moved.committed(self._place), self._reader.group)
        self.published += self._events
        self._events = 0
        self._unsaved, self._saved_at = None, time.monotonic()

    @property
    def _is_full(self) -> bool:
        return self._events >= self._work.batch_size or self._bytes >= _MOST_BYTES or time.monotonic() >= self._full_at

    def _add(self, chunk: Chunk) -> Position:
        """Add a chunk to the transaction, or as much as makes it large or old enough; gives the position after it."""
        produce = self._transactions.produce
        if self._work.codec is not None:
            self._reader.prepare(self._work.codec, [event.envelope for event in chunk.events])
        for index, event in enumerate(chunk.events, 1):
            for record in self._records(event, chunk.lease):
                produce(record)
                self._bytes += len(record.value)
            self._events += 1
            if self._is_full and index < len(chunk.events):
                self._feed.give_back(chunk._replace(events=chunk.events[index:]))
                return Position(event.offset + 1, chunk.lease)
        return Position(chunk.next_offset, chunk.lease)

    def _records(self, event: StoredEvent, lease: str) -> Sequence[PublicRecord]:
        """Give what an event leads to; nothing if it is to be skipped.

        Raises:
            HaltedError: A handler raised.
        """
        try:
            return self._tried(event)
        except Exception as cause:
            if self._work.definition.on_error.then == "skip":
                _LOGGER.error("%s skips %s: %s", self._label, event.place, _described(cause))  # noqa: TRY400 - on one line
                return ()
            failure = Failure(event.place, _described(cause), _REMEDY, self._clock.now())
            _LOGGER.error("%s is halted by %s: %s", self._label, failure.place, failure.cause)  # noqa: TRY400 - on one line
            self.commit(Position(event.offset, lease), failure)
            raise HaltedError(failure) from cause

    def _tried(self, event: StoredEvent) -> Sequence[PublicRecord]:
        """Run the handlers, again if the policy says so."""
        policy, attempt = self._work.definition.on_error, 1
        while True:
            try:
                at = Recorded(event, self._partition)
                found = self._work.announcer.announce(self._work.registry.decode(event), at)
                return [public_record(each, at, self._work.public.get(each.topic)) for each in found]
            except Exception:
                if attempt >= policy.attempts:
                    raise
            self._feed.pause(policy.delay(attempt))
            attempt += 1


_REMEDY: Final = (
    "Fix the handler and start the relays anew: the event is tried again. on_error=OnError.skip() of the publication "
    "passes over such events"
)


def _described(cause: BaseException) -> str:
    return " ".join(f"{type(cause).__name__}: {cause}".split())
