"""A process of a Kafka event store: it executes commands, and says what became of each, until told to stop.

`python -m tests.campaigns.kafka_member '{"bootstrap": ..., "prefix": ..., "directory": ..., ...}'`

Its lines, `at` in nanoseconds of the machine's monotonic clock:

    opened | closed
    serves at n                             so many partitions are owned here from now on
    sent KEY at stream size expected|-      before the first try; `again KEY at` before a repeat on purpose
    done KEY at version partition           an acknowledgement, of a repeat too
    rejected KEY at kind                    the domain or the expected version said no
    refused KEY at                          "nothing was written", and not tried again
    failed KEY at kind                      a retriable error; tried again with the same id
    broken KEY at error                     any other error
    loaded PID since at stream version total plain|linearizable
    unread at kind                          a load met with a retriable error

`SIGRTMIN + n` lets its clock jump as the n-th of `JUMPS` says.
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
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

from eventstore import Command, CommandRejectedError, EventStore, Settings, WrongExpectedVersionError
from eventstore.core.errors import EventStoreError, LogUnavailableError, StoreClosedError
from eventstore.environment import Environment, SystemClock
from eventstore.kafka import KafkaLog, KafkaOptions
from tests.write.domain import Count, Counter, CountUpTo

STREAMS = [f"s{number}" for number in range(24)]
PAUSE_SECONDS = 0.05
READ_SECONDS = 0.02
HOUR = 3600.0
JUMPS = {
    "wall +1 h": (HOUR, 0.0),
    "wall -1 h": (-HOUR, 0.0),
    "monotonic +1 h": (0.0, HOUR),
    "monotonic -1 h": (0.0, -HOUR),
}
"""By how many seconds the wall clock and the monotonic one jump."""


def say(*words: object) -> None:
    """Write a line that is out of this process once the call returns."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


@dataclass
class Caller:
    """Sends one command after the other."""

    store: EventStore
    chance: random.Random
    stopping: asyncio.Event
    versions: dict[str, int] = field(default_factory=dict)

    async def work(self) -> None:
        while not self.stopping.is_set():
            stream = self.chance.choice(STREAMS)
            command, size = self.choose()
            expected = self.versions.get(stream) if self.chance.random() < 0.2 else None
            key = uuid4()
            say("sent", key, time.monotonic_ns(), stream, size, "-" if expected is None else expected)
            if await self.until_answered(key, stream, command, expected) and self.chance.random() < 0.05:
                say("again", key, time.monotonic_ns())
                await self.until_answered(key, stream, command, expected)

    def choose(self) -> tuple[Command, int]:
        """Give a command and how many events it leads to; totals go up and down, so refusals do not hold for long."""
        if self.chance.random() < 0.15:
            return CountUpTo(limit=0), 1
        times = self.chance.choice([1, 1, 2, 3])
        return Count(by=self.chance.choice([1, -1]), times=times), times

    async def until_answered(self, key: UUID, stream: str, command: Command, expected: int | None) -> bool:
        while True:
            try:
                done = await self.store.execute(Counter, stream, command, command_id=key, expected_version=expected)
            except (CommandRejectedError, WrongExpectedVersionError) as no:
                say("rejected", key, time.monotonic_ns(), type(no).__name__)
                self.versions.pop(stream, None)
                return False
            except EventStoreError as error:
                if isinstance(error, StoreClosedError) or not error.retriable:
                    say("broken", key, time.monotonic_ns(), f"{error!r}".replace("\n", " "))
                    return False
                say("failed", key, time.monotonic_ns(), type(error).__name__)
                if type(error) is LogUnavailableError and self.chance.random() < 0.5:
                    say("refused", key, time.monotonic_ns())
                    return False
                if self.stopping.is_set():
                    return False
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                partition = self.store.log.partition_of(f"counter-{stream}")
                say("done", key, time.monotonic_ns(), done.version, partition)
                self.versions[stream] = done.version
                return True


class JumpingClock(SystemClock):
    """The machine's clock, until it jumps."""

    def __init__(self) -> None:
        self._wall = self._monotonic = 0.0
        for number, jump in enumerate(JUMPS.values()):
            signal.signal(signal.SIGRTMIN + number, lambda *_, jump=jump: self._jump(*jump))

    def _jump(self, wall: float, monotonic: float) -> None:
        self._wall += wall
        self._monotonic += monotonic

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self._wall)

    def monotonic(self) -> float:
        return super().monotonic() + self._monotonic


async def read(store: EventStore, chance: random.Random, stopping: asyncio.Event) -> None:
    """Load one stream after the other, and say what came."""
    while not stopping.is_set():
        stream, linearizable = chance.choice(STREAMS), chance.random() < 0.5
        since = time.monotonic_ns()
        try:
            state = await store.load(Counter, stream, linearizable=linearizable)
        except StoreClosedError:
            return
        except EventStoreError as error:
            say("unread", time.monotonic_ns(), type(error).__name__)
        else:
            how = "linearizable" if linearizable else "plain"
            say("loaded", os.getpid(), since, time.monotonic_ns(), stream, state.version, state.total, how)
        await asyncio.sleep(READ_SECONDS)


async def watch(log: KafkaLog, stopping: asyncio.Event) -> None:
    serves = now = 0
    while not stopping.is_set():
        with suppress(StoreClosedError):
            now = sum(map(log.channel.is_local, log.partitions))
        if now != serves:
            serves = now
            say("serves", time.monotonic_ns(), serves)
        await asyncio.sleep(0.01)


async def run(settings: dict[str, str | int | float | None]) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    options = KafkaOptions(
        partitions=int(settings["partitions"] or 4),
        directory=Path(str(settings["directory"])),
        session_seconds=float(settings["session_seconds"] or 3),
        member=None if settings["member"] is None else str(settings["member"]),
    )
    chance = random.Random(settings["seed"])
    environment = Environment(JumpingClock())
    log = KafkaLog(str(settings["bootstrap"]), prefix=str(settings["prefix"]), options=options, environment=environment)
    async with EventStore(log, aggregates=[Counter], settings=Settings(timeout=10, environment=environment)) as store:
        say("opened")
        async with asyncio.TaskGroup() as callers:
            callers.create_task(watch(log, stopping))
            callers.create_task(read(store, random.Random(chance.random()), stopping))
            for _ in range(int(settings["callers"] or 16)):
                callers.create_task(Caller(store, random.Random(chance.random()), stopping).work())
    say("closed")


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("eventstore").setLevel(logging.INFO)
    asyncio.run(run(json.loads(sys.argv[1])))
