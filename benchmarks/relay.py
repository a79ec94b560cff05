"""How fast a relay publishes: `python -m benchmarks.relay [--events 500000]`.

Beside it stands a bare loop in the same run, with the same client and batches: it consumes the events topic and produces
every record as it is to another topic, in transactions that take the position with them, and does nothing else. Times
are from the joining of the group until everything is committed. The runs alternate, and the medians make the ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from uuid import uuid4

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks.peer.eventstore_side import Task, TaskCompleted, TaskCreated, TaskUpdated
from benchmarks.replay_kafka import PARTITIONS, Bench, fill
from eventstore import Event, EventStore, Recorded, Settings
from eventstore.publishing import Publication, publishes, relaying
from eventstore.testing.kafka import kafka_server


class TaskAnnounced(Event, type="public.task_announced"):
    title: str
    assignee: str


class TaskRenamed(Event, type="public.task_renamed"):
    title: str


class TaskEnded(Event, type="public.task_ended"):
    pass


def feed_of(topic: str, run: int) -> type[Publication]:
    """Give a publication of every event."""

    class Feed(Publication, name=f"feed{run}"):
        @publishes(topic)
        def created(self, event: TaskCreated, at: Recorded) -> TaskAnnounced:
            return TaskAnnounced(title=event.title, assignee=event.assignee)

        @publishes(topic)
        def updated(self, event: TaskUpdated, at: Recorded) -> TaskRenamed:
            return TaskRenamed(title=event.title)

        @publishes(topic)
        def completed(self, event: TaskCompleted, at: Recorded) -> TaskEnded:
            return TaskEnded()

    return Feed


def create(bench: Bench, topic: str) -> None:
    """Create a topic to publish to."""
    admin = AdminClient({"bootstrap.servers": bench.bootstrap})
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(15)


def bare_loop(bench: Bench, events: int, batch: int, run: int) -> float:
    """Give the seconds that consuming and producing everything takes."""
    group, topic = f"{bench.prefix}.bare{run}", f"{bench.prefix}.bare{run}"
    create(bench, topic)
    started = time.perf_counter()
    consumer = Consumer({
        "bootstrap.servers": bench.bootstrap, "group.id": group, "enable.auto.commit": False,
        "auto.offset.reset": "earliest", "isolation.level": "read_uncommitted",
        "partition.assignment.strategy": "cooperative-sticky",
    })  # fmt: skip
    producer = Producer({"bootstrap.servers": bench.bootstrap, "transactional.id": group})
    producer.init_transactions(30)
    consumer.subscribe([f"{bench.prefix}.task.events"])
    done = 0
    while done < events:
        producer.begin_transaction()
        moved: dict[int, int] = {}
        taken = 0
        while taken < batch and done + taken < events:
            for message in consumer.consume(500, 0.1):
                if message.error() is not None:
                    raise KafkaException(message.error())
                moved[message.partition() or 0] = (message.offset() or 0) + 1
                if (message.key() or b"").startswith(b"\0"):
                    continue
                headers = message.headers()
                producer.produce(topic, message.value(), message.key(), headers=headers)
                taken += 1
        positions = [TopicPartition(f"{bench.prefix}.task.events", *place) for place in moved.items()]
        producer.send_offsets_to_transaction(positions, consumer.consumer_group_metadata(), 30)
        producer.commit_transaction(30)
        done += taken
    seconds = time.perf_counter() - started
    consumer.close()
    return seconds


async def relay(bench: Bench, events: int, batch: int, run: int) -> float:
    """Give the seconds that publishing everything takes."""
    topic = f"{bench.prefix}.public{run}"
    create(bench, topic)
    feed = feed_of(topic, run)
    store = EventStore(bench.log("relay"), aggregates=[Task], publications=[feed], settings=Settings(batch_size=batch))
    started = time.perf_counter()
    async with relaying(store, feed) as running:
        while running.published < events:  # noqa: ASYNC110 - other threads count
            await asyncio.sleep(0.01)
        return time.perf_counter() - started


async def measure(events: int, batch: int, runs: int) -> None:
    """Run both by turns and print the figures."""
    with kafka_server() as bootstrap, tempfile.TemporaryDirectory() as directory:
        bench = Bench(bootstrap, f"r{uuid4().hex[:8]}", Path(directory))
        await fill(bench, events)
        bare: list[float] = []
        relayed: list[float] = []
        for run in range(runs):
            bare.append(await asyncio.to_thread(bare_loop, bench, events, batch, run))
            relayed.append(await relay(bench, events, batch, run))
            print(
                f"run {run}: bare loop {events / bare[-1]:,.0f} events/s, relay {events / relayed[-1]:,.0f}", flush=True
            )
    ratio = statistics.median(bare) / statistics.median(relayed)
    print(f"{events:,} events, {batch:,} a transaction: the relay reaches {ratio:.0%} of the bare loop")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--batch", type=int, default=5_000)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    asyncio.run(measure(arguments.events, arguments.batch, arguments.runs))
