"""How long a write takes to be readable when the worker is another process: `python -m benchmarks.read_your_writes`.

Commands are executed at a fixed rate, and each caller then waits for its token in a read model that a process of its own
keeps up to date. The time counts from the moment the command is acknowledged until `wait_for` returns.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
from statistics import quantiles
from typing import Any
from uuid import uuid4

from benchmarks.peer.eventstore_side import CreateTask, Task, TaskRows
from eventstore import EventStore, Settings, SqliteLog
from eventstore.testing.postgres import fresh_database, postgres_server

AIM_MS = 50
WARM_UP = 200


def store_of(log: str, query_store: str, settings: Settings) -> EventStore:
    """Make the store of either process; `log` is a file, or `kafka:bootstrap/prefix/directory`."""
    if not log.startswith("kafka:"):
        return EventStore(
            SqliteLog(log), aggregates=[Task], projections=[TaskRows], query_store=query_store, settings=settings
        )
    from eventstore.kafka import KafkaLog, KafkaOptions

    bootstrap, prefix, directory = log.removeprefix("kafka:").split("/", 2)
    options = KafkaOptions(partitions=4, directory=directory)
    return EventStore(
        KafkaLog(bootstrap, prefix=prefix, options=options),
        aggregates=[Task],
        projections=[TaskRows],
        query_store=query_store,
        settings=settings,
    )


async def work(log: str, query_store: str) -> None:
    """Keep the read model up to date until standard input ends."""
    async with store_of(log, query_store, Settings(serve=False)):
        print("working", flush=True)
        await asyncio.to_thread(sys.stdin.read)


@asynccontextmanager
async def worker(log: str, query_store: str) -> AsyncGenerator[None]:
    """Run a worker process for the length of the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.read_your_writes", "--work", log, query_store,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"working\n"
        yield
    finally:
        process.stdin.close()
        await process.wait()


async def measure(log: str, query_store: str, rate: float, commands: int) -> dict[str, Any]:
    """Write at a rate and wait for every write."""
    waits: list[float] = []
    wholes: list[float] = []
    loop = asyncio.get_running_loop()

    async def one(store: EventStore, number: int) -> None:
        began = time.perf_counter()
        done = await store.execute(Task, f"t{number}", CreateTask(title="write", assignee="ann"))
        written = time.perf_counter()
        await store.wait_for(TaskRows, done.token, timeout=30)
        if number >= WARM_UP:
            waits.append((time.perf_counter() - written) * 1e3)
            wholes.append((time.perf_counter() - began) * 1e3)

    async with store_of(log, query_store, Settings(workers=False)) as store, worker(log, query_store):
        if log.startswith("kafka:"):
            await store.log.serving()  # type: ignore[attr-defined]
        await one(store, 0)
        began = loop.time()
        async with asyncio.TaskGroup() as tasks:
            for number in range(1, commands + WARM_UP):
                await asyncio.sleep(began + number / rate - loop.time())
                tasks.create_task(one(store, number))
        took = loop.time() - began
    return {
        "commands_per_second": round((commands + WARM_UP) / took),
        "readable_after_ms": spread(waits),
        "with_the_command_ms": spread(wholes),
    }


def spread(times: list[float]) -> dict[str, float]:
    """Give median, p99 and maximum."""
    cuts = quantiles(times, n=100)
    return {"p50": round(cuts[49], 1), "p99": round(cuts[98], 1), "max": round(max(times), 1)}


async def run(ways: list[str], rate: float, commands: int) -> dict[str, Any]:
    """Measure every way in turn."""
    found: dict[str, Any] = {}
    with ExitStack() as stack:
        postgres = stack.enter_context(postgres_server()) if any("postgresql" in way for way in ways) else ""
        if any("kafka" in way for way in ways):
            from eventstore.testing.kafka import kafka_server

            bootstrap = stack.enter_context(kafka_server())
        for way in ways:
            directory = stack.enter_context(tempfile.TemporaryDirectory())
            log_name, query_name = way.split("+")
            log = f"kafka:{bootstrap}/b{uuid4().hex[:8]}/{directory}" if log_name == "kafka" else f"{directory}/log.db"
            if query_name == "sqlite":
                found[way] = await measure(log, f"{directory}/read.db", rate, commands)
            else:
                async with fresh_database(postgres) as url:
                    found[way] = await measure(log, url, rate, commands)
    return found


WAYS = ["embedded+sqlite", "embedded+postgresql", "kafka+sqlite", "kafka+postgresql"]


def main() -> int:
    """Run and print the figures as JSON; fails if a promise is not kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.read_your_writes", description=__doc__)
    parser.add_argument("--rate", type=float, default=500)
    parser.add_argument("--commands", type=int, default=5_000)
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=WAYS)
    parser.add_argument("--work", nargs=2, metavar=("LOG", "QUERY_STORE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        asyncio.run(work(*options.work))
        return 0
    found = asyncio.run(run(options.ways, options.rate, options.commands))
    print(json.dumps(found, indent=2))
    return 0 if all(figures["readable_after_ms"]["p99"] <= AIM_MS for figures in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
