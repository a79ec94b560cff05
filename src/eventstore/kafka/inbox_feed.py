"""What brings an inbox its messages, and keeps its position: a member of its consumer group, on a thread of its own."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Final, Protocol

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as Record

from eventstore.core.errors import CorruptLogError, EventStoreError, LogUnavailableError
from eventstore.core.messages import Message
from eventstore.kafka.connection import Connection
from eventstore.kafka.membership import GroupSettings, Membership, Place
from eventstore.kafka.records import headers_of, let_go

_LOGGER: Final = logging.getLogger(__name__)
_BATCH: Final = 500
_IDLE_SECONDS: Final = 0.1
_BUSY_SECONDS: Final = 0.01
"""A position that somebody waits for is committed between two polls."""
_MOST_WAITING: Final = 4_000
"""Of a partition, in messages of up to a kilobyte, of which a larger one counts as several."""
CONSUMER: Final[Mapping[str, object]] = {
    "isolation.level": "read_committed",
    # What the topic has lost since must not go unnoticed.
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
    "queued.max.messages.kbytes": 65_536,
}


@dataclass(eq=False, slots=True)
class Assignment:
    """A partition for as long as it is this process's: what comes late from an earlier time is dropped.

    Attributes:
        place: Topic and number.
        start: The position that it began at; less than 0 for the topic's beginning.
    """

    place: Place
    start: int


class Recipient(Protocol):
    """What the feed tells, on the loop."""

    def assigned(self, assignments: Sequence[Assignment]) -> None:
        """Take note that it is this process's turn for these."""
        ...

    async def revoked(self, assignments: Sequence[Assignment]) -> None:
        """Finish: it is another process's turn as soon as this returns."""
        ...

    def lost(self, assignments: Sequence[Assignment]) -> None:
        """Stop: it has been another process's turn for a while."""
        ...

    def delivered(self, assignment: Assignment, messages: Sequence[Message], next_offset: int) -> None:
        """Take messages, in order; everything committed before `next_offset` is among them or among earlier ones."""
        ...

    def failed_for_good(self, error: EventStoreError) -> None:
        """Take note that nothing comes any more, for good."""
        ...


class InboxFeed:
    """Takes part in an inbox's group from `join` to `close`; implements `Role` for its membership.

    Args:
        connection: Where and how.
        settings: The group.
        recipient: Is told.
    """

    def __init__(self, connection: Connection, settings: GroupSettings, recipient: Recipient) -> None:
        self._membership: Final = Membership(connection, settings, self)
        self._settings: Final = settings
        self._recipient: Final = recipient
        self._requests: Final[SimpleQueue[Callable[[Consumer], None]]] = SimpleQueue()
        self._current: Final[dict[Place, Assignment]] = {}
        self._waiting: Final[dict[Place, int]] = {}
        self._paused: Final[set[Place]] = set()
        self._positions: Final[dict[Place, TopicPartition]] = {}
        self._attended = time.monotonic()
        self._gaps = self._confirmed_gaps = 0

    def join(self) -> None:
        """Take part from now on."""
        self._membership.join()

    async def close(self) -> None:
        """Hand everything over and leave the group."""
        await self._membership.close()

    def in_doubt(self) -> bool:
        """Tell whether this process may have stood still so long that others have its partitions; from the loop.

        Until the group has taken a commit since, which it does only from its members.
        """
        return self._gaps > self._confirmed_gaps or self._has_gap()

    def _has_gap(self) -> bool:
        return time.monotonic() - self._attended > self._settings.session_seconds / 2

    def settle(self, assignment: Assignment, next_offset: int, taken: int) -> None:
        """Have the position moved soon; from the loop.

        Args:
            assignment: Whose.
            next_offset: Everything before it has had its effect.
            taken: How much of what was delivered waits no longer, as `weight` counts.
        """

        def note(consumer: Consumer) -> None:  # noqa: ARG001 - moved with others
            if self._current.get(assignment.place) is assignment:
                self._waiting[assignment.place] -= taken
                self._positions[assignment.place] = TopicPartition(*assignment.place, next_offset)

        self._requests.put(note)

    def commit(self, assignment: Assignment, next_offset: int, note: str = "") -> asyncio.Future[None]:
        """Move the position now; from the loop.

        Args:
            assignment: Whose.
            next_offset: Everything before it has had its effect.
            note: Kept beside the position, for people.

        Returns:
            Done when the group has it; fails with `LogUnavailableError`, or is cancelled if it is not this process's
            turn any more.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def move(consumer: Consumer) -> None:
            if self._current.get(assignment.place) is not assignment:
                self._membership.tell(_cancel, done)
                return
            self._positions.pop(assignment.place, None)
            gaps = self._gaps
            position = TopicPartition(*assignment.place, next_offset, note)
            try:
                consumer.commit(offsets=[position], asynchronous=False)
            except KafkaException as cause:
                error = LogUnavailableError(f"{self._settings.group}: the position could not be committed: {cause}")
                self._membership.tell(_fail, done, error)
            else:
                self._confirmed_gaps = gaps
                self._membership.tell(_succeed, done)

        self._requests.put(move)
        return done

    def attend(self, consumer: Consumer) -> None:
        """Deliver what came, and commit what is settled; see `Role.attend`."""
        self._gaps += self._has_gap()
        self._attended = time.monotonic()
        self._obey(consumer)
        self._hold_back(consumer)
        busy = any(self._waiting.values())
        first = consumer.poll(_BUSY_SECONDS if busy else _IDLE_SECONDS)
        if first is not None:
            self._deliver([first, *consumer.consume(_BATCH - 1, 0)])
        positions = [*self._positions.values()]
        if positions:
            self._positions.clear()
            consumer.commit(offsets=positions, asynchronous=True)

    def take(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Go on where the group was told that everything has had its effect; see `Role.take`."""
        known = consumer.committed(partitions, timeout=self._settings.session_seconds) if partitions else []
        began: list[Assignment] = []
        for partition in known:
            if partition.error is not None:
                raise KafkaException(partition.error)
            began.append(Assignment((partition.topic, partition.partition), partition.offset))
            if partition.offset < 0:
                partition.offset = OFFSET_BEGINNING
        consumer.incremental_assign(known)
        for assignment in began:
            self._current[assignment.place] = assignment
            self._waiting[assignment.place] = 0
            self._paused.discard(assignment.place)
            self._positions.pop(assignment.place, None)
        if began:
            self._membership.tell(self._recipient.assigned, began)

    def hand_over(self, consumer: Consumer, places: Sequence[Place]) -> None:
        """Have the recipient finish, and commit what is settled; see `Role.hand_over`."""
        self._membership.ask(self._recipient.revoked(self._among(places)))
        self._obey(consumer)
        positions = [self._positions.pop(place) for place in places if place in self._positions]
        self._forget(places)
        if positions:
            try:
                consumer.commit(offsets=positions, asynchronous=False)
            except KafkaException as error:
                _LOGGER.warning("messages will be delivered again, and their commands recognised: %s", error)

    def lose(self, places: Sequence[Place]) -> None:
        """Tell the recipient; see `Role.lose`."""
        assignments = self._among(places)
        self._forget(places)
        self._membership.tell(self._recipient.lost, assignments)

    def fail(self, error: EventStoreError) -> None:
        """Tell the recipient; see `Role.fail`."""
        self._membership.tell(self._recipient.failed_for_good, error)

    def _among(self, places: Sequence[Place]) -> list[Assignment]:
        return [self._current[place] for place in places if place in self._current]

    def _forget(self, places: Sequence[Place]) -> None:
        for place in places:
            self._current.pop(place, None)
            self._waiting.pop(place, None)
            self._positions.pop(place, None)

    def _obey(self, consumer: Consumer) -> None:
        while True:
            try:
                self._requests.get_nowait()(consumer)
            except Empty:
                return

    def _hold_back(self, consumer: Consumer) -> None:
        """Fetch no more of the partitions of which too much waits, but stay in the group."""
        full = {place for place, waiting in self._waiting.items() if waiting > _MOST_WAITING}
        if full - self._paused:
            consumer.pause([TopicPartition(*place) for place in full - self._paused])
        free = {place for place in self._paused if self._waiting.get(place, 0) <= _MOST_WAITING // 2}
        if free & self._current.keys():
            consumer.resume([TopicPartition(*place) for place in free & self._current.keys()])
        self._paused.update(full)
        self._paused.difference_update(free)

    def _deliver(self, records: list[Record]) -> None:
        came: dict[Place, list[Message]] = defaultdict(list)
        ends: dict[Place, int] = {}
        for record in let_go(records):
            place, error = (record.topic() or "", record.partition() or 0), record.error()
            if error is None:
                message = message_of(place, record)
                came[place].append(message)
                ends[place] = message.offset + 1
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                ends[place] = record.offset() or 0
            else:
                self._judge(place, error)
        for place, end in ends.items():
            assignment, messages = self._current.get(place), came[place]
            if assignment is not None:
                self._waiting[place] += sum(map(weight, messages))
                self._membership.tell(self._recipient.delivered, assignment, messages, end)

    def _judge(self, place: Place, error: KafkaError) -> None:
        if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - its public name
            topic, number = place
            message = (
                f"{topic} partition {number} does not hold any more what {self._settings.group} has not read yet "
                f"({error.str()}): it was deleted by retention, or the topic was made anew. Settle what is missing with "
                f"its owner, then go on with: kafka-consumer-groups.sh --group {self._settings.group} "
                f"--topic {topic}:{number} --reset-offsets --to-earliest --execute"
            )
            raise CorruptLogError(message)
        self._membership.judge(error, place[0])


def weight(message: Message) -> int:
    """Give how much a message counts among those that wait."""
    return 1 + len(message.value or b"") // 1024


def message_of(place: Place, record: Record) -> Message:
    """Give a record as inboxes see it."""
    key: object = record.key()
    text = key.encode() if isinstance(key, str) else key
    headers = {name: value for name, value in headers_of(record) if value is not None}  # pyright: ignore[reportUnnecessaryComparison]
    timestamp = record.timestamp()[1]
    return Message(*place, record.offset() or 0, text, record.value(), headers, max(timestamp, 0))  # type: ignore[arg-type]


def _succeed(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


def _fail(done: asyncio.Future[None], error: EventStoreError) -> None:
    if not done.done():
        done.set_exception(error)


def _cancel(done: asyncio.Future[None]) -> None:
    done.cancel()
