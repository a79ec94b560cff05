"""A process's part in a publication: it reads the partitions that its group gives it, and has a lane publish each."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Final

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from eventstore.core.checkpoints import Failure
from eventstore.core.errors import EventStoreError, LogUnavailableError
from eventstore.core.records import Partition, StoredEvent
from eventstore.kafka.membership import GroupSettings, Membership
from eventstore.kafka.names import Names, PartitionName
from eventstore.kafka.records import LeaseRule, headers_of, let_go
from eventstore.kafka.relay_feed import Chunk
from eventstore.kafka.relay_lane import Lane
from eventstore.kafka.relay_positions import Place, Position
from eventstore.kafka.relay_work import Surroundings
from eventstore.ports import EventCodec

_LOGGER: Final = logging.getLogger(__name__)
_BATCH: Final = 1_000
_POLL_SECONDS: Final = 0.05
_ROOM_SECONDS: Final = 1.0
"""So long the others wait for a lane that has too much; beyond it the client stops to fetch for that one alone."""
_ANSWER_SECONDS: Final = 0.2
# An offset that is not there is an error: what was published must not be published again from the beginning. No
# transaction is ever opened on an events topic; were a stranger to open one, the lease rule skips it anyway.
_SETTINGS: Final[Mapping[str, str | int]] = {
    "auto.offset.reset": "error",
    "isolation.level": "read_uncommitted",
    "queued.max.messages.kbytes": 65536,
}


class Reading:
    """Reads one partition for its lane; implements `Reader`, and is otherwise used by the member's thread.

    Args:
        member: Whose.
        surroundings: What its lane shares with others.
        partition: Which one.
    """

    def __init__(self, member: RelayMember, surroundings: Surroundings, partition: PartitionName) -> None:
        self._member: Final = member
        self._handled: Final = surroundings.work.definition.events
        self.partition: Final = partition
        self.lane: Final = Lane(surroundings, partition, self)
        self.rule: LeaseRule | None = None
        self.first = 0
        self.paused = False
        self.ended = False

    @property
    def place(self) -> Place:
        """Topic and number."""
        return self.partition.topic, self.partition.number

    @property
    def group(self) -> object:
        """The group's metadata; see `Reader.group`."""
        return self._member.group

    def prepare(self, codec: EventCodec, envelopes: Sequence[bytes]) -> None:
        """Have the loop fetch schemas, and wait; see `Reader.prepare`."""
        self._member.ask(codec.prepare(envelopes))

    def read_from(self, position: Position) -> bool:
        """Have the member's thread read from a position; see `Reader.read_from`."""
        done: Future[bool] = Future()

        def start(consumer: Consumer) -> None:
            try:
                done.set_result(self._start(consumer, position))
            except KafkaException as error:
                done.set_exception(LogUnavailableError(f"{self.partition} cannot be read now: {error}"))

        self._member.command(start)
        while not self.ended:
            with suppress(TimeoutError):
                return done.result(_ANSWER_SECONDS)
        return False

    def _start(self, consumer: Consumer, position: Position) -> bool:
        if self.ended:
            return False
        # Without the lease in force at the position it is found by reading everything before it, too.
        begin = 0 if position.lease is None else position.offset
        self.rule, self.first = LeaseRule(self.partition.category, position.lease or ""), position.offset
        self.lane.feed.clear()
        consumer.seek(TopicPartition(*self.place, begin))
        consumer.resume([TopicPartition(*self.place)])
        self.paused = False
        return True

    def stands_still(self, failure: Failure) -> None:
        """Have the member's thread read no more; see `Reader.stands_still`."""

        def stop(consumer: Consumer) -> None:
            if not self.ended:
                consumer.pause([TopicPartition(*self.place)])
                self.rule = None

        self._member.command(stop)
        self._member.halted(self.partition.text, failure)

    def fail(self, error: EventStoreError) -> None:
        """Tell whoever runs the relay; see `Reader.fail`."""
        self._member.fail(error)

    def take(self, messages: list[Message]) -> None:
        """Hand over what was fetched, with a chunk of its own for each lease; empties the list."""
        rule, first, handled = self.rule, self.first, self._handled
        if rule is None:
            return
        skipped = rule.skipped
        events: list[StoredEvent] = []
        offset = 0
        for message in let_go(messages):
            lease, offset = rule.lease, message.offset() or 0
            event = rule.read(offset, message.key(), message.value(), headers_of(message))
            if rule.lease != lease:
                if events:
                    self.lane.feed.put(Chunk(events, offset, lease))
                events = []
            # The record of an erasure gives the event it erased, which was published, or will not be.
            if event is not None and not event.erased and event.offset >= first and event.event_type in handled:
                events.append(event)
        if offset + 1 > first:
            self.lane.feed.put(Chunk(events, offset + 1, rule.lease))
        if rule.skipped > skipped:
            _LOGGER.warning(
                "%s: %d records so far that no reader counts, the newest before offset %d: late writes of a former "
                "owner, or somebody else's", self.partition, rule.skipped, offset + 1
            )  # fmt: skip


class RelayMember:
    """Takes part in a publication's group; implements `Role` for its membership.

    Args:
        names: Of partitions.
        settings: The group.
        surroundings: What the lanes share.
        on_halt: Called on the loop when a partition stands still.
        on_failure: Called on the loop if nothing can go on.
    """

    def __init__(
        self,
        names: Names,
        settings: GroupSettings,
        surroundings: Surroundings,
        on_halt: Callable[[Partition, Failure], None],
        on_failure: Callable[[EventStoreError], None],
    ) -> None:
        self._names: Final = names
        self._settings: Final = settings
        self._surroundings: Final = surroundings
        self._on_halt: Final = on_halt
        self._on_failure: Final = on_failure
        self._membership: Final = Membership(surroundings.connection, replace(settings, consumer=_SETTINGS), self)
        self._commands: Final[SimpleQueue[Callable[[Consumer], None]]] = SimpleQueue()
        self._readings: Final[dict[Place, Reading]] = {}
        self._before = 0
        self.group: object = None
        """What the brokers know this member by; of its newest generation."""

    @property
    def published(self) -> int:
        """How many events this process has published."""
        return self._before + sum(reading.lane.published for reading in list(self._readings.values()))

    def join(self) -> None:
        """Take part from now on."""
        self._membership.join()

    async def close(self) -> None:
        """Finish the open transactions and leave the group."""
        await self._membership.close()

    def command(self, work: Callable[[Consumer], None]) -> None:
        """Have something done on the thread that owns the consumer."""
        self._commands.put(work)

    def ask(self, work: Coroutine[object, object, None]) -> None:
        """Have the loop do something, and wait until it is done."""
        self._membership.ask(work)

    def halted(self, partition: Partition, failure: Failure) -> None:
        """Tell that a partition stands still."""
        self._membership.tell(self._on_halt, partition, failure)

    def fail(self, error: EventStoreError) -> None:
        """Tell that nothing can go on; see `Role.fail`."""
        self._membership.tell(self._on_failure, error)

    def attend(self, consumer: Consumer) -> None:
        """Poll, and hand over what came; see `Role.attend`."""
        self._keep_up(consumer)
        self._resume(consumer)
        first = consumer.poll(_POLL_SECONDS)
        if first is None:
            return
        fetched: dict[Place, list[Message]] = {}
        for message in [first, *consumer.consume(_BATCH - 1, 0)]:
            error = message.error()
            if error is not None:
                self._membership.judge(error, message.topic())
            else:
                fetched.setdefault((message.topic() or "", message.partition() or 0), []).append(message)
        for place, messages in fetched.items():
            if (reading := self._readings.get(place)) is not None:
                reading.take(messages)
        self._wait_for_room(consumer)

    def _keep_up(self, consumer: Consumer) -> None:
        """Do what lanes want done, and know the newest generation: transactions of an older one are refused."""
        with suppress(Empty):
            while True:
                self._commands.get_nowait()(consumer)
        self.group = consumer.consumer_group_metadata()

    def _wait_for_room(self, consumer: Consumer) -> None:
        deadline = time.monotonic() + _ROOM_SECONDS
        for reading in self._readings.values():
            while not (reading.paused or reading.lane.feed.wait_for_room(_POLL_SECONDS)):
                if time.monotonic() > deadline:
                    consumer.pause([TopicPartition(*reading.place)])
                    reading.paused = True
                self._keep_up(consumer)

    def _resume(self, consumer: Consumer) -> None:
        for reading in self._readings.values():
            if reading.paused and reading.rule is not None and reading.lane.feed.has_room:
                consumer.resume([TopicPartition(*reading.place)])
                reading.paused = False

    def take(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Begin to publish partitions, of which nothing is fetched before their position is known; see `Role.take`."""
        for partition in partitions:
            # Not a logical offset: the client asks the brokers what that is, and where a seek has outrun their answer it
            # asks once more and goes there in the end.
            partition.offset = 0
        consumer.incremental_assign(partitions)
        consumer.pause(partitions)
        self.group = consumer.consumer_group_metadata()
        for partition in partitions:
            name = self._names.partition_at(partition.topic, partition.partition)
            reading = Reading(self, self._surroundings, name)
            self._readings[reading.place] = reading
            reading.lane.start()

    def hand_over(self, consumer: Consumer, places: Sequence[Place]) -> None:  # noqa: ARG002 - see Role
        """End the open transactions, or leave them to the next owner after a while; see `Role.hand_over`."""
        ending = self._end(places)
        deadline = time.monotonic() + self._settings.drain_seconds
        late = [str(each.partition) for each in ending if not each.lane.join(deadline - time.monotonic())]
        self._before += sum(reading.lane.published for reading in ending)
        if late:
            _LOGGER.warning(
                "%s: %s are given to others although a transaction has not ended after %g s; whoever has them next "
                "ends it", self._settings.group, ", ".join(late), self._settings.drain_seconds
            )  # fmt: skip

    def lose(self, places: Sequence[Place]) -> None:
        """Stop; what is still under way, the next owner has ended or will end; see `Role.lose`."""
        self._before += sum(reading.lane.published for reading in self._end(places))

    def _end(self, places: Sequence[Place]) -> list[Reading]:
        ending = [reading for place in places if (reading := self._readings.pop(place, None)) is not None]
        for reading in ending:
            reading.ended = True
            reading.lane.stop()
        return ending
