"""Worker processes of a test, to be started, stopped, killed and paused, and what they said they moved."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from eventstore import EventStore
from eventstore.core.records import Partition
from tests.kafka.working import Place
from tests.read.shop import Account, Deposit, Open
from tests.waiting import until

POLL_SECONDS = 0.01


class Move(NamedTuple):
    """A position that a process committed, and when."""

    at: int
    name: str
    partition: Partition
    next_offset: int


@dataclass(eq=False)
class Worker:
    """One process."""

    process: asyncio.subprocess.Process
    notes: Path
    moves: list[Move] = field(default_factory=list)
    said: set[str] = field(default_factory=set)
    heard: asyncio.Task[None] | None = None

    async def hear(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            match line.decode().split():
                case ["moved", at, name, partition, offset]:
                    self.moves.append(Move(int(at), name, partition, int(offset)))
                case words:
                    self.said.add(" ".join(words))
        await self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def begin(self) -> None:
        """Have it work."""
        assert self.process.stdin is not None
        await until(lambda: "opened" in self.said, self.explain)
        self.process.stdin.write(b"\n")
        await until(lambda: "working" in self.said, self.explain)

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        assert self.heard is not None
        await self.heard

    async def stop(self) -> None:
        """End it in order."""
        self.signal(signal.SIGTERM)
        assert self.heard is not None
        async with asyncio.timeout(20):
            await asyncio.shield(self.heard)
        assert "closed" in self.said, self.explain()

    def served_since(self, moment: int, name: str) -> set[Partition]:
        """Give the partitions that it moved since a moment."""
        return {move.partition for move in self.moves if move.at > moment and move.name == name}

    def explain(self) -> str:
        return f"{self.said} {self.moves[-8:]}\n{self.notes.read_text()[-3_000:]}"


@dataclass
class Crews:
    """The processes, and the store that the test itself has open: it owns the partitions and works on nothing."""

    place: Place
    store: EventStore
    workers: list[Worker] = field(default_factory=list)
    accounts: dict[Partition, str] = field(default_factory=dict)
    written: dict[Partition, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))

    async def start(self, **changes: object) -> Worker:
        """Start a process; it begins when told."""
        notes = Path(self.place.directory) / f"worker-{len(self.workers)}.log"
        with notes.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.kafka.working", json.dumps({**asdict(self.place), **changes}),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log,
            )  # fmt: skip
        worker = Worker(process, notes)
        worker.heard = asyncio.create_task(worker.hear())
        self.workers.append(worker)
        return worker

    async def begin(self, count: int) -> list[Worker]:
        """Have so many processes work, and return when each of them moves what is its share."""
        workers = [await self.start() for _ in range(count)]
        for worker in workers:
            await worker.begin()
        await self.balanced(workers)
        return workers

    async def balanced(self, workers: Collection[Worker]) -> None:
        """Return when every partition is moved by one of these, and none has two more than another."""
        total = len(self.store.log.partitions)

        def even() -> bool:
            moved_by = {position: worker for worker, position in self.shares() if worker in workers}
            counts = [sum(mover is worker for mover in moved_by.values()) for worker in workers]
            return sum(counts) == total and max(counts) - min(counts) <= 1

        async def write() -> None:
            while True:
                await self.write_everywhere()
                await asyncio.sleep(0.05)

        writing = asyncio.create_task(write())
        try:
            await until(even, lambda: "\n".join(worker.explain() for worker in workers))
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    def shares(self) -> list[tuple[Worker, Partition]]:
        """Tell which process moved which partition of the first read model last."""
        last: dict[Partition, tuple[int, Worker]] = {}
        for worker in self.workers:
            for move in worker.moves:
                if move.name == self.place.names[0] and move.at > last.get(move.partition, (0, worker))[0]:
                    last[move.partition] = move.at, worker
        return [(worker, partition) for partition, (_, worker) in last.items()]

    def moved(self, worker: Worker, name: str) -> set[Partition]:
        return {move.partition for move in worker.moves if move.name == name}

    def partitions_of(self, worker: Worker) -> set[Partition]:
        return {partition for other, partition in self.shares() if other is worker}

    async def open_accounts(self) -> None:
        """Have an account in every partition."""
        number = 0
        while len(self.accounts) < len(self.store.log.partitions):
            number += 1
            partition = self.store.log.partition_of(f"account-{number}")
            if self.accounts.setdefault(partition, str(number)) == str(number):
                await self.store.execute(Account, str(number), Open(owner="ann"))

    async def write_everywhere(self, amount: int = 1) -> None:
        """Deposit into the account of every partition."""
        await asyncio.gather(
            *(self.store.execute(Account, id_, Deposit(amount=amount)) for id_ in self.accounts.values())
        )

    @asynccontextmanager
    async def writing(self, pause: float = 0.02) -> AsyncGenerator[None]:
        """Write to every partition all the time."""

        async def write(account: str) -> None:
            while True:
                done = await self.store.execute(Account, account, Deposit(amount=1))
                for partition, next_offset in done.token.positions.items():
                    self.written[partition].append((time.monotonic_ns(), next_offset))
                await asyncio.sleep(pause)

        tasks = [asyncio.create_task(write(account)) for account in self.accounts.values()]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def longest_wait(self, partitions: Collection[Partition], since: int) -> float:
        """Give for how many seconds at most an event that was written since a moment was not moved by anybody."""
        waits = [0.0]
        for partition in partitions:
            moves = sorted((m.at, m.next_offset) for w in self.workers for m in w.moves if m.partition == partition)
            for committed, next_offset in self.written[partition]:
                if committed > since:
                    moved = (at for at, offset in moves if offset >= next_offset)
                    waits.append((next(moved, time.monotonic_ns()) - committed) / 1e9)
        return max(waits)


@asynccontextmanager
async def crews(
    bootstrap: str, directory: Path, query_store: str, *names: str, **options: object
) -> AsyncGenerator[Crews]:
    """Open a store that serves the partitions, with an account in each, and end the processes on leaving."""
    place = Place(bootstrap, f"t{uuid4().hex[:8]}", str(directory), query_store, names or ["accounts"], **options)  # type: ignore[arg-type]
    async with place.store(serve=True) as store:
        team = Crews(place, store)
        try:
            await team.open_accounts()
            yield team
        finally:
            for worker in team.workers:
                worker.signal(signal.SIGCONT) if worker.process.returncode is None else None
                await worker.kill()
