"""Dead letters of an inbox: messages that were passed over, kept in a topic as they came, until somebody settles them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from threading import Lock
from typing import Final, NamedTuple, TypeAlias

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka import Message as Record

from eventstore.core.errors import ConfigurationError, LogUnavailableError
from eventstore.core.messages import Message
from eventstore.core.records import from_micros
from eventstore.kafka.connection import Connection
from eventstore.kafka.errors import refusal_of
from eventstore.kafka.records import Headers, headers_of
from eventstore.kafka.renewal import Renewal

_LOGGER: Final = logging.getLogger(__name__)
_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.1
_BATCH: Final = 500
_PREFIX: Final = "dead."
_Raw: TypeAlias = "tuple[bytes | None, bytes | None, Headers]"


class Letter(NamedTuple):
    """A parked message.

    Attributes:
        id: Its place in the dead letter topic.
        message: The message as it came.
        cause: Why it was parked.
        parked_at: When.
    """

    id: int
    message: Message
    cause: str
    parked_at: datetime


class InboxLetters:
    """Keeps, lists and settles dead letters; its topic has one partition, so a settlement stands behind its letter.

    A letter keeps key, value and headers of the message, beside headers `dead.topic`, `dead.partition`, `dead.offset`,
    `dead.timestamp` and `dead.cause`. One with `dead.outcome` settles it.

    Args:
        connection: Where and how.
        topic: The dead letter topic.
    """

    def __init__(self, connection: Connection, topic: str) -> None:
        self._connection: Final = connection
        self._renewal: Final = Renewal(connection)
        self._topic: Final = topic
        self._lock: Final = Lock()
        self._producer: Producer | None = None

    async def park(self, message: Message, cause: str) -> None:
        """Keep a message with its cause; a second time changes nothing.

        Raises:
            LogUnavailableError: The brokers do not take it now.
            ConfigurationError: They refuse it, or this user.
        """
        headers = [*message.headers.items(), *_place(message), (f"{_PREFIX}cause", cause.encode())]
        await asyncio.to_thread(self._write, (message.key, message.value, headers))

    async def is_parked(self, message: Message) -> bool:
        """Tell whether a message was ever parked.

        Raises:
            LogUnavailableError: The brokers cannot be asked now.
            ConfigurationError: They refuse this user.
        """
        wanted = _place(message)
        return any(_place_in(record) == wanted[:3] for record in await asyncio.to_thread(self._read))

    async def waiting(self) -> list[Letter]:
        """List what is parked, oldest first.

        Raises:
            LogUnavailableError: The brokers cannot be asked now.
            ConfigurationError: They refuse this user, or there is no such topic.
        """
        found: dict[Headers | tuple[tuple[str, bytes], ...], Letter] = {}
        for record in await asyncio.to_thread(self._read):
            headers, place = headers_of(record), tuple(_place_in(record))
            if f"{_PREFIX}outcome" in dict(headers):
                found.pop(place, None)
            elif place:
                found.setdefault(place, _letter(record, headers))
        return list(found.values())

    async def find(self, letter_id: int) -> Letter:
        """Give a letter.

        Raises:
            ConfigurationError: There is none of that id, or no longer.
            LogUnavailableError: The brokers cannot be asked now.
        """
        for letter in await self.waiting():
            if letter.id == letter_id:
                return letter
        message = f"{self._topic} holds no dead letter {letter_id}: list them with eventstore inbox dead list NAME"
        raise ConfigurationError(message)

    async def settle(self, letter: Letter, outcome: str) -> None:
        """Take a letter off the list.

        Args:
            letter: Which.
            outcome: What became of it, in a word.

        Raises:
            LogUnavailableError: The brokers do not take it now.
        """
        headers = [*_place(letter.message), (f"{_PREFIX}outcome", outcome.encode())]
        await asyncio.to_thread(self._write, (letter.message.key, None, headers))

    def _write(self, raw: _Raw) -> None:
        with self._lock:
            if self._producer is None or self._renewal.has_new_login or self._renewal.has_new_certificates:
                self._producer = Producer(
                    {
                        **self._renewal.settings(),
                        "enable.idempotence": True,
                        "delivery.timeout.ms": int(_SECONDS * 1000),
                    },
                    logger=_LOGGER,
                )
            refused: list[KafkaError | None] = []
            key, value, headers = raw
            self._producer.produce(
                self._topic, value, key, headers=list(headers), on_delivery=lambda error, _: refused.append(error)
            )
            self._producer.flush(2 * _SECONDS)
        if not refused:
            message = f"{self._topic} did not take a dead letter within {2 * _SECONDS:.0f} s"
            raise LogUnavailableError(message)
        if refused[0] is not None:
            raise refusal_of(refused[0], f"{self._topic} did not take a dead letter") from KafkaException(refused[0])

    def _read(self) -> list[Record]:
        return list(read_between(self._connection, TopicPartition(self._topic, 0, 0), lambda _: True))


def read_between(connection: Connection, start: TopicPartition, wanted: Callable[[Record], bool]) -> Iterator[Record]:
    """Read a partition from an offset to where it ends now; blocks.

    Args:
        connection: Where and how.
        start: Topic, partition and offset.
        wanted: Filters.

    Raises:
        LogUnavailableError: The brokers do not answer.
        ConfigurationError: They refuse this user, or do not know the topic.
    """
    consumer = Consumer(
        {**connection.confluent(), "group.id": "eventstore-reader", "enable.auto.commit": False, "enable.partition.eof": True,
         "isolation.level": "read_committed", "auto.offset.reset": "earliest", "fetch.wait.max.ms": 50},
        logger=_LOGGER,
    )  # fmt: skip
    doing = f"{start.topic} cannot be read"
    try:
        _refuse_unknown(consumer, start.topic, doing)
        consumer.assign([start])
        deadline = time.monotonic() + _SECONDS
        while True:
            records = consumer.consume(_BATCH, _POLL_SECONDS)
            for record in records:
                error = record.error()
                if error is None:
                    if wanted(record):
                        yield record
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                    return
                elif error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED:  # it never joins a group
                    raise refusal_of(error, doing) from KafkaException(error)
            if records:
                deadline = time.monotonic() + _SECONDS
            elif time.monotonic() > deadline:
                message = f"{doing}: the brokers did not answer within {_SECONDS:.0f} s"
                raise LogUnavailableError(message)
    finally:
        with suppress(KafkaException):
            consumer.close()


def _refuse_unknown(consumer: Consumer, topic: str, doing: str) -> None:
    """Say at once that there is no such topic; the client would wait for somebody to create it."""
    try:
        error = consumer.list_topics(topic, _SECONDS).topics[topic].error
    except KafkaException as cause:
        raise refusal_of(cause.args[0], doing) from cause
    if error is not None:
        raise refusal_of(error, doing) from KafkaException(error)


def _place(message: Message) -> Headers:
    return [
        (f"{_PREFIX}topic", message.topic.encode()),
        (f"{_PREFIX}partition", str(message.partition).encode()),
        (f"{_PREFIX}offset", str(message.offset).encode()),
        (f"{_PREFIX}timestamp", str(message.timestamp).encode()),
    ]


def _place_in(record: Record) -> Headers:
    """Give which message a letter holds or settles; the last headers count, since a message may have been a letter."""
    headers = dict(headers_of(record))
    names = [f"{_PREFIX}{name}" for name in ("topic", "partition", "offset")]
    return [(name, headers[name]) for name in names] if all(name in headers for name in names) else []


def _letter(record: Record, headers: Headers) -> Letter:
    found = dict(headers)
    message = Message(
        found[f"{_PREFIX}topic"].decode(),
        int(found[f"{_PREFIX}partition"]),
        int(found[f"{_PREFIX}offset"]),
        record.key(),
        record.value(),
        {name: value for name, value in headers if not name.startswith(_PREFIX)},
        int(found.get(f"{_PREFIX}timestamp", b"0")),
    )
    cause = found.get(f"{_PREFIX}cause", b"").decode(errors="replace")
    return Letter(record.offset() or 0, message, cause, from_micros(record.timestamp()[1] * 1000))
