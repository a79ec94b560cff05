"""Figures of the embedded store alone: `python -m benchmarks.embedded`. Sizes and ratios, not absolute promises."""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.peer.eventstore_side import Task, prepare_stream
from benchmarks.peer.workload import task_id
from eventstore import EventStore, Settings, SqliteLog

LONG, SHORT = 10_000, 1_000


async def load_times(short: Path, long: Path, rounds: int) -> list[tuple[float, float]]:
    """Give the seconds of uncached loads, short and long in turns: ten short ones take about as long as a long one."""
    settings = Settings(cache_size=0)
    found: list[tuple[float, float]] = []
    async with (
        EventStore(SqliteLog(short), aggregates=[Task], settings=settings) as shorts,
        EventStore(SqliteLog(long), aggregates=[Task], settings=settings) as longs,
    ):
        for _ in range(rounds):
            started = time.perf_counter()
            for _ in range(LONG // SHORT):
                await shorts.load(Task, task_id(1).hex)
            between = time.perf_counter()
            await longs.load(Task, task_id(1).hex)
            found.append(((between - started) * SHORT / LONG, time.perf_counter() - between))
    return found


async def make_streams(path: Path, streams: int) -> None:
    """Write one event into each of many streams, straight into the file."""
    async with SqliteLog(path):
        pass
    rows = (
        (n, f"task-{n:09}", 1, "task.created", 1, n.to_bytes(16), n.to_bytes(16), 1, 1, n, b"{}")
        for n in range(1, streams + 1)
    )
    with closing(sqlite3.connect(path)) as db, db:
        db.executemany(f"INSERT INTO events VALUES ({','.join('?' * 11)})", rows)


async def open_time(path: Path) -> float:
    """Give the seconds from nothing to the first answer about a stream."""
    started = time.perf_counter()
    async with SqliteLog(path) as log:
        await log.list_streams("task-000500000", "", 1)
        return time.perf_counter() - started


def run(directory: Path, streams: int) -> dict[str, Any]:
    """Take every figure."""
    prepare_stream(directory / "short.db", SHORT)
    prepare_stream(directory / "long.db", LONG)
    times = asyncio.run(load_times(directory / "short.db", directory / "long.db", 20))
    asyncio.run(make_streams(directory / "many.db", streams))
    return {
        f"load_{SHORT}_events_ms": round(median(short for short, _ in times) * 1e3, 2),
        f"load_{LONG}_events_ms": round(median(long for _, long in times) * 1e3, 2),
        "ratio": round(median(long / short for short, long in times), 2),
        "streams": streams,
        "open_seconds": round(asyncio.run(open_time(directory / "many.db")), 3),
    }


def main() -> int:
    """Run and print the figures as JSON; fails if a promise is not kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.embedded", description=__doc__)
    parser.add_argument("--streams", type=int, default=1_000_000)
    streams: int = parser.parse_args().streams
    with tempfile.TemporaryDirectory() as directory:
        found = run(Path(directory), streams)
    print(json.dumps(found, indent=2))
    return 0 if found["ratio"] <= LONG / SHORT and found["open_seconds"] < 1 else 1


if __name__ == "__main__":
    sys.exit(main())
