"""What a process of `benchmarks.capacity` does: it says how it went in lines of JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from itertools import count, islice
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.capacity_history import commits
from eventstore import EventStore, EventStoreError, RebuildOptions, Settings
from eventstore.environment import Environment
from eventstore.kafka import KafkaLog, KafkaOptions
from eventstore.kafka.administration import Administration
from eventstore.kafka.fence import FencedWriter
from eventstore.kafka.names import partition_number
from eventstore.kafka.provision import open_topics
from eventstore.kafka.records import Record, event_records
from eventstore.kafka.wire import Wire
from eventstore.transfer import export_log, import_log
from examples.task_domain import next_release
from examples.task_domain.aggregates import Task
from examples.task_domain.commands import CreateTask
from examples.task_domain.read_models import TaskBoard

PREFIX, PARTITIONS = "capacity", 4
_CATEGORY = "task"
_GROUP = 1_000
_HOURS = 3 * 3600.0
_PATIENCE = 60.0


def log_of(bootstrap: str, directory: Path, prefix: str = PREFIX) -> KafkaLog:
    """Describe the log, with an index in a directory."""
    options = KafkaOptions(partitions=PARTITIONS, directory=directory, commit_seconds=60)
    return KafkaLog(bootstrap, prefix=prefix, options=options)


def store_of(log: KafkaLog, *, serve: bool, **settings: Any) -> EventStore:
    """Make a store without workers."""
    return EventStore(log, aggregates=[Task], settings=Settings(serve=serve, workers=False, timeout=60), **settings)


def say(**found: Any) -> None:
    """Report, with the memory that this process takes and took at most."""
    status = Path("/proc/self/status").read_text()
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    used = resource.getrusage(resource.RUSAGE_SELF)
    memory = {"resident_bytes": resident * 1024, "peak_bytes": used.ru_maxrss * 1024}
    print(json.dumps({**found, **memory, "processor_seconds": used.ru_utime + used.ru_stime}), flush=True)


async def write(log: KafkaLog, events: int) -> None:
    """Append the history through the fenced writer of each partition, a thousand commands a batch."""
    await open_topics(Administration(log.connection), log.names, [_CATEGORY], log.options, {})
    async with Wire(log.connection) as wire:
        await wire.know([log.names.events(_CATEGORY)])
        places = [log.names.partition(_CATEGORY, number) for number in range(PARTITIONS)]
        writers = [FencedWriter(wire, place, "capacity", Environment()) for place in places]
        for writer in writers:
            await writer.claim((), time.monotonic() + _PATIENCE)
        started = time.perf_counter()
        history = commits(events)
        while group := [*islice(history, _GROUP * PARTITIONS)]:
            batches: list[list[Record]] = [[] for _ in writers]
            for commit in group:
                number = partition_number(commit.stream.partition("-")[2], PARTITIONS)
                batches[number] += event_records(commit, writers[number].lease)
            until = time.monotonic() + _PATIENCE
            await asyncio.gather(
                *(writer.append(batch, until) for writer, batch in zip(writers, batches, strict=True) if batch)
            )
        say(seconds=time.perf_counter() - started)


async def restore(log: KafkaLog, _: int) -> None:
    """Open the log and wait until the index has everything."""
    started = time.perf_counter()
    async with store_of(log, serve=False):
        for partition, end in (await log.ends()).items():
            await log.wait_beyond(partition, end - 1)
        say(seconds=time.perf_counter() - started)


async def own(log: KafkaLog, share: int) -> None:
    """Serve a share of the partitions; when told to, execute a command in each of all."""
    async with store_of(log, serve=True) as store:
        while log.condition.owned.get("serving", 0) < share:  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # nobody is told how many partitions are served
        say(serving=share)
        while await asyncio.to_thread(sys.stdin.readline):
            await asyncio.gather(*(probe(store, log, partition) for partition in log.partitions))
            say(answered=True)


async def probe(store: EventStore, log: KafkaLog, partition: str) -> None:
    """Create a task in a partition, as soon as its owner is there."""
    command = uuid4()
    name = next(f"{command.hex}-{n}" for n in count() if log.partition_of(f"task-{command.hex}-{n}") == partition)
    while True:
        try:
            await store.execute(Task, name, CreateTask(title="probe"), command_id=command)
        except EventStoreError as error:
            if not error.retriable:
                raise
        else:
            return


async def build(log: KafkaLog, _: int) -> None:
    """Build a read model of one row per task: the first version, from the beginning, by this process's workers."""
    settings = Settings(serve=False, timeout=60)
    store = EventStore(log, aggregates=[Task], projections=[TaskBoard], query_store=rows_beside(log), settings=settings)
    async with store:
        started = time.perf_counter()
        await store.wait_for(TaskBoard, await store.present(), timeout=_HOURS)
        say(seconds=time.perf_counter() - started)


async def rebuild(log: KafkaLog, _: int) -> None:
    """Build the next version beside it, compare both row by row, and switch."""
    projections: list[Any] = [next_release.TaskBoard]
    async with store_of(log, serve=False, projections=projections, query_store=rows_beside(log)) as store:
        wanted = RebuildOptions(expected=frozenset({"changed:title"}))
        result = await store.rebuild(next_release.TaskBoard, wanted)
        assert result.switched, result.comparisons
        say(seconds=result.seconds, events=result.events)


async def back_up(log: KafkaLog, _: int) -> None:
    """Export everything to a file, and import it into an empty log of another name."""
    directory = Path(log.options.directory)
    file = directory / "backup.jsonl"
    async with store_of(log, serve=False):
        for partition, end in (await log.ends()).items():
            await log.wait_beyond(partition, end - 1)
        started = time.perf_counter()
        count = await export_log(log, str(file))
        exported = time.perf_counter() - started
    again = log_of(log.connection.bootstrap, directory, f"{PREFIX}-again-{uuid4().hex[:4]}")
    async with store_of(again, serve=True):
        await again.serving()
        started = time.perf_counter()
        result = await import_log(again, str(file))
        imported = time.perf_counter() - started
    assert result == (count, 0), result
    say(count=count, exported=exported, imported=imported, bytes=file.stat().st_size)


def rows_beside(log: KafkaLog) -> str:
    """Name a query store beside the index."""
    return f"sqlite:///{Path(log.options.directory) / 'rows.db'}"


PHASES: dict[str, Callable[[KafkaLog, int], Awaitable[None]]] = {
    "write": write, "restore": restore, "own": own, "build": build, "rebuild": rebuild, "back_up": back_up,
}  # fmt: skip


def main() -> int:
    """Run one phase."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity_member", description=__doc__)
    parser.add_argument("phase", choices=PHASES)
    parser.add_argument("bootstrap")
    parser.add_argument("directory", type=Path)
    parser.add_argument("number", type=int)
    arguments = parser.parse_args()

    async def run() -> None:
        await PHASES[arguments.phase](log_of(arguments.bootstrap, arguments.directory), arguments.number)

    asyncio.run(run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
