"""The election of owners: a consumer group on the commands topics, in a membership of its own.

The group decides whose turn it is, and brings the commands that other processes send. It keeps nobody from writing:
that is the fence's part.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import Final, NamedTuple, Protocol

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from eventstore.core.errors import EventStoreError
from eventstore.kafka.connection import Connection
from eventstore.kafka.membership import GroupSettings, Membership, Place
from eventstore.kafka.records import headers_of, let_go

_LOGGER: Final = logging.getLogger(__name__)
_BATCH: Final = 200
_POLL_SECONDS: Final = 0.05
_MOST_UNANSWERED: Final = 5_000


class Delivery(NamedTuple):
    """A message that another process sent.

    Attributes:
        place: Where it was read.
        offset: Its offset there.
        value: The message.
        headers: Where the answer goes.
        settle: To be called once: with True if it needs no other delivery, since its effect is in the log or it never
            will have one; with False if it is left to the partition's next owner.
    """

    place: Place
    offset: int
    value: bytes
    headers: Mapping[str, bytes]
    settle: Callable[[bool], None]


class Member(Protocol):
    """What the election tells, on the loop."""

    def assigned(self, places: Sequence[Place]) -> None:
        """It is this process's turn for these."""
        ...

    async def revoked(self, places: Sequence[Place]) -> None:
        """It will be another process's turn as soon as this returns."""
        ...

    def lost(self, places: Sequence[Place]) -> None:
        """It has been another process's turn for a while."""
        ...

    def delivered(self, deliveries: Sequence[Delivery]) -> None:
        """Messages came for this process's partitions."""
        ...

    def failed(self, error: EventStoreError) -> None:
        """The election goes on without this process, for good."""
        ...


class Election:
    """Takes part in the election from `join` to `close`; every callback of the member runs on the loop.

    Implements `Role`: what it does for its membership happens on the membership's thread.

    Args:
        connection: Where and how.
        settings: The group; its topics are the commands topics.
        member: Is told.
    """

    def __init__(self, connection: Connection, settings: GroupSettings, member: Member) -> None:
        self._membership: Final = Membership(connection, settings, self)
        self._patience: Final = settings.session_seconds
        self._member: Final = member
        self._commands: Final[SimpleQueue[Callable[[], None]]] = SimpleQueue()
        self._done: Final[dict[Place, set[int]]] = {}
        self._next: Final[dict[Place, int]] = {}
        self._unanswered = 0
        self._held = False

    def join(self) -> None:
        """Take part from now on."""
        self._membership.join()

    async def close(self) -> None:
        """Hand everything over and leave the group, if this process took part."""
        await self._membership.close()

    def attend(self, consumer: Consumer) -> None:
        """Deliver what came, and acknowledge what is answered; see `Role.attend`."""
        self._obey()
        self._hold_back(consumer)
        first = consumer.poll(_POLL_SECONDS)
        if first is not None:
            self._deliver([first] if self._held else [first, *consumer.consume(_BATCH - 1, 0)])
        self._commit(consumer)

    def take(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Go on where the group was told that everything is answered; see `Role.take`."""
        known = consumer.committed(partitions, timeout=self._patience) if partitions else []
        for partition in known:
            if partition.error is not None:
                raise KafkaException(partition.error)
            partition.offset = max(partition.offset, 0)
        consumer.incremental_assign(known)
        places = [(partition.topic, partition.partition) for partition in partitions]
        for place in places:
            self._done.pop(place, None)
            self._next.pop(place, None)
        if places:
            self._membership.tell(self._member.assigned, places)

    def hand_over(self, consumer: Consumer, places: Sequence[Place]) -> None:
        """Have the member finish, and acknowledge what it answered; see `Role.hand_over`."""
        self._membership.ask(self._member.revoked(places))
        self._obey()
        positions = self._progress(places)
        if positions:
            try:
                consumer.commit(offsets=positions, asynchronous=False)
            except KafkaException as error:
                _LOGGER.warning("answered commands will be delivered again, and recognised: %s", error)

    def lose(self, places: Sequence[Place]) -> None:
        """Tell the member; see `Role.lose`."""
        self._membership.tell(self._member.lost, places)

    def fail(self, error: EventStoreError) -> None:
        """Tell the member; see `Role.fail`."""
        self._membership.tell(self._member.failed, error)

    def _settle(self, place: Place, offset: int, answered: bool) -> None:  # noqa: FBT001 - see Delivery
        def note() -> None:
            self._unanswered -= 1
            if answered:
                self._done.setdefault(place, set()).add(offset)

        self._commands.put(note)

    def _obey(self) -> None:
        while True:
            try:
                self._commands.get_nowait()()
            except Empty:
                return

    def _hold_back(self, consumer: Consumer) -> None:
        """Fetch no more messages while too many wait for their answers, but stay in the group."""
        too_many = self._unanswered > _MOST_UNANSWERED
        if too_many:
            consumer.pause(consumer.assignment())
        elif self._held:
            consumer.resume(consumer.assignment())
        self._held = too_many

    def _deliver(self, messages: list[Message]) -> None:
        deliveries: list[Delivery] = []
        for message in let_go(messages):
            error = message.error()
            if error is not None:
                self._membership.judge(error, message.topic())
                continue
            place, offset = (message.topic() or "", message.partition() or 0), message.offset() or 0
            self._next.setdefault(place, offset)
            headers = dict(headers_of(message))
            settle = partial(self._settle, place, offset)
            deliveries.append(Delivery(place, offset, message.value() or b"", headers, settle))
        if deliveries:
            self._unanswered += len(deliveries)
            self._membership.tell(self._member.delivered, deliveries)

    def _commit(self, consumer: Consumer) -> None:
        """Acknowledge to the group what is answered without a gap."""
        positions = self._progress(list(self._done))
        if positions:
            consumer.commit(offsets=positions, asynchronous=True)

    def _progress(self, places: Sequence[Place]) -> list[TopicPartition]:
        moved: list[TopicPartition] = []
        for place in places:
            done, position = self._done.get(place, set[int]()), self._next.get(place, 0)
            start = position
            while position in done:
                done.discard(position)
                position += 1
            if position > start:
                self._next[place] = position
                moved.append(TopicPartition(*place, position))
        return moved
