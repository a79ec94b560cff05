"""Random interleavings of commands, moves, lost answers and crashes, judged by the history they leave behind."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from random import Random
from typing import Any
from uuid import UUID

import pytest

from eventstore import (
    AppendOutcomeUnknownError,
    Command,
    CommandRejectedError,
    EventStore,
    Settings,
    WrongExpectedVersionError,
)
from eventstore.core.errors import EventStoreError, LogUnavailableError
from eventstore.core.records import StoredEvent
from eventstore.environment import Environment
from eventstore.ports import StreamQuery
from eventstore.testing.clock import ManualClock
from eventstore.testing.cluster import MemoryCluster
from eventstore.write.pending import Committed
from tests.write.domain import Count, Counter, CountUpTo

MEMBERS = "abc"
STREAMS = "uvwxy"
COMMANDS = 60
TIMEOUT = 60.0


@dataclass
class Call:
    """One `execute`: where, what, and how it ended."""

    member: str
    stream: str
    command: Command
    key: UUID
    expected_version: int | None
    outcome: Any = None


@dataclass
class Run:
    """A cluster in which everything that happens follows from a seed."""

    seed: int
    calls: list[Call] = field(default_factory=list)
    crashed: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.clock = ManualClock()
        self.cluster = MemoryCluster(
            *MEMBERS, partitions=2, clock=self.clock, ticks=lambda: self.random.choice((0, 1, 1, 2, 9))
        )

    def bits(self, count: int) -> int:
        return self.random.getrandbits(count)

    async def play(self) -> dict[str, list[StoredEvent]]:
        settings = Settings(environment=Environment(self.clock, self), timeout=TIMEOUT)
        async with AsyncExitStack() as opened:
            stores = {
                name: await opened.enter_async_context(
                    EventStore(self.cluster.member(name), aggregates=[Counter], settings=settings)
                )
                for name in MEMBERS
            }
            work = [
                asyncio.ensure_future(self.disturb()),
                *(asyncio.ensure_future(self.call(stores)) for _ in range(COMMANDS)),
            ]
            while not all(task.done() for task in work):
                await asyncio.sleep(0)
                await self.clock.advance(0.01)
            await asyncio.gather(*work)
            for partition in self.cluster.log.partitions:
                assert self.cluster.owner(partition)
            names = [f"counter-{name}" for name in STREAMS]
            found = await self.cluster.log.read_streams([StreamQuery(name) for name in names])
            return dict(zip(STREAMS, map(list, found), strict=True))

    async def call(self, stores: dict[str, EventStore]) -> None:
        chosen = self.random
        await self.clock.sleep(chosen.random() * 2)
        call = Call(
            chosen.choice(MEMBERS),
            chosen.choice(STREAMS),
            chosen.choice((Count(times=chosen.randint(0, 3)), Count(), CountUpTo(limit=chosen.randint(1, 6)))),
            UUID(int=chosen.getrandbits(128)),
            chosen.choice((None, None, None, 0, 2)),
        )
        if self.calls and chosen.random() < 0.15:  # a repeat, perhaps through another process
            first = chosen.choice(self.calls)
            call = Call(call.member, first.stream, first.command, first.key, first.expected_version)
        self.calls.append(call)
        try:
            call.outcome = await stores[call.member].execute(
                Counter, call.stream, call.command, command_id=call.key, expected_version=call.expected_version
            )
        except EventStoreError as error:
            call.outcome = error

    async def disturb(self) -> None:
        for _ in range(40):
            await self.clock.sleep(self.random.random() * 0.1)
            for _ in range(self.random.randint(0, 5)):
                await asyncio.sleep(0)
            match self.random.randint(0, 9):
                case 0 | 1:
                    self.cluster.lose_next_answer()
                case 2 if not self.crashed:
                    self.crashed.add(name := self.random.choice(MEMBERS))
                    self.cluster.crash(name)
                case _:
                    partition = self.random.choice(self.cluster.log.partitions)
                    self.cluster.move(partition, self.random.choice((*self.alive, None)))
        for partition in self.cluster.log.partitions:
            self.cluster.move(partition, self.random.choice(self.alive))

    @property
    def alive(self) -> list[str]:
        return [name for name in MEMBERS if name not in self.crashed]


def judge(run: Run, streams: dict[str, list[StoredEvent]]) -> None:
    written: dict[UUID, list[StoredEvent]] = {}
    for name, events in streams.items():
        assert [event.version for event in events] == [*range(1, len(events) + 1)], name
        for event in events:
            written.setdefault(UUID(bytes=event.command_id), []).append(event)
    for key, events in written.items():
        assert [event.command_index for event in events] == [*range(1, events[0].command_size + 1)], key
    results: dict[UUID, Committed] = {}
    outcomes: dict[UUID, list[Any]] = {}
    for call in run.calls:
        outcomes.setdefault(call.key, []).append(call.outcome)
        events = written.get(call.key, [])
        match call.outcome:
            case Committed():
                assert len(call.outcome.events) == len(events)
                assert not events or call.outcome.version == events[-1].version
                assert not events or results.setdefault(call.key, call.outcome) == call.outcome
            case CommandRejectedError() | WrongExpectedVersionError():
                pass
            case LogUnavailableError() | AppendOutcomeUnknownError():
                assert call.member in run.crashed, f"{call} had time enough"
            case other:
                pytest.fail(f"{call} ended in {other!r}")
    for key, ended in outcomes.items():
        if all(
            isinstance(end, CommandRejectedError | WrongExpectedVersionError | LogUnavailableError) for end in ended
        ):
            assert key not in written, f"{key} was written although every caller was told that it was not"


@pytest.mark.parametrize("seed", range(60))
async def test_every_command_takes_effect_once_and_its_caller_is_told_what_happened(seed: int) -> None:
    run = Run(seed)
    judge(run, await run.play())
