"""A partition of a test's own on a real broker, its writers, and what stands in it as a raw consumer sees it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import NamedTuple
from uuid import uuid4

from confluent_kafka.admin import AdminClient, NewTopic

from eventstore.environment import Environment
from eventstore.kafka.fence import FencedWriter
from eventstore.kafka.names import PartitionName
from eventstore.kafka.records import Headers, LeaseRule, Record, event_records, headers_of
from eventstore.kafka.wire import Wire
from eventstore.ports import NewEvent, StreamCommit
from tests.topics import read_topic

SETTINGS = {
    "cleanup.policy": "compact",
    "retention.ms": "-1",
    "message.timestamp.type": "LogAppendTime",
    "max.message.bytes": "25165824",
}


class Found(NamedTuple):
    """A record as it stands in the log."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers


def new_partition(bootstrap: str, **settings: str) -> PartitionName:
    """Create an events topic with one partition; settings with `_` for `.`."""
    name = PartitionName(f"t{uuid4().hex[:8]}", "task", 0)
    config = SETTINGS | {key.replace("_", "."): value for key, value in settings.items()}
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(name.topic, 1, 1, config=config)])[name.topic].result(15)
    return name


async def writer_of(wire: Wire, name: PartitionName, environment: Environment | None = None) -> FencedWriter:
    """Give a writer that has not claimed yet."""
    await wire.know([name.topic])
    return FencedWriter(wire, name, f"test-{uuid4().hex[:4]}", environment or Environment())


def commit_of(stream: str, expected_version: int, events: int = 1, note: str = "") -> StreamCommit:
    """Give a command with some events, under a new id."""
    envelope = json.dumps({"note": note}).encode()
    new = tuple(NewEvent("counted", 1, uuid4().bytes, 1, envelope) for _ in range(events))
    return StreamCommit(stream, expected_version, uuid4().bytes, new)


def records_of(writer: FencedWriter, *notes: str) -> list[Record]:
    """Give one event per note, each of a new stream."""
    return [
        record
        for note in notes
        for record in event_records(commit_of(f"task-{uuid4().hex}", 0, note=note), writer.lease)
    ]


def soon(seconds: float = 8.0) -> float:
    """Give a deadline on the monotonic clock."""
    return time.monotonic() + seconds


def read_all(bootstrap: str, topic: str, number: int = 0) -> list[Found]:
    """Read a whole partition, whatever stands in it."""
    return [
        Found(message.offset() or 0, message.key(), message.value(), headers_of(message))
        for message in read_topic(bootstrap, topic, number=number)
    ]


def notes_that_count(found: Sequence[Found]) -> list[str]:
    """Give the notes of the events that count, as every reader decides it."""
    rule = LeaseRule("task")
    events = [rule.read(*record) for record in found]
    return [json.loads(event.envelope)["note"] for event in events if event is not None]


def plain_notes(found: Sequence[Found]) -> list[str]:
    """Give the notes of all event records, those included that do not count."""
    return [json.loads(each.value or b"")["note"] for each in found if each.key and not each.key.startswith(b"\0")]
