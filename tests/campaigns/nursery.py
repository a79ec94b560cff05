"""Processes that are started by hundreds: one has imported everything, and forks the others.

A nursery is run as `python -m MODULE SETTINGS LOGS`. It forks a child for each line it reads, prints its process id, and
ends all of them when its input ends. A crew is a nursery's children as a test has them: killed, paused and replaced.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import signal
import sys
import time
from collections import Counter as Tally
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar


class Settled(Protocol):
    """Where a crew works."""

    @property
    def directory(self) -> str: ...

    @property
    def session_seconds(self) -> float: ...


@dataclass
class Crew:
    """The processes, and what was done to them."""

    nursery: asyncio.subprocess.Process
    place: Settled
    chance: random.Random
    pids: list[int] = field(default_factory=list)
    done: Tally[str] = field(default_factory=Tally)
    waking: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> int:
        assert self.nursery.stdin is not None
        assert self.nursery.stdout is not None
        self.nursery.stdin.write(b"start\n")
        pid = int(await self.nursery.stdout.readline())
        self.pids.append(pid)
        return pid

    async def kill(self) -> None:
        """One dies at once, and another one is started."""
        os.kill(self.pids.pop(self.chance.randrange(len(self.pids))), signal.SIGKILL)
        await self.start()

    async def pause(self) -> None:
        """One stands still until the others have its partitions, then goes on for a while, and is killed then."""
        pid = self.pids.pop(self.chance.randrange(len(self.pids)))
        os.kill(pid, signal.SIGSTOP)
        await self.start()

        async def wake() -> None:
            await asyncio.sleep(self.place.session_seconds + self.chance.uniform(0.5, 2))
            os.kill(pid, signal.SIGCONT)
            await asyncio.sleep(self.chance.uniform(0.5, 3))
            os.kill(pid, signal.SIGKILL)

        self.waking.add(asyncio.create_task(wake()))

    async def rebalance(self) -> None:
        """One joins and another one leaves in order, before the group has come to rest."""
        await self.start()
        os.kill(self.pids.pop(0), signal.SIGTERM)

    async def stop(self, seconds: float) -> None:
        """End all in order, and wait until they have."""
        for pid in self.pids:
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + seconds
        while any(Path(f"/proc/{pid}").exists() for pid in self.pids):
            assert time.monotonic() < deadline, "a process does not stop"
            await asyncio.sleep(0.02)


C = TypeVar("C", bound=Crew)


@asynccontextmanager
async def manned(
    module: str, place: Any, crew_of: Callable[[asyncio.subprocess.Process], C], members: int
) -> AsyncGenerator[C]:
    """Run a module's nursery with so many children."""
    nursery = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, json.dumps(asdict(place)), place.directory,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    crew = crew_of(nursery)
    try:
        for _ in range(members):
            await crew.start()
        yield crew
    finally:
        for task in crew.waking:
            task.cancel()
        assert nursery.stdin is not None
        nursery.stdin.close()
        await nursery.wait()


def tend(kind: str, logs: Path, live: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Be a nursery: fork children that live as told, each with a log of its own."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    children: list[int] = []
    for number, _ in enumerate(sys.stdin):
        child = os.fork()
        if not child:
            sys.stdin.close()
            _be_child(kind, logs / f"{kind}-{number}.log", live)
        children.append(child)
        print(child, flush=True)
    for child in children:
        try:
            os.kill(child, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _be_child(kind: str, log: Path, live: Callable[[], Coroutine[Any, Any, None]]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with log.open("ab", 0) as notes:
        os.dup2(notes.fileno(), 2)
    logging.basicConfig(format="%(asctime)s %(process)d %(name)s %(levelname)s %(message)s", level=logging.INFO)
    status = 1
    try:
        asyncio.run(live())
        status = 0
    except BaseException:
        logging.getLogger(__name__).exception("a %s ended", kind)
    finally:
        os._exit(status)
