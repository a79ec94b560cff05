"""The same history on Kafka: three processes, four partitions: `python -m benchmarks.history_kafka --input FILE`.

Each process sends the commands of a third of the files, in their order, whoever owns the partitions; the results must
equal plain Python as they do on one file (`benchmarks.history`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.history import Authors, Expected, File, Folders, check, commands_of, id_of
from eventstore import CommandRejectedError, EventStore, Settings
from eventstore.kafka import KafkaLog, KafkaOptions
from eventstore.testing.kafka import kafka_server

PROCESSES, PARTITIONS, IN_FLIGHT = 3, 4, 200
SETTINGS = Settings(timeout=60)


def log_in(directory: Path, bootstrap: str) -> KafkaLog:
    """Describe the log that all processes share."""
    return KafkaLog(bootstrap, prefix="history", options=KafkaOptions(partitions=PARTITIONS, directory=directory))


async def send_part(source: Path, directory: Path, bootstrap: str, part: int) -> dict[str, Any]:
    """Execute one process's commands; those of one file follow each other, files are independent."""
    mine: dict[str, list[tuple[int, Any]]] = {}
    for number, command in enumerate(commands_of(source)):
        if int(id_of(command.path), 16) % PROCESSES == part:
            mine.setdefault(id_of(command.path), []).append((number, command))
    rejected: list[int] = []
    async with EventStore(log_in(directory, bootstrap), aggregates=[File], settings=SETTINGS) as store:
        files = iter(mine.items())

        async def call() -> None:
            for name, commands in files:
                for number, command in commands:
                    try:
                        await store.execute(File, name, command)
                    except CommandRejectedError:
                        rejected.append(number)

        started = time.perf_counter()
        await asyncio.gather(*(call() for _ in range(IN_FLIGHT)))
        seconds = time.perf_counter() - started
        print(json.dumps({"rejected": rejected, "seconds": seconds}), flush=True)
        await asyncio.to_thread(sys.stdin.read)  # the others may still need this owner
    return {}


async def run(source: Path, directory: Path, bootstrap: str) -> dict[str, Any]:
    """Send from three processes, then compare everything."""
    expected, total = Expected(), 0
    for total, command in enumerate(commands_of(source), 1):
        expected.take(total - 1, command)
    started = time.perf_counter()
    arguments = ["--input", str(source), "--directory", str(directory), "--bootstrap", bootstrap]
    with ExitStack() as stack:
        members = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "benchmarks.history_kafka", *arguments, "--part", str(part)],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                )
            )
            for part in range(PROCESSES)
        ]  # fmt: skip
        said = [json.loads(await asyncio.to_thread(member.stdout.readline)) for member in members if member.stdout]
        for member in members:
            member.communicate()
    seconds = max(part["seconds"] for part in said)
    rejected = sorted(number for part in said for number in part["rejected"])
    assert rejected == expected.rejected, "other commands were rejected"
    began = time.perf_counter()
    log = log_in(directory, bootstrap)
    async with EventStore(log, aggregates=[File], projections=[Authors, Folders], settings=SETTINGS) as store:
        await log.serving()
        await check(store, expected, Authors)
    return {
        "commands": total,
        "rejected": len(rejected),
        "processes": PROCESSES,
        "partitions": PARTITIONS,
        "commands_per_second": round(total / seconds),
        "seconds_with_start": round(began - started, 1),
        "seconds_to_project_and_check_everything": round(time.perf_counter() - began, 1),
        "files": len(expected.changes),
        "equal_to_plain_python": True,
    }


def main() -> int:
    """Run and print the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history_kafka", description=__doc__)
    parser.add_argument("--input", type=Path, required=True, help="kafka-history.jsonl.gz")
    parser.add_argument("--part", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--bootstrap", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    source: Path = arguments.input
    if not source.exists():
        print(f"{source} is not there: the data is not part of the repository", file=sys.stderr)
        return 2
    if arguments.part is not None:
        asyncio.run(send_part(source, arguments.directory, arguments.bootstrap, arguments.part))
        return 0
    with tempfile.TemporaryDirectory() as directory, kafka_server() as bootstrap:
        print(json.dumps(asyncio.run(run(source, Path(directory), bootstrap)), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
