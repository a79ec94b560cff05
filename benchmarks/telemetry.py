"""What telemetry costs: `python -m benchmarks.telemetry`. Rounds with and without it, in turns, in one process.

Each round is 256 callers that execute commands on an embedded log, measured in the processor's time: what is compared is far
below the noise of a disk. Callers are not traced, or as many of them are as a usual sampler takes.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from statistics import median

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

from benchmarks.peer.eventstore_side import CreateTask, Task
from benchmarks.peer.workload import task_id
from eventstore import EventStore, Settings, SqliteLog
from eventstore.telemetry import Telemetry

CALLERS = 256
SAMPLED = 0.01
AIM = 1.05


async def call(store: EventStore, numbers: Iterator[int], *, requests: bool) -> None:
    """Execute commands, each as within a request of its own if wanted."""
    tracer = trace.get_tracer("benchmark")
    for number in numbers:
        with tracer.start_as_current_span("request") if requests else nullcontext():
            await store.execute(Task, task_id(number).hex, CreateTask(title="title", assignee="somebody"))


async def processor_seconds(store: EventStore, numbers: Iterator[int], *, requests: bool = False) -> float:
    """Give the processor's seconds that commands of many callers take."""
    gc.collect()
    began = time.process_time()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(CALLERS):
            tasks.create_task(call(store, numbers, requests=requests))
    return time.process_time() - began


async def rounds(directory: Path, count: int, commands: int) -> dict[str, object]:
    """Take every figure, in turns."""
    provider = TracerProvider(sampler=TraceIdRatioBased(SAMPLED))
    provider.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
    trace.set_tracer_provider(provider)
    plain, measured = Settings(), Settings(telemetry=Telemetry())
    found: list[tuple[float, float, float, float]] = []
    async with (
        EventStore(SqliteLog(directory / "off.db"), aggregates=[Task], settings=plain) as off,
        EventStore(SqliteLog(directory / "on.db"), aggregates=[Task], settings=measured) as on,
    ):
        for number in range(count):
            ours = iter(range(4 * number * commands, (4 * number + 1) * commands))
            theirs = iter(range((4 * number + 1) * commands, (4 * number + 2) * commands))
            first = await processor_seconds(off, ours)
            second = await processor_seconds(on, theirs)
            ours = iter(range((4 * number + 2) * commands, (4 * number + 3) * commands))
            theirs = iter(range((4 * number + 3) * commands, (4 * number + 4) * commands))
            fourth = await processor_seconds(on, theirs, requests=True)
            third = await processor_seconds(off, ours, requests=True)
            if number:  # the first one warms up
                found.append((first, second, third, fourth))
    return {
        "microseconds_off": round(median(one for one, *_ in found) / commands * 1e6, 1),
        "on": round(median(one[1] / one[0] for one in found), 3),
        "on_in_requests_of_which_1_percent_are_traced": round(median(one[3] / one[2] for one in found), 3),
        "range": [round(min(one[1] / one[0] for one in found), 3), round(max(one[1] / one[0] for one in found), 3)],
    }


def main() -> int:
    """Run and print the figures as JSON; fails if telemetry costs more than it may."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.telemetry", description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--commands", type=int, default=10_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        figures = asyncio.run(rounds(Path(directory), given.rounds + 1, given.commands))
    print(json.dumps(figures, indent=2))
    return 0 if float(str(figures["on"])) <= AIM else 1


if __name__ == "__main__":
    sys.exit(main())
