"""What commands cost over HTTP, and whether reads with a token are ever stale: `python -m benchmarks.http`.

The example's service runs in a process of its own, on the embedded log and with its read models; the load comes from this
one, at a fixed rate that does not wait for slow answers (open loop). With `--pairs`, there are two service processes: each
pair writes in one of them and reads the row in the other, with the token.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from fastapi import FastAPI

from benchmarks.read_your_writes import spread
from eventstore import EventStore, SqliteLog
from examples.task_domain.aggregates import Task
from examples.task_domain.read_models import TaskBoard, Workload
from examples.task_service.app import service as example
from examples.task_service.app import tune

AIM_MS: Final = 50
WARM_UP: Final = 1_000
_CALLERS: Final = 16
_CONNECTIONS: Final = 200
"""Kept open, as a proxy before the service would; a command that finds none waits, and its time runs."""


class Answer(NamedTuple):
    """What came back, with the headers' names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """A kept connection; as cheap as can be, so that the load does not take the service's time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> Connection:
        """Connect to a service on this machine."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, method: str, path: str, body: bytes = b"", headers: str = "") -> Answer:
        """Send a request and wait for its answer."""
        kind = "content-type: application/json\r\n" if body else ""
        head = f"{method} {path} HTTP/1.1\r\nhost: service\r\n{kind}{headers}content-length: {len(body)}\r\n\r\n"
        self._writer.write(head.encode() + body)
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        found = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}
        content = await self._reader.readexactly(int(found.get("content-length", "0")))
        return Answer(int(lines[0].split(" ", 2)[1]), found, content)

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


def application() -> FastAPI:
    """Make the service that is measured: the example's, with the read models that its page needs."""
    log = SqliteLog(os.environ["TASKS_DB"])
    app = example(lambda: EventStore(log, aggregates=[Task], projections=[TaskBoard, Workload]))
    tune()
    return app


@asynccontextmanager
async def service(directory: Path) -> AsyncGenerator[int]:
    """Run a service process for the length of the block; gives its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uvicorn", "--factory", "benchmarks.http:application", "--port", str(port)),
        *("--log-level", "warning", "--no-access-log", "--timeout-keep-alive", "60"),
        stdout=asyncio.subprocess.DEVNULL,
        env={**os.environ, "TASKS_DB": str(directory / "tasks.db")},
    )
    try:
        while not await _is_ready(port):
            assert process.returncode is None
            await asyncio.sleep(0.1)
        yield port
    finally:
        process.terminate()
        await process.wait()


async def _is_ready(port: int) -> bool:
    try:
        connection = await Connection.open(port)
    except OSError:
        return False
    answer = await connection.ask("GET", "/health/ready")
    connection.close()
    return answer.status == 200


async def commands(rate: float, seconds: float) -> dict[str, Any]:
    """Send commands at a rate; the time of each counts from when it was due, so a queue is not left out."""
    times: list[float] = []
    statuses: Counter[int] = Counter()
    idle: asyncio.LifoQueue[Connection] = asyncio.LifoQueue()
    loop = asyncio.get_running_loop()

    async def one(number: int, due: float) -> None:
        connection = await idle.get()
        body = json.dumps({"title": f"task {number}"}).encode()
        answer = await connection.ask("POST", f"/tasks/t{number}/commands/create-task", body)
        idle.put_nowait(connection)
        if number >= WARM_UP:
            statuses[answer.status] += 1
            times.append((loop.time() - due) * 1e3)

    with tempfile.TemporaryDirectory() as directory:
        async with service(Path(directory)) as port:
            for _ in range(_CONNECTIONS):
                idle.put_nowait(await Connection.open(port))
            began, total = loop.time(), WARM_UP + int(rate * seconds)
            async with asyncio.TaskGroup() as tasks:
                for number in range(total):
                    due = began + number / rate
                    if (left := due - loop.time()) > 0:
                        await asyncio.sleep(left)
                    tasks.create_task(one(number, due))
            took = loop.time() - began
            while not idle.empty():
                idle.get_nowait().close()
    return {
        "commands_per_second": round(total / took),
        "answers": dict(statuses),
        "connections": _CONNECTIONS,
        "answered_after_ms": spread(times),
    }


async def pairs(count: int) -> dict[str, Any]:
    """Write in one process and read in the other; counts the reads that did not show the write."""
    found: Counter[str] = Counter()
    times: list[float] = []
    numbers = iter(range(count))

    async def caller(ports: tuple[int, int]) -> None:
        connections = [await Connection.open(port) for port in ports]
        for number in numbers:
            writes, reads = connections if number % 2 else reversed(connections)
            began = time.perf_counter()
            task = f"t{number}"
            body = json.dumps({"title": task}).encode()
            written = await writes.ask("POST", f"/tasks/{task}/commands/create-task", body)
            token = written.headers.get("eventstore-position", "")
            read = await reads.ask(
                "GET", f"/task-board/{task}", headers=f"eventstore-position: {token}\r\nprefer: wait=30\r\n"
            )
            times.append((time.perf_counter() - began) * 1e3)
            shown = read.status == 200 and json.loads(read.body)["title"] == task
            found["shown" if shown else f"write {written.status}, read {read.status}"] += 1
        for connection in connections:
            connection.close()

    with tempfile.TemporaryDirectory() as directory:
        async with AsyncExitStack() as services:
            ports = (
                await services.enter_async_context(service(Path(directory))),
                await services.enter_async_context(service(Path(directory))),
            )
            began = time.perf_counter()
            async with asyncio.TaskGroup() as tasks:
                for _ in range(_CALLERS):
                    tasks.create_task(caller(ports))
            took = time.perf_counter() - began
    return {
        "pairs": count,
        "pairs_per_second": round(count / took),
        "found": dict(found),
        "pair_took_ms": spread(times),
    }


def main() -> int:
    """Run and print the figures as JSON; fails if a promise is not kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http", description=__doc__)
    parser.add_argument("--rate", type=float, default=1_000, help="commands per second")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--pairs", type=int, default=0, help="write and read so many pairs instead")
    options = parser.parse_args()
    tune()  # what is measured is the service, not the pauses of the load
    if options.pairs:
        figures = asyncio.run(pairs(options.pairs))
        kept = figures["found"] == {"shown": options.pairs}
    else:
        figures = asyncio.run(commands(options.rate, options.seconds))
        kept = figures["answered_after_ms"]["p99"] <= AIM_MS and figures["answers"].keys() == {201}
    print(json.dumps(figures, indent=2))
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
