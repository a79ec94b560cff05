"""Kafka logs of a test's own, commands to them, and what stands in them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from eventstore.core.errors import EventStoreError
from eventstore.core.records import Partition, StoredEvent
from eventstore.kafka import KafkaLog, KafkaOptions
from eventstore.kafka.names import Names
from eventstore.kafka.records import LeaseRule
from eventstore.kafka.topics import Kind, wanted_topics
from eventstore.ports import StreamCommit, StreamQuery
from tests.kafka.partitions import Found, commit_of, read_all

TOPIC_SECONDS = 15


def new_topics(prefix: str, partitions: int = 1, category: str = "task", **settings: str) -> list[NewTopic]:
    """Give the topics of a log with one category; settings of the events topic with `_` for `.`."""
    changed = {key.replace("_", "."): value for key, value in settings.items()}
    wanted = wanted_topics(Names(prefix), [category], KafkaOptions(partitions=partitions), 1)
    return [
        NewTopic(
            topic.name,
            topic.partitions,
            topic.replication,
            config={**topic.settings, **(changed if topic.kind is Kind.EVENTS else {})},
        )
        for topic in wanted
    ]


def create(bootstrap: str, topics: Sequence[NewTopic]) -> None:
    """Create topics; the broker shows them when this returns."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for created in admin.create_topics(list(topics)).values():
        created.result(TOPIC_SECONDS)
    deadline = time.monotonic() + TOPIC_SECONDS
    while not {topic.topic for topic in topics} <= set(admin.list_topics(timeout=TOPIC_SECONDS).topics):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def new_prefix(bootstrap: str, partitions: int = 1, category: str = "task", **settings: str) -> str:
    """Create the topics of a log with one category; settings of the events topic with `_` for `.`."""
    prefix = f"t{uuid4().hex[:8]}"
    create(bootstrap, new_topics(prefix, partitions, category, **settings))
    return prefix


@asynccontextmanager
async def reading(bootstrap: str, prefix: str, directory: Path, **options: float) -> AsyncGenerator[KafkaLog]:
    """Open a log with the category `task`, whoever owns its partitions."""
    chosen = KafkaOptions(directory=directory, **options)  # type: ignore[arg-type]
    async with KafkaLog(bootstrap, prefix=prefix, categories=["task"], options=chosen) as log:
        log.channel.serve(refuse)
        yield log


async def refuse(partition: Partition, message: bytes) -> bytes:
    """Answer nobody, since nobody asks."""
    raise AssertionError(partition, message)


@asynccontextmanager
async def opened(bootstrap: str, prefix: str, directory: Path, **options: float) -> AsyncGenerator[KafkaLog]:
    """Open a log with the category `task` that serves all its partitions."""
    async with reading(bootstrap, prefix, directory, **options) as log:
        await log.serving()
        yield log


async def write(log: KafkaLog, stream: str, first: int, count: int, *, size: int = 1) -> list[StreamCommit]:
    """Append commands to a stream one after the other; `first` is its version before."""
    commits = [commit_of(stream, first + number * size, size, f"{stream}:{number}") for number in range(count)]
    outcomes = await log.commit(log.partition_of(stream), commits)
    assert [type(outcome).__name__ for outcome in outcomes] == ["Appended"] * count
    return commits


async def write_until_done(log: KafkaLog, commit: StreamCommit, seconds: float = 20) -> str:
    """Commit until the outcome is known, as a caller does; gives its name."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                (outcome,) = await log.commit(log.partition_of(commit.stream), [commit])
            except EventStoreError as error:
                if not error.retriable:
                    raise
                await asyncio.sleep(0.02)
            else:
                return type(outcome).__name__


async def versions(log: KafkaLog, stream: str) -> list[int]:
    """Give the versions that a stream has, in order."""
    (events,) = await log.read_streams([StreamQuery(stream)])
    return [event.version for event in events]


def counted(bootstrap: str, prefix: str, number: int = 0, category: str = "task") -> list[StoredEvent]:
    """Give the events of a partition that count, read from the brokers with nothing but the lease rule."""
    rule = LeaseRule(category)
    events = [rule.read(*record) for record in read_all(bootstrap, f"{prefix}.{category}.events", number)]
    return [event for event in events if event is not None]


async def indexed(log: KafkaLog, number: int = 0, category: str = "task") -> list[StoredEvent]:
    """Give the events of a partition as the index has them, after everything until now is in."""
    name = f"{category}/{number}"
    ends = await log.ends()
    async with asyncio.timeout(20):
        await log._opened.index.reached(name, ends[name])
    return list((await log.read(name, 0, 10**9)).events)


def plant(
    bootstrap: str, topic: str, records: Sequence[Found | tuple[object, ...]], number: int = 0, **how: str
) -> None:
    """Write records as somebody else would: (key, value, headers) each."""
    producer = Producer(
        {"bootstrap.servers": bootstrap, **{key.replace("_", "."): value for key, value in how.items()}}
    )
    for key, value, headers in records:
        producer.produce(topic, value, key, partition=number, headers=headers)  # type: ignore[arg-type]
    assert producer.flush(15) == 0
