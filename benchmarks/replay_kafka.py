"""How fast a row projection is built from a Kafka log: `python -m benchmarks.replay_kafka [--events 1000000]`.

Beside it stands a bare consumer in the same run: it reads the topic and decodes every event as the workers do, and
nothing else. Times of workers begin with the opening of the store, so that joining and, for a cold one, restoring the
index are in them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from confluent_kafka import Consumer, TopicPartition

from benchmarks.peer.eventstore_side import Task, TaskCompleted, TaskCreated, TaskRow, TaskRows, TaskUpdated
from eventstore import EventStore, Projection, RebuildOptions, Recorded, Settings, projects
from eventstore.core.envelope import Metadata, write_envelope
from eventstore.core.events import Event
from eventstore.core.ids import event_id, uuid7
from eventstore.core.rebuilds import RebuildProgress
from eventstore.core.records import from_micros
from eventstore.core.registry import TypeRegistry
from eventstore.kafka import KafkaLog, KafkaOptions
from eventstore.kafka.records import LeaseRule, headers_of
from eventstore.ports import NewEvent, StreamCommit
from eventstore.testing.kafka import kafka_server
from eventstore.testing.postgres import fresh_database, postgres_server

PARTITIONS = 4
STREAMS_PER_COMMIT = 250
EVENTS: tuple[Event, ...] = (
    TaskCreated(title="write the report", assignee="ann"),
    TaskUpdated(title="write the long report"),
    TaskUpdated(title="write the longer report"),
    TaskUpdated(title="write the longest report"),
    TaskCompleted(),
)


@dataclass(frozen=True)
class Bench:
    """A broker, a log on it, and a directory."""

    bootstrap: str
    prefix: str
    directory: Path

    def log(self, index: str) -> KafkaLog:
        options = KafkaOptions(partitions=PARTITIONS, directory=self.directory / index, commit_seconds=60)
        return KafkaLog(self.bootstrap, prefix=self.prefix, options=options)


def commit_of(number: int) -> StreamCommit:
    """Give the events of one task, as one command's."""
    command, micros = uuid7(1_700_000_000_000 + number, number), 1_700_000_000_000_000 + number
    events: list[NewEvent] = []
    for index, event in enumerate(EVENTS, 1):
        identity = event_id(command, index)
        envelope = write_envelope(event, identity, from_micros(micros), Metadata(command, command))
        events.append(NewEvent(event.event_type, 1, identity.bytes, micros, envelope))
    return StreamCommit(f"task-{number:08}", 0, command.bytes, tuple(events))


async def fill(bench: Bench, events: int) -> None:
    """Write the history: five events a task."""
    log = bench.log("writer")
    log.declare(["task"])
    async with log:
        log.channel.serve(_nobody_asks)
        await log.serving()
        for start in range(0, events // len(EVENTS), STREAMS_PER_COMMIT * PARTITIONS):
            groups: dict[str, list[StreamCommit]] = {name: [] for name in log.partitions}
            for number in range(start, min(start + STREAMS_PER_COMMIT * PARTITIONS, events // len(EVENTS))):
                commit = commit_of(number)
                groups[log.partition_of(commit.stream)].append(commit)
            await asyncio.gather(*(log.commit(name, commits) for name, commits in groups.items() if commits))


async def _nobody_asks(partition: str, message: bytes) -> bytes:
    raise AssertionError(partition, message)


def consume_bare(bench: Bench, events: int) -> float:
    """Give the seconds that reading and decoding the topic takes."""
    topic, registry = f"{bench.prefix}.task.events", TypeRegistry(list(Task.evolvers))
    consumer = Consumer({"bootstrap.servers": bench.bootstrap, "group.id": uuid4().hex, "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
    rules = [LeaseRule("task") for _ in range(PARTITIONS)]
    started, found = time.perf_counter(), 0
    while found < events:
        for message in consumer.consume(2_000, 1):
            rule, offset = rules[message.partition() or 0], message.offset() or 0
            event = rule.read(offset, message.key(), message.value(), headers_of(message))
            if event is not None:
                registry.decode(event)
                found += 1
    seconds = time.perf_counter() - started
    consumer.close()
    return seconds


async def work(bench: Bench, index: str, query_store: str) -> float:
    """Run the projection's workers until they have caught up; gives the seconds."""
    settings = Settings(serve=False, batch_size=5_000)
    started = time.perf_counter()
    async with EventStore(
        bench.log(index), aggregates=[Task], projections=[TaskRows], query_store=query_store, settings=settings
    ) as store:
        await store.wait_for(TaskRows, await store.present(), timeout=3_600)
        return time.perf_counter() - started


class NewTaskRows(Projection[TaskRow], name="task_rows", version=2, key="task_id"):
    """The same rows by a new version, to be built beside the first."""

    @projects
    def created(self, row: TaskRow | None, event: TaskCreated, at: Recorded) -> TaskRow:
        return TaskRow(task_id=at.stream.id, title=event.title, assignee=event.assignee)

    @projects
    def updated(self, row: TaskRow, event: TaskUpdated, at: Recorded) -> TaskRow:
        return row.model_copy(update={"title": event.title})

    @projects
    def completed(self, row: TaskRow, event: TaskCompleted, at: Recorded) -> TaskRow:
        return row.model_copy(update={"done": True})


async def estimate(bench: Bench, index: str, query_store: str) -> dict[str, float]:
    """Rebuild, and compare the time left that was shown when a tenth was done with the time it then took."""
    settings, told = Settings(serve=False), list[tuple[float, RebuildProgress]]()
    async with EventStore(
        bench.log(index), aggregates=[Task], projections=[NewTaskRows], query_store=query_store, settings=settings
    ) as store:
        options = RebuildOptions(verify=False)
        await store.rebuild(NewTaskRows, options, lambda progress: told.append((time.perf_counter(), progress)))
    at, tenth = next((at, shown) for at, shown in told if shown.done >= shown.total / 10)
    built = next(at for at, shown in told if shown.done >= shown.total)
    return {"shown_seconds": round(tenth.eta, 2), "true_seconds": round(built - at, 2)}


def processes(bench: Bench, indexes: Sequence[str], query_store: str) -> float:
    """Let one process per index work at the same time; gives the seconds of the slowest."""
    command = [sys.executable, "-m", "benchmarks.replay_kafka", "--work"]
    place = json.dumps([bench.bootstrap, bench.prefix, str(bench.directory)])
    running = [
        subprocess.Popen([*command, place, index, query_store], stdout=subprocess.PIPE, text=True) for index in indexes
    ]
    return max(float(process.communicate()[0]) for process in running)


async def run(bench: Bench, events: int) -> dict[str, Any]:
    """Take every figure, in events per second."""
    await fill(bench, events)
    found: dict[str, Any] = {"events": events, "bare_consumer": round(events / consume_bare(bench, events))}
    file = f"sqlite:///{bench.directory}"
    for name, indexes in (("cold", ["a"]), ("one_process", ["a"]), ("warming", ["b"]), ("two_processes", ["a", "b"])):
        seconds = await asyncio.to_thread(processes, bench, indexes, f"{file}/{name}.db")
        found[f"sqlite_{name}"] = round(events / seconds)
    del found["sqlite_warming"]
    found["time_left_at_a_tenth"] = await estimate(bench, "a", f"{file}/one_process.db")
    with postgres_server() as url:
        for name, indexes in (("one_process", ["a"]), ("two_processes", ["a", "b"])):
            async with fresh_database(url) as database:
                seconds = await asyncio.to_thread(processes, bench, indexes, database)
                found[f"postgres_{name}"] = round(events / seconds)
    return found


def main() -> int:
    """Run and print the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replay_kafka", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        bootstrap, prefix, directory = json.loads(arguments.work[0])
        print(asyncio.run(work(Bench(bootstrap, prefix, Path(directory)), *arguments.work[1:])))
        return 0
    with tempfile.TemporaryDirectory() as directory, kafka_server() as bootstrap:
        bench = Bench(bootstrap, f"replay-{uuid4().hex[:8]}", Path(directory))
        print(json.dumps(asyncio.run(run(bench, arguments.events)), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
