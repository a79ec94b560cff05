"""Whatever happens to requests and answers, a command's outcome is what the log says, and each is there once."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter as Tally
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from eventstore import EventStore
from eventstore.core.errors import AppendOutcomeUnknownError, EventStoreError, LogUnavailableError
from eventstore.kafka import KafkaLog, KafkaOptions
from eventstore.settings import Settings
from eventstore.testing.proxy import INIT_PRODUCER_ID, PRODUCE, KafkaProxy
from tests.conftest import ProxiedKafka
from tests.kafka.logs import counted, indexed, new_prefix, opened, versions, write, write_until_done
from tests.kafka.partitions import commit_of
from tests.write.domain import Count, Counter

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(90)]


@pytest.fixture
def bootstrap(proxied_kafka: ProxiedKafka) -> str:
    return proxied_kafka.bootstrap


@pytest.fixture
async def proxy(proxied_kafka: ProxiedKafka) -> AsyncGenerator[KafkaProxy]:
    async with KafkaProxy(proxied_kafka.port) as proxy:
        proxy.lead_to(proxied_kafka.cluster.nodes[0].proxied_address)
        yield proxy


# -- one command


@pytest.mark.parametrize("fault", ["cut after", "cut before", "lose answer"])
async def test_a_commit_whose_connection_breaks_is_written_once(
    proxy: KafkaProxy, bootstrap: str, tmp_path: Path, fault: str
) -> None:
    prefix = new_prefix(bootstrap)
    async with opened(proxy.address, prefix, tmp_path) as log:
        await write(log, "task-1", 0, 3)
        rule = proxy.on(PRODUCE, fault, times=1)  # type: ignore[arg-type]
        await write(log, "task-1", 3, 3)
        assert rule.hits == 1
        assert await versions(log, "task-1") == [1, 2, 3, 4, 5, 6]
    assert [event.version for event in counted(bootstrap, prefix)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("written", [True, False])
async def test_while_the_broker_is_out_of_reach_the_outcome_is_unknown_and_resolved_when_it_is_back(
    proxy: KafkaProxy, bootstrap: str, tmp_path: Path, *, written: bool
) -> None:
    prefix = new_prefix(bootstrap)
    async with opened(proxy.address, prefix, tmp_path, commit_seconds=1) as log:
        await write(log, "task-1", 0, 1)
        proxy.on(PRODUCE, "cut after" if written else "cut before", times=1)
        proxy.on(PRODUCE, "cut before")
        proxy.on(INIT_PRODUCER_ID, "cut before")
        commit = commit_of("task-1", 1, 2)
        began = time.monotonic()
        with pytest.raises(AppendOutcomeUnknownError) as unknown:
            await log.commit("task/0", [commit])
        assert unknown.value.command_ids == (str(UUID(bytes=commit.command_id)),)
        assert time.monotonic() - began < 6
        proxy.heal()
        assert await write_until_done(log, commit) == ("Duplicated" if written else "Appended")
        assert await versions(log, "task-1") == [1, 2, 3]
        assert len((await log.find_commands([commit.command_id]))[commit.command_id]) == 2
    assert [event.version for event in counted(bootstrap, prefix)] == [1, 2, 3]


async def test_a_store_whose_broker_is_out_of_reach_names_the_command_and_learns_the_outcome_later(
    proxy: KafkaProxy, bootstrap: str, tmp_path: Path
) -> None:
    async with opened_store(proxy.address, new_counter_prefix(bootstrap), tmp_path, commit_seconds=1) as store:
        command_id = uuid4()
        proxy.on(PRODUCE, "cut after", times=1)
        proxy.on(PRODUCE, "cut before")
        proxy.on(INIT_PRODUCER_ID, "cut before")
        with pytest.raises(AppendOutcomeUnknownError) as unknown:
            await store.execute(Counter, "1", Count(), command_id=command_id, timeout=3)
        assert unknown.value.command_ids == (str(command_id),)
        proxy.heal()
        committed = await store.execute(Counter, "1", Count(), command_id=command_id)
        assert committed.version == 1
        assert (await store.execute(Counter, "1", Count())).version == 2


async def test_a_batch_that_arrives_after_it_was_looked_up_is_not_written_again(
    proxy: KafkaProxy, bootstrap: str, tmp_path: Path
) -> None:
    prefix = new_prefix(bootstrap)
    async with opened(proxy.address, prefix, tmp_path, commit_seconds=1) as log:
        late = proxy.on(PRODUCE, "hold", times=1)
        proxy.on(PRODUCE, "cut before")
        proxy.on(INIT_PRODUCER_ID, "cut before")
        commit = commit_of("task-1", 0)
        with pytest.raises(AppendOutcomeUnknownError):
            await log.commit("task/0", [commit])
        assert await log.find_commands([commit.command_id], "task/0") == {}
        late.release()
        async with asyncio.timeout(10):
            while await versions(log, "task-1") != [1]:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.02)
        proxy.heal()
        # Decided again on what was read since then, under the same id.
        again = commit_of("task-1", 1)
        assert await write_until_done(log, type(again)("task-1", 1, commit.command_id, again.events)) == "Duplicated"
        assert await versions(log, "task-1") == [1]
    assert [event.version for event in counted(bootstrap, prefix)] == [1]


async def test_a_broker_that_dies_between_claim_and_reading_keeps_no_commit_waiting(
    proxy: KafkaProxy, bootstrap: str, tmp_path: Path
) -> None:
    prefix = new_prefix(bootstrap)
    async with opened(proxy.address, prefix, tmp_path, commit_seconds=1) as log:
        await write(log, "task-1", 0, 1)
        proxy.on(PRODUCE, "cut after", times=1)
        proxy.on(1, "cut before")  # Fetch
        log._opened.ownership.owned("task/0")._writer._sequence += 7  # the broker will want a new epoch
        began = time.monotonic()
        with pytest.raises(AppendOutcomeUnknownError):
            await log.commit("task/0", [commit_of("task-1", 1)])
        assert time.monotonic() - began < 6
        proxy.heal()
        assert await write_until_done(log, commit_of("task-1", 1)) == "Appended"


# -- two owners


async def test_an_owner_that_is_cut_off_is_deposed_and_what_it_had_under_way_is_resolved(
    proxy: KafkaProxy, bootstrap: str, tmp_path: Path
) -> None:
    prefix = new_prefix(bootstrap)
    async with opened(proxy.address, prefix, tmp_path / "a", session_seconds=1, commit_seconds=2) as cut_off:
        await write(cut_off, "task-1", 0, 3)
        held = proxy.on(PRODUCE, "hold", times=1)
        commit = commit_of("task-1", 3)
        async with asyncio.TaskGroup() as tasks:
            deposed = tasks.create_task(outcome_of(cut_off, commit))
            await held.hit()
            proxy.cut()
            async with opened(bootstrap, prefix, tmp_path / "b", session_seconds=1) as successor:
                held.release()  # too late: the successor has claimed
                await write(successor, "task-1", 3, 2)
                assert await versions(successor, "task-1") == [1, 2, 3, 4, 5]
                assert await deposed in {"LogUnavailableError", "OwnershipLostError", "AppendOutcomeUnknownError"}
                assert await successor.find_commands([commit.command_id]) == {}
                proxy.heal()
                async with asyncio.timeout(20):
                    while await read_versions_patiently(cut_off, "task-1") != [1, 2, 3, 4, 5]:  # noqa: ASYNC110 - nobody tells
                        await asyncio.sleep(0.05)
        assert await write_until_done(cut_off, commit_of("task-1", 5), 30) == "Appended"
    assert [event.version for event in counted(bootstrap, prefix)] == [1, 2, 3, 4, 5, 6]


async def read_versions_patiently(log: KafkaLog, stream: str) -> list[int]:
    try:
        return await versions(log, stream)
    except LogUnavailableError:
        return []


async def outcome_of(log: KafkaLog, commit: object) -> str:
    try:
        (outcome,) = await log.commit("task/0", [commit])  # type: ignore[list-item]
    except EventStoreError as error:
        return type(error).__name__
    return type(outcome).__name__


# -- many commands


def new_counter_prefix(bootstrap: str, partitions: int = 1) -> str:
    return new_prefix(bootstrap, partitions, category="counter")


@asynccontextmanager
async def opened_store(
    bootstrap: str, prefix: str, directory: Path, commit_seconds: float = 8
) -> AsyncGenerator[EventStore]:
    options = KafkaOptions(directory=directory, commit_seconds=commit_seconds)
    log = KafkaLog(bootstrap, prefix=prefix, options=options)
    async with EventStore(log, aggregates=[Counter], settings=Settings(workers=False)) as store:
        await log.serving()
        yield store


@dataclass
class History:
    """What callers were told."""

    done: dict[bytes, tuple[str, int]] = field(default_factory=dict)
    errors: Tally[str] = field(default_factory=Tally)

    async def call(self, store: EventStore, stream: str, times: int) -> None:
        """Execute one command, under one id, until its outcome is known."""
        command_id = uuid4()
        while True:
            try:
                committed = await store.execute(Counter, stream, Count(times=times), command_id=command_id, timeout=2)
            except EventStoreError as error:
                if not error.retriable:
                    raise
                self.errors[type(error).__name__] += 1
            else:
                self.done[command_id.bytes] = f"counter-{stream}", committed.version
                return

    def judge(self, bootstrap: str, prefix: str, partitions: int) -> int:
        """Compare with the log; gives the number of events."""
        events = [e for number in range(partitions) for e in counted(bootstrap, prefix, number, "counter")]
        expected: Tally[str] = Tally()
        commands: dict[bytes, list[int]] = {}
        for event in events:
            expected[event.stream] += 1
            assert event.version == expected[event.stream], event.place
            commands.setdefault(event.command_id, []).append(event.command_index)
            if event.command_index == event.command_size:
                assert self.done[event.command_id] == (event.stream, event.version)
        assert commands.keys() == self.done.keys()
        assert all(parts == list(range(1, len(parts) + 1)) for parts in commands.values())
        return len(events)


def lose_at_random(proxy: KafkaProxy, chance: random.Random) -> None:
    """Break, delay and silence connections at appends."""
    proxy.on(PRODUCE, "cut after", when=lambda: chance.random() < 0.25)
    proxy.on(PRODUCE, "cut before", when=lambda: chance.random() < 0.04)
    proxy.on(PRODUCE, "delay", seconds=0.1, when=lambda: chance.random() < 0.05)
    proxy.on(PRODUCE, "lose answer", when=lambda: chance.random() < 0.004)
    proxy.on(INIT_PRODUCER_ID, "cut after", when=lambda: chance.random() < 0.2)


async def run_under_faults(proxy: KafkaProxy, bootstrap: str, directory: Path, enough: object) -> tuple[History, int]:
    """Execute commands from many callers while answers are lost, until it is enough; then compare with the log."""
    seed = int(os.environ.get("SEED", random.randrange(2**32)))
    print(f"seed {seed}")
    chance, history, partitions = random.Random(seed), History(), 4
    prefix = new_counter_prefix(bootstrap, partitions)
    async with opened_store(proxy.address, prefix, directory, commit_seconds=2) as store:
        lose_at_random(proxy, chance)

        async def caller() -> None:
            while not enough():  # type: ignore[operator]
                await history.call(store, str(chance.randrange(30)), chance.choice([1, 1, 2, 3]))

        async with asyncio.TaskGroup() as tasks:
            for _ in range(24):
                tasks.create_task(caller())
        hits = Tally({f"{rule.fault} {rule.api}": rule.hits for rule in proxy.rules})
        proxy.heal()
        for number in range(partitions):
            assert await indexed(store.log, number, "counter") == counted(bootstrap, prefix, number, "counter")  # type: ignore[arg-type]
    print(f"faults {dict(hits)}, errors {dict(history.errors)}, {len(history.done):,} commands")
    return history, history.judge(bootstrap, prefix, partitions)


async def test_commands_are_executed_once_while_answers_are_lost(
    proxy: KafkaProxy, bootstrap: str, tmp_path: Path
) -> None:
    until = time.monotonic() + 8
    history, events = await run_under_faults(proxy, bootstrap, tmp_path, lambda: time.monotonic() > until)
    assert len(history.done) > 20
    assert events >= len(history.done)


@pytest.mark.campaign
@pytest.mark.timeout(0)
async def test_a_thousand_lost_answers_lose_and_double_nothing(
    proxy: KafkaProxy, bootstrap: str, tmp_path: Path
) -> None:
    began = time.monotonic()

    def lost() -> int:
        return sum(
            rule.hits for rule in proxy.rules if rule.api == PRODUCE and rule.fault in {"cut after", "lose answer"}
        )

    history, events = await run_under_faults(proxy, bootstrap, tmp_path, lambda: lost() >= 1000)
    print(f"{len(history.done):,} commands, {events:,} events, each once, in {time.monotonic() - began:,.0f} s")
