"""Relay processes of a test, to be killed, paused and replaced, and the events that they publish."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections import Counter as Tally
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from uuid import uuid4

from eventstore.core.errors import EventStoreError
from eventstore.core.ids import derived_id, event_id
from eventstore.kafka import KafkaLog
from eventstore.ports import NewEvent, StreamCommit
from tests.campaigns.relays import Place

STREAMS = 200
SIZE = 50
MEMBERS = 3


@dataclass
class Crew:
    """Relay processes, and what was done to them."""

    nursery: asyncio.subprocess.Process
    place: Place
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

    async def disturb(self, kills: int) -> None:
        """Kill so many, and pause and rebalance a quarter as many each, in random order."""
        kinds = [*[self.kill] * kills, *[self.pause] * (kills // 4), *[self.rebalance] * (kills // 4)]
        self.chance.shuffle(kinds)
        for kind in kinds:
            await kind()
            self.done[kind.__name__] += 1
            # Mostly longer than a session, so that there is something to kill in the middle of.
            await asyncio.sleep(self.chance.uniform(0.5, 3 * self.place.session_seconds))
        await asyncio.gather(*self.waking)

    async def stop(self) -> None:
        """End all in order, and wait until they have."""
        for pid in self.pids:
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 40
        while any(Path(f"/proc/{pid}").exists() for pid in self.pids):
            assert time.monotonic() < deadline, "a relay does not stop"
            await asyncio.sleep(0.02)


@asynccontextmanager
async def crew_on(place: Place, seed: int = 0, members: int = MEMBERS) -> AsyncGenerator[Crew]:
    nursery = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.campaigns.relays", json.dumps(asdict(place)), place.directory,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    crew = Crew(nursery, place, random.Random(seed))
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


def commits_of(round_: int, streams: int) -> list[StreamCommit]:
    """Give the next commands, one of `SIZE` events for each stream."""
    commits: list[StreamCommit] = []
    for number in range(streams):
        command = derived_id(uuid4(), "command")
        metadata = f'{{"correlation_id":"{command}","causation_id":"{command}"}}'
        events: list[NewEvent] = []
        for index in range(1, SIZE + 1):
            identity = event_id(command, index)
            envelope = (
                f'{{"event_id":"{identity}","event_type":"counter.counted","occurred_at":"2026-01-01T00:00:00.000000'
                f'+00:00","data":{{"by":{index},"note":""}},"metadata":{metadata}}}'
            )
            events.append(NewEvent("counter.counted", 1, identity.bytes, 1_767_225_600_000_000, envelope.encode()))
        commits.append(StreamCommit(f"counter-s{number}", round_ * SIZE, command.bytes, tuple(events)))
    return commits


async def write(log: KafkaLog, rounds: range, pace: float = 0.0, streams: int = STREAMS) -> None:
    """Write rounds of commands; whatever fails retriably is repeated under the same ids."""
    for round_ in rounds:
        groups: dict[str, list[StreamCommit]] = {}
        for commit in commits_of(round_, streams):
            groups.setdefault(log.partition_of(commit.stream), []).append(commit)
        await asyncio.gather(*(write_group(log, partition, commits) for partition, commits in groups.items()))
        await asyncio.sleep(pace)


async def write_group(log: KafkaLog, partition: str, commits: Sequence[StreamCommit]) -> None:
    while True:
        try:
            outcomes = await log.commit(partition, commits)
        except EventStoreError as error:
            if not error.retriable:
                raise
            await asyncio.sleep(0.1)
            continue
        assert {type(outcome).__name__ for outcome in outcomes} <= {"Appended", "Duplicated"}, outcomes
        return
