"""Reads events topics into the index, on a thread of its own: a confluent consumer belongs to one thread."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from functools import partial
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from types import TracebackType
from typing import Final, NamedTuple, Self

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from eventstore.core.errors import CorruptLogError, EventStoreError, StoreClosedError
from eventstore.core.records import Partition, StoredEvent
from eventstore.kafka.answers import MISSING
from eventstore.kafka.backlog import Progress
from eventstore.kafka.connection import Connection
from eventstore.kafka.errors import fatal_to_readers
from eventstore.kafka.index import Index
from eventstore.kafka.names import PartitionName
from eventstore.kafka.records import LeaseRule, headers_of, let_go
from eventstore.kafka.renewal import Renewal

_LOGGER: Final = logging.getLogger(__name__)
_BATCH: Final = 500
_POLL_SECONDS: Final = 0.05
# No transaction is ever opened on an events topic. Were a stranger to open one, reading committed data only would
# stop every reader behind it; the lease rule skips what strangers write anyway.
_SETTINGS: Final[Mapping[str, str | int | bool]] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "isolation.level": "read_uncommitted",
    "enable.partition.eof": True,
    "fetch.wait.max.ms": 100,
    "queued.max.messages.kbytes": 65536,
    "group.id": "eventstore-follower-never-joins",
}


class _Command(NamedTuple):
    """Something for the thread to do with its consumer, and who waits for it."""

    work: Callable[[Consumer], None]
    done: Future[None]


class Follower:
    """Brings every record of the followed partitions to the index, in order, each exactly once.

    Args:
        connection: Where and how.
        index: Where to.
        on_failure: Called on the loop if following has ended for good.
    """

    def __init__(self, connection: Connection, index: Index, on_failure: Callable[[EventStoreError], None]) -> None:
        self._renewal: Final = Renewal(connection)
        self._index: Final = index
        self.on_failure = on_failure
        self.on_missing: Callable[[], None] = lambda: None
        """Called on the loop when a topic or partition is unknown to the brokers."""
        self._commands: Final[SimpleQueue[_Command]] = SimpleQueue()
        self._ending: Final = Lock()
        self._ended = True
        self._rules: Final[dict[tuple[str, int], tuple[Partition, LeaseRule]]] = {}
        self._skipped: Final[dict[tuple[str, int], int]] = {}
        self._next: Final[dict[tuple[str, int], int]] = {}
        self._thread: Final = Thread(target=self._work, name="eventstore-follower")
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        """Start the thread."""
        self._loop = asyncio.get_running_loop()
        self._ended = False
        self._thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the thread; what it has read is with the index."""
        self._stopping = True
        await asyncio.shield(asyncio.to_thread(self._thread.join))

    async def follow(self, partition: PartitionName) -> None:
        """Read a partition from where the index has it, until told otherwise; one that is being read goes on so.

        Raises:
            StoreClosedError: Following has ended for good.
        """
        offset, rule = self._index.positions[str(partition)], self._index.rules[str(partition)]

        def start(consumer: Consumer) -> None:
            if (partition.topic, partition.number) in self._rules:
                return
            self._rules[partition.topic, partition.number] = str(partition), _copy(rule)
            self._skipped[partition.topic, partition.number] = rule.skipped
            self._next[partition.topic, partition.number] = offset
            consumer.incremental_assign([TopicPartition(partition.topic, partition.number, offset)])

        await self._on_thread(start)

    async def unfollow(self, partition: PartitionName) -> None:
        """Stop reading a partition; when this returns, the index gets nothing more of it from here.

        Raises:
            StoreClosedError: Following has ended for good.
        """

        def stop(consumer: Consumer) -> None:
            if self._rules.pop((partition.topic, partition.number), None):
                consumer.incremental_unassign([TopicPartition(partition.topic, partition.number)])

        await self._on_thread(stop)

    async def _on_thread(self, work: Callable[[Consumer], None]) -> None:
        done: Future[None] = Future()
        with self._ending:  # or the thread could miss it, and nobody would ever answer
            if self._ended:
                raise _no_longer_followed()
            self._commands.put(_Command(work, done))
        await asyncio.wrap_future(done)

    def _work(self) -> None:
        try:
            while not self._stopping:
                self._follow_until_renewed()
        except EventStoreError as error:
            self._report(error)
        except Exception as error:  # noqa: BLE001 - a thread's errors are nobody's unless it hands them over
            self._report(CorruptLogError(f"following the log ended: {error!r}"))
        finally:
            with self._ending:
                self._ended = True
            for command in self._waiting():
                if command.done.set_running_or_notify_cancel():
                    command.done.set_exception(_no_longer_followed())

    def _follow_until_renewed(self) -> None:
        """Follow with one client; the next one goes on where it stopped."""
        consumer = Consumer({**self._renewal.settings(), **_SETTINGS}, logger=_LOGGER)
        try:
            consumer.incremental_assign([TopicPartition(*place, self._next[place]) for place in self._rules])
            while not (self._stopping or self._renewal.is_due(consumer)):
                self._obey(consumer)
                first = consumer.poll(_POLL_SECONDS)
                if first is not None:
                    self._take([first, *consumer.consume(_BATCH - 1, 0)])
        finally:
            consumer.close()

    def _waiting(self) -> Iterator[_Command]:
        with suppress(Empty):
            while True:
                yield self._commands.get_nowait()

    def _obey(self, consumer: Consumer) -> None:
        for command in self._waiting():
            if not command.done.set_running_or_notify_cancel():
                continue
            try:
                command.work(consumer)
            except BaseException as error:  # noqa: BLE001 - it belongs to whoever asked
                command.done.set_exception(error)
            else:
                command.done.set_result(None)

    def _report(self, error: EventStoreError) -> None:
        self._on_loop(partial(self.on_failure, error))

    def _on_loop(self, callback: Callable[[], None]) -> None:
        assert self._loop is not None  # noqa: S101 - started by __aenter__
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback)

    def _take(self, messages: list[Message]) -> None:
        read: dict[tuple[str, int], tuple[list[StoredEvent], int]] = {}
        for message in let_go(messages):
            error, offset = message.error(), message.offset()
            if error is not None and error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                continue  # it never joins a group, so it needs no right to
            if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                fatal_to_readers(error, message.topic())
                if error.code() in MISSING:
                    self._on_loop(self.on_missing)
                _LOGGER.warning("following the log: %s", error)
                continue
            place = (message.topic() or "", message.partition() or 0)
            followed = self._rules.get(place)
            if followed is None or offset is None:
                continue
            events, _ = read.setdefault(place, ([], 0))
            if error is None:
                event = followed[1].read(offset, message.key(), message.value(), headers_of(message))
                if event is not None:
                    events.append(event)
                offset += 1
            read[place] = events, offset
            self._next[place] = offset
        for place, (events, next_offset) in read.items():
            partition, rule = self._rules[place]
            if rule.skipped > self._skipped.get(place, 0):
                self._skipped[place] = rule.skipped
                _LOGGER.warning(
                    "%s: %d records so far that no reader counts, the newest before offset %d: late writes of a former "
                    "owner, or somebody else's", partition, rule.skipped, next_offset
                )  # fmt: skip
            self._put(Progress(partition, events, next_offset, _copy(rule)))

    def _put(self, progress: Progress) -> None:
        """Hand over to the loop and wait until there is room: this is what bounds memory."""
        assert self._loop is not None  # noqa: S101 - started by __aenter__
        asyncio.run_coroutine_threadsafe(self._index.put(progress), self._loop).result()


def _no_longer_followed() -> StoreClosedError:
    return StoreClosedError("the log is closed, or can no longer be followed")


def _copy(rule: LeaseRule) -> LeaseRule:
    return replace(rule, open_producers=set(rule.open_producers))
