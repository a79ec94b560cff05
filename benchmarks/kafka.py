"""Figures of the Kafka log, with bare appends and both clients' transactions beside them: `python -m benchmarks.kafka`.

Everything is taken in one run against one broker: the one named in KAFKA_BOOTSTRAP, or one started for the occasion.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

from aiokafka import AIOKafkaProducer
from confluent_kafka import Producer

from benchmarks.peer.eventstore_side import CreateTask, Task, UpdateTask
from eventstore import EventStore, Settings
from eventstore.core.records import Partition
from eventstore.environment import Environment
from eventstore.kafka import KafkaLog, KafkaOptions
from eventstore.kafka.administration import Administration
from eventstore.kafka.connection import Connection
from eventstore.kafka.fence import FencedWriter
from eventstore.kafka.names import Names
from eventstore.kafka.provision import open_topics
from eventstore.kafka.records import Record
from eventstore.kafka.wire import Wire
from eventstore.ports import NewEvent, StreamCommit
from eventstore.testing.kafka import kafka_server

ENVELOPE = b'{"event_id":"%s","event_type":"task.created","data":{"title":"write the report","assignee":"ann"}}' % (
    b"0" * 36
)
HEADERS = [("lease", b"0" * 16), ("event_id", b"0" * 16), ("event_type", b"task.created"), ("schema_version", b"1"),
           ("command_id", b"0" * 16), ("part", b"1/1"), ("occurred_at", b"1700000000000000")]  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """One broker and a directory."""

    bootstrap: str
    directory: Path

    def log(self, prefix: str, partitions: int, place: str = "a") -> KafkaLog:
        options = KafkaOptions(partitions=partitions, directory=self.directory / place, commit_seconds=30)
        return KafkaLog(self.bootstrap, prefix=prefix, options=options)


def prefix() -> str:
    """Name a log that nobody has used."""
    return f"bench-{uuid4().hex[:8]}"


async def timed(work: Callable[[int], Awaitable[object]], count: int) -> list[float]:
    """Give the milliseconds of each call, sorted."""
    found: list[float] = []
    for number in range(count):
        started = time.perf_counter()
        await work(number)
        found.append((time.perf_counter() - started) * 1e3)
    return found


async def latencies(bench: Bench, rounds: int, calls: int) -> dict[str, Any]:
    """Compare one sequential caller of `execute` with a bare fenced append and with transactions, in turns."""
    name = prefix()
    async with AsyncExitStack() as stack:
        log = bench.log(name, 1)
        store = await stack.enter_async_context(EventStore(log, aggregates=[Task]))
        await log.serving()
        connection, other = Connection(bench.bootstrap), Names(prefix())
        administration = Administration(connection)
        await open_topics(administration, other, ["bare"], KafkaOptions(partitions=1), {})
        wire = await stack.enter_async_context(Wire(connection))
        await wire.know([other.events("bare")])
        writer = FencedWriter(wire, other.partition("bare", 0), "bench", Environment())
        await writer.claim((), time.monotonic() + 30)
        aio = AIOKafkaProducer(bootstrap_servers=bench.bootstrap, transactional_id=prefix(), acks="all")
        await aio.start()
        stack.push_async_callback(aio.stop)
        confluent = Producer({"bootstrap.servers": bench.bootstrap, "transactional.id": prefix(), "linger.ms": 0})
        await asyncio.to_thread(confluent.init_transactions)
        topic, key = other.events("bare"), b"task-1:1:" + b"0" * 16

        async def bare(_: int) -> None:
            await writer.append([Record(key, ENVELOPE, HEADERS)], time.monotonic() + 30)

        async def execute(number: int) -> None:
            await store.execute(Task, f"t{uuid4().hex[:12]}", CreateTask(title=f"write {number}", assignee="ann"))

        async def aio_transaction(_: int) -> None:
            async with aio.transaction():
                await aio.send_and_wait(topic, ENVELOPE, key=key, headers=HEADERS, partition=0)

        def confluent_one() -> None:
            confluent.begin_transaction()
            confluent.produce(topic, ENVELOPE, key, 0, headers=list(HEADERS))
            confluent.commit_transaction()

        async def confluent_transaction(_: int) -> None:
            await asyncio.to_thread(confluent_one)

        ways = {"bare_append": bare, "execute": execute, "aiokafka_transaction": aio_transaction,
                "confluent_transaction": confluent_transaction}  # fmt: skip
        found: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(rounds + 1):
            for way, work in ways.items():
                times = await timed(work, calls)
                if number:  # the first round warms up
                    found[way].append(median(times))
    p50 = {way: round(median(times), 3) for way, times in found.items()}
    ratios = [execute / bare for execute, bare in zip(found["execute"], found["bare_append"], strict=True)]
    return {
        "p50_ms": p50,
        "execute_over_bare": [round(value, 2) for value in (min(ratios), median(ratios), max(ratios))],
    }


async def throughput(bench: Bench, partitions: int, commands: int, callers: int) -> float:
    """Give the commands per second of many concurrent callers, one event and one new stream each."""
    log = bench.log(prefix(), partitions)
    async with EventStore(log, aggregates=[Task]) as store:
        await log.serving()
        numbers = iter(range(commands))

        async def call() -> None:
            for number in numbers:
                await store.execute(Task, f"t{number}", CreateTask(title=f"write {number}", assignee="ann"))

        started = time.perf_counter()
        await asyncio.gather(*(call() for _ in range(callers)))
        return round(commands / (time.perf_counter() - started))


async def open_loop(bench: Bench, rate: int, seconds: int) -> dict[str, float]:
    """Give the latency of commands that arrive at a fixed rate, whether the earlier ones are answered or not."""
    log = bench.log(prefix(), 4)
    async with EventStore(log, aggregates=[Task]) as store, asyncio.TaskGroup() as group:
        await log.serving()
        found: list[float] = []

        async def call(number: int, due: float) -> None:
            await store.execute(Task, f"t{number}", CreateTask(title=f"write {number}", assignee="ann"))
            found.append((time.perf_counter() - due) * 1e3)

        started = time.perf_counter()
        for number in range(rate * seconds):
            due = started + number / rate
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            group.create_task(call(number, due))
    found = sorted(found[rate:])  # the first second warms up
    return {"p50_ms": round(found[len(found) // 2], 2), "p99_ms": round(found[int(len(found) * 0.99)], 2)}


async def loads(bench: Bench) -> dict[str, float]:
    """Time `load` of an aggregate in the cache, and of one with 1,000 events that is not."""
    name = prefix()
    log = bench.log(name, 1)
    async with EventStore(log, aggregates=[Task]) as store:
        await log.serving()
        await store.execute(Task, "x", CreateTask(title="write", assignee="ann"))
        for start in range(0, 999, 333):
            await asyncio.gather(*(store.execute(Task, "x", UpdateTask(title=f"{start + n}")) for n in range(333)))
        cached = await timed(lambda _: store.load(Task, "x"), 2_000)
    log = bench.log(name, 1)
    async with EventStore(log, aggregates=[Task], settings=Settings(cache_size=0)) as store:
        await log.serving()
        cold = await timed(lambda _: store.load(Task, "x"), 50)
    return {"cached_us": round(median(cached) * 1e3, 1), "cold_1000_events_ms": round(median(cold), 2)}


async def write_many(log: KafkaLog, partition: Partition, events: int) -> None:
    """Append many events to one partition, 500 streams at a time."""
    for start in range(0, events, 500):
        commits = [
            StreamCommit(f"task-{n}", 0, n.to_bytes(16), (NewEvent("task.created", 1, n.to_bytes(16), n, ENVELOPE),))
            for n in range(start, start + 500)
        ]
        await log.commit(partition, commits)


async def restore_and_take_over(bench: Bench, events: int) -> dict[str, Any]:
    """Fill a partition; build an index of it from nothing; then let that standby take over while it is warm."""
    name = prefix()
    first = bench.log(name, 1, "first")
    first.declare(["task"])
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(first)
        first.channel.serve(_nobody_asks)
        await first.serving()
        (partition,) = first.partitions
        started = time.perf_counter()
        await write_many(first, partition, events)
        written = time.perf_counter() - started
        end = (await first.ends())[partition]
        second = bench.log(name, 1, "second")
        second.declare(["task"])
        async with second:
            started = time.perf_counter()
            await second.wait_beyond(partition, end - 1)
            restored = time.perf_counter() - started
            second.channel.serve(_nobody_asks)
            await stack.aclose()
            await second.serving()
            takeover = second.takeover_seconds(partition)
    return {
        "events": events,
        "appended_per_second": round(events / written),
        "restored_per_second": round(events / restored),
        "takeover_after_claim_ms": round(takeover * 1e3, 1),
    }


async def _nobody_asks(partition: Partition, message: bytes) -> bytes:
    raise AssertionError(partition, message)


async def run(bench: Bench, *, quick: bool) -> dict[str, Any]:
    """Take every figure."""
    scale = 10 if quick else 1
    return {
        "latency": await latencies(bench, 2 if quick else 7, 100 if quick else 300),
        "commands_per_second_256_callers": {
            partitions: [await throughput(bench, partitions, 60_000 // scale, 256) for _ in range(1 if quick else 3)]
            for partitions in (1, 4)
        },
        "at_1000_commands_per_second": await open_loop(bench, 1_000, 3 if quick else 10),
        "load": await loads(bench),
        "index": await restore_and_take_over(bench, 1_000_000 // scale),
    }


def main() -> int:
    """Run and print the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kafka", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    quick: bool = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as directory, kafka_server() as bootstrap:
        found = asyncio.run(run(Bench(bootstrap, Path(directory)), quick=quick))
    print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
