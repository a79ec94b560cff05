"""Listens to one partition of the replies topic, on a thread of its own, from the moment it is opened."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from threading import Thread
from types import TracebackType
from typing import Final, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from eventstore.core.errors import CorruptLogError, EventStoreError
from eventstore.kafka.connection import Connection
from eventstore.kafka.errors import fatal_to_readers, refusal_of
from eventstore.kafka.renewal import Renewal

_LOGGER: Final = logging.getLogger(__name__)
_BATCH: Final = 200
_POLL_SECONDS: Final = 0.05
_START_SECONDS: Final = 10.0
_SETTINGS: Final[Mapping[str, str | int | bool]] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "latest",
    "enable.partition.eof": True,
    "fetch.wait.max.ms": 100,
    "group.id": "eventstore-replies-never-joins",
}


_PASSING: Final = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
)


class Replies:
    """Hands over every reply that is written to the partition while it is open.

    Args:
        connection: Where and how.
        topic: The replies topic.
        number: Which partition.
        on_reply: Called on the loop with the key and value of each.
        on_failure: Called on the loop if replies are heard no more.
    """

    def __init__(
        self,
        connection: Connection,
        topic: str,
        number: int,
        on_reply: Callable[[bytes, bytes], None],
        on_failure: Callable[[EventStoreError], None],
    ) -> None:
        self._renewal: Final = Renewal(connection)
        self._place: Final = topic, number
        self._on_reply: Final = on_reply
        self._on_failure: Final = on_failure
        self._next: int | None = None
        self._thread: Final = Thread(target=self._work, name="eventstore-replies")
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listening: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        """Listen; a reply to anything that is sent after this arrives.

        Raises:
            ConfigurationError: This user may not read the topic.
            LogUnavailableError: The brokers cannot be reached.
        """
        self._loop = asyncio.get_running_loop()
        self._listening = self._loop.create_future()
        self._thread.start()
        try:
            await self._listening
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening."""
        self._stopping = True
        await asyncio.shield(asyncio.to_thread(self._thread.join))

    @property
    def is_listening(self) -> bool:
        """Whether a reply that comes now is handed over."""
        return self._thread.is_alive() and not self._stopping

    def _work(self) -> None:
        try:
            while not self._stopping:
                self._listen_until_renewed()
        except EventStoreError as error:
            self._tell(self._ended, error)
        except KafkaException as error:
            refusal = refusal_of(error.args[0], f"{self._place[0]} cannot be read, so no answer would be heard")
            refusal.__cause__ = error
            self._tell(self._ended, refusal)
        except Exception as error:  # noqa: BLE001 - a thread's errors are nobody's unless it hands them over
            self._tell(self._ended, CorruptLogError(f"listening to {self._place[0]} ended: {error!r}"))

    def _listen_until_renewed(self) -> None:
        """Listen with one client; the next one goes on where it stopped."""
        consumer = Consumer({**self._renewal.settings(), **_SETTINGS}, logger=_LOGGER)
        try:
            place = TopicPartition(*self._place)
            if self._next is None:
                self._next = self._end(consumer, place)
            place.offset = self._next
            consumer.assign([place])
            while not (self._stopping or self._renewal.is_due(consumer)):
                self._hear(consumer)
        finally:
            consumer.close()

    def _end(self, consumer: Consumer, place: TopicPartition) -> int:
        """Ask where the partition ends; a topic that is only just made has no leader for a moment."""
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                end: int = consumer.get_watermark_offsets(place, timeout=_START_SECONDS)[1]
            except KafkaException as error:
                if (
                    not error.args[0].retriable() and error.args[0].code() not in _PASSING
                ) or time.monotonic() > deadline:
                    raise
                time.sleep(_POLL_SECONDS)
            else:
                return end

    def _hear(self, consumer: Consumer) -> None:
        first = consumer.poll(_POLL_SECONDS)
        if first is None:
            return
        for message in (first, *consumer.consume(_BATCH - 1, 0)):
            error = message.error()
            if error is None:
                self._next = (message.offset() or 0) + 1
                self._tell(self._on_reply, message.key() or b"", message.value() or b"")
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                # Only a fetch that was answered proves that this user may read what comes.
                self._tell(self._started)
            elif error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED:  # it never joins one
                fatal_to_readers(error, self._place[0])
                _LOGGER.warning("listening to replies: %s", error)

    def _started(self) -> None:
        assert self._listening is not None  # noqa: S101 - made by __aenter__
        if not self._listening.done():
            self._listening.set_result(None)

    def _ended(self, error: EventStoreError) -> None:
        assert self._listening is not None  # noqa: S101 - made by __aenter__
        if self._listening.done():
            self._on_failure(error)
        else:
            self._listening.set_exception(error)

    def _tell(self, callback: Callable[..., None], *arguments: object) -> None:
        assert self._loop is not None  # noqa: S101 - set by __aenter__
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback, *arguments)
