"""Erasing one event: a record of its place and a tombstone, appended by the owner in one batch."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from confluent_kafka import Consumer, KafkaError, TopicPartition

from eventstore.background import finished
from eventstore.core.errors import AppendOutcomeUnknownError, CorruptLogError, LogUnavailableError
from eventstore.core.records import StoredEvent
from eventstore.kafka.connection import Connection
from eventstore.kafka.errors import fatal_to_readers
from eventstore.kafka.index import Index
from eventstore.kafka.names import PartitionName
from eventstore.kafka.partition import OwnedPartition
from eventstore.kafka.records import Record, erasure_records, is_key_of
from eventstore.ports import StreamQuery

_LOGGER: Final = logging.getLogger(__name__)
ReadKey: TypeAlias = Callable[[PartitionName, StoredEvent], Awaitable[bytes]]
_LOOK_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.1


async def erase(partition: OwnedPartition, index: Index, read_key: ReadKey, stream: str, version: int) -> bool:
    """Erase an event; when this returns, the index shows it, too; see `StreamWriter.erase`.

    Args:
        partition: Where the stream lives.
        index: The local index.
        read_key: Gives the key that an event was written under.
        stream: The stream's name.
        version: Which of its events.
    """

    async def find() -> StoredEvent | None:
        ((*events,),) = await index.read_streams([StreamQuery(stream, version - 1, 1)])
        return events[0] if events and events[0].version == version else None

    async def prepare(lease: str) -> tuple[list[Record], list[StoredEvent]]:
        event = await find()
        if event is None or event.erased:
            return [], []
        key = await read_key(partition.name, event)
        return erasure_records(event, key, lease), [event.without_data()]

    await finished(partition.replace(prepare))
    try:
        await partition.present.settled()
        return await find() is not None
    except LogUnavailableError as error:
        raise AppendOutcomeUnknownError((), str(error)) from error


def key_reader(connection: Connection) -> ReadKey:
    """Give what reads the key of an event from the topic: the index does not keep it, and erasing is rare.

    Args:
        connection: Where and how.
    """

    async def read_key(name: PartitionName, event: StoredEvent) -> bytes:
        return await asyncio.to_thread(_read_key, connection, name, event)

    return read_key


def _read_key(connection: Connection, name: PartitionName, event: StoredEvent) -> bytes:
    deadline = time.monotonic() + _LOOK_SECONDS
    last = "no answer"
    consumer = Consumer(
        {
            **connection.confluent(),
            "group.id": "eventstore-eraser-never-joins",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_uncommitted",
        },
        logger=_LOGGER,
    )
    try:
        consumer.assign([TopicPartition(name.topic, name.number, event.offset)])
        while time.monotonic() < deadline:
            message = consumer.poll(_POLL_SECONDS)
            error = message.error() if message is not None else None
            if error is not None and error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED:
                fatal_to_readers(error, name.topic)
                last = str(error)
            elif message is not None and error is None:
                key = message.key()
                if key is None or message.offset() != event.offset or not is_key_of(key, event):
                    text = (
                        f"{name}: {event.place} is in the index, and the topic holds something else there. Stop this "
                        "process, delete its index, and try again"
                    )
                    raise CorruptLogError(text)
                return key
    finally:
        consumer.close()
    text = f"{name}: {event.place} could not be read in {_LOOK_SECONDS:g} s ({last}). Nothing was erased"
    raise LogUnavailableError(text)
