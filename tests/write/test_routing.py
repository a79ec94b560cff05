"""`execute` works from any process, whoever owns the partition."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

import pytest

from eventstore import (
    NEW,
    AppendOutcomeUnknownError,
    Command,
    CommandRejectedError,
    EventStore,
    Settings,
)
from eventstore.core.errors import CommandFailedError, EventStoreError, LogUnavailableError, StoreClosedError
from eventstore.environment import Environment
from eventstore.ports import Clock
from eventstore.testing.clock import ManualClock
from eventstore.testing.cluster import MemoryCluster
from tests.read.shop import Account, Open
from tests.read.test_processes import Bonus
from tests.write.domain import Count, Counter, CountUpTo, Fail, Remembered

T = TypeVar("T")


class Cluster(MemoryCluster):
    """Members `a`, the first owner of the one partition, and `b`."""

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__("a", "b", partitions=1, clock=clock)

    def store(self, name: str, **arguments: Any) -> EventStore:
        settings = Settings(environment=Environment(clock=self.clock))
        return EventStore(
            self.member(name), **({"aggregates": [Counter, Remembered], "settings": settings} | arguments)
        )

    @asynccontextmanager
    async def stores(self) -> AsyncGenerator[tuple[EventStore, EventStore]]:
        async with self.store("a") as one, self.store("b") as other:
            yield one, other


async def advancing(clock: ManualClock, work: Awaitable[T]) -> T:
    """Let time pass until work is done."""
    task = asyncio.ensure_future(work)
    while not task.done():
        await asyncio.sleep(0)
        await clock.advance(0.01)
    return await task


async def turns(count: int = 30) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def versions(store: EventStore, name: str = "x") -> list[int]:
    return [at.version for _, at in await store.history(Counter, name)]


async def test_a_command_is_executed_by_the_owner_whoever_takes_it() -> None:
    async with Cluster().stores() as (owner, other):
        first = await owner.execute(Counter, "x", Count(by=2))
        second = await other.execute(Counter, "x", Count(by=3, times=2), caused_by=UUID(int=9))
        assert (first.version, second.version) == (1, 3)
        assert (await owner.load(Counter, "x")).total == (await other.load(Counter, "x")).total == 8
        *_, (_, last) = await other.history(Counter, "x")
        assert last.metadata.correlation_id == UUID(int=9)
        assert second.token.positions == {"p0": last.offset + 1}


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (CountUpTo(limit=1), {}),
        (Count(), {"expected_version": NEW}),
        (Count(), {"expected_version": 5}),
        (Count(times=1_001), {}),
        (Count(note="x" * 1_000_001), {}),
        (Count(), {"command_id": UUID(int=7)}),
    ],
    ids=["rejected", "exists", "elsewhere", "too many events", "too large", "used id"],
)
async def test_a_refusal_is_the_same_from_the_owner_and_from_afar(command: Command, options: dict[str, Any]) -> None:
    async with Cluster().stores() as stores:
        await stores[0].execute(Counter, "x", Count())
        await stores[0].execute(Counter, "y", Count(), command_id=UUID(int=7))
        refusals = []
        for store in stores:
            with pytest.raises(EventStoreError) as refusal:
                await store.execute(Counter, "x", command, **options)
            refusals.append(refusal.value)
        assert await versions(stores[0]) == [1]
    here, afar = refusals
    assert (type(afar), str(afar), vars(afar)) == (type(here), str(here), vars(here))


async def test_a_bug_in_the_domain_of_the_owner_comes_back_with_its_text() -> None:
    async with Cluster().stores() as (_, other):
        with pytest.raises(CommandFailedError, match="Fail on counter-x failed .* ZeroDivisionError") as failure:
            await other.execute(Counter, "x", Fail())
        assert failure.value.__notes__ == ["raised while Fail was decided on counter-x at version 0"]
        assert (await other.execute(Counter, "x", Count())).version == 1


async def test_a_lost_answer_is_asked_for_again_and_the_command_executed_once() -> None:
    cluster = Cluster()
    async with cluster.stores() as (owner, other):
        cluster.lose_next_answer()
        cluster.lose_next_answer()
        assert (await other.execute(Counter, "x", Count())).version == 1
        assert await versions(owner) == [1]


async def test_a_message_that_was_not_delivered_is_sent_again() -> None:
    cluster = Cluster()
    async with cluster.stores() as (_, other):
        cluster.member("b").fail("ask", "refuse", "refuse")
        assert (await other.execute(Counter, "x", Count())).version == 1


@pytest.mark.parametrize("fault", ["refuse", "lose answer"])
async def test_the_owners_trouble_with_its_log_is_waited_out(fault: Any) -> None:
    cluster = Cluster()
    async with cluster.stores() as stores:
        for number, store in enumerate(stores, 1):
            cluster.member("a").fail("commit", fault)
            assert (await store.execute(Counter, "x", Count())).version == number
        assert await versions(stores[0]) == [1, 2]


async def test_a_command_whose_owner_is_deposed_while_writing_goes_to_the_next_one() -> None:
    cluster = Cluster()
    async with cluster.stores() as (former, _):
        cluster.member("a").fail("commit", "hang")
        command = asyncio.ensure_future(former.execute(Counter, "x", Count()))
        await turns()
        cluster.move("p0", "b")
        cluster.member("a").released.set()
        assert (await command).version == 1


async def test_commands_under_way_while_their_partition_moves_are_each_executed_once() -> None:
    cluster = Cluster()
    async with cluster.stores() as stores:
        commands = [asyncio.ensure_future(stores[n % 2].execute(Counter, "x", Count())) for n in range(60)]
        for number in range(20):
            await turns(number % 7)
            cluster.move("p0", "ab"[number % 2])
        done = await asyncio.gather(*commands)
        assert sorted(answer.version for answer in done) == await versions(stores[0]) == [*range(1, 61)]


async def test_a_command_waits_for_a_partition_without_owner() -> None:
    clock = ManualClock()
    cluster = Cluster(clock)
    async with cluster.stores() as (_, other):
        cluster.move("p0", None)
        command = asyncio.ensure_future(other.execute(Counter, "x", Count(), timeout=60))
        await advancing(clock, clock.sleep(40))
        cluster.move("p0", "a")
        assert (await advancing(clock, command)).version == 1
        assert await versions(other) == [1]


async def test_what_a_crashed_owner_left_unanswered_is_answered_by_the_next_one() -> None:
    cluster = Cluster()
    async with cluster.stores() as (_, other):
        cluster.member("a").fail("commit", "hang")
        command = asyncio.ensure_future(other.execute(Counter, "x", Count()))
        await turns()
        cluster.crash("a")
        cluster.member("a").released.set()
        cluster.move("p0", "b")
        assert (await command).version == 1


async def test_what_a_closing_owner_left_unanswered_is_answered_by_the_next_one() -> None:
    cluster = Cluster()
    async with cluster.store("b") as other:
        async with cluster.store("a"):
            commands = [asyncio.ensure_future(other.execute(Counter, "x", Count())) for _ in range(20)]
            await turns(3)
        cluster.move("p0", "b")
        assert sorted(answer.version for answer in await asyncio.gather(*commands)) == [*range(1, 21)]
        assert await versions(other) == [*range(1, 21)]


async def test_a_command_that_certainly_was_not_written_says_so_at_its_deadline() -> None:
    clock = ManualClock()
    cluster = Cluster(clock)
    async with cluster.stores() as (owner, _):
        cluster.member("a").fail("commit", *["refuse"] * 1_000)
        began = clock.monotonic()
        with pytest.raises(LogUnavailableError, match="nothing was written, try again.*commit was made to fail"):
            await advancing(clock, owner.execute(Counter, "x", Count(), timeout=3))
        assert 3 <= clock.monotonic() - began < 3.1


async def test_a_command_that_another_process_refused_to_write_is_in_doubt_at_its_deadline() -> None:
    clock = ManualClock()
    cluster = Cluster(clock)
    async with cluster.stores() as (_, other):
        cluster.member("a").fail("commit", *["refuse"] * 1_000)
        began = clock.monotonic()
        with pytest.raises(AppendOutcomeUnknownError, match="commit was made to fail"):
            await advancing(clock, other.execute(Counter, "x", Count(), timeout=3))
        assert 3 <= clock.monotonic() - began < 3.1


async def test_a_try_that_the_deadline_cuts_short_does_not_hide_why_the_one_before_it_failed() -> None:
    clock = ManualClock()
    cluster = Cluster(clock)
    async with cluster.stores() as (_, other):
        cluster.member("a").fail("commit", "refuse", "hang")
        with pytest.raises(AppendOutcomeUnknownError, match="commit was made to fail"):
            await advancing(clock, other.execute(Counter, "x", Count(), timeout=1))
        cluster.member("a").released.set()


async def test_a_command_that_nobody_answered_is_in_doubt_at_its_deadline() -> None:
    clock = ManualClock()
    cluster = Cluster(clock)
    async with cluster.stores() as (_, other):
        for _ in range(1_000):
            cluster.lose_next_answer()
        key = uuid4()
        with pytest.raises(AppendOutcomeUnknownError, match="the answer was made to be lost") as doubt:
            await advancing(clock, other.execute(Counter, "x", Count(), command_id=key, timeout=3))
        assert doubt.value.command_ids == (str(key),)
        assert 3 <= clock.monotonic() < 3.1
        assert await versions(other) == [1]


async def test_doubt_is_not_taken_back_by_a_later_refusal() -> None:
    clock = ManualClock()
    cluster = Cluster(clock)
    async with cluster.stores() as (_, other):
        cluster.lose_next_answer()
        cluster.member("b").fail("ask", "lose answer", *["refuse"] * 1_000)
        with pytest.raises(AppendOutcomeUnknownError, match="ask was made to fail"):
            await advancing(clock, other.execute(Counter, "x", Count(), timeout=3))


async def test_a_command_for_a_partition_without_owner_is_in_doubt_since_it_may_still_be_executed() -> None:
    clock = ManualClock()
    cluster = Cluster(clock)
    async with cluster.stores() as (owner, other):
        cluster.move("p0", None)
        with pytest.raises(AppendOutcomeUnknownError, match="the owner of p0 did not answer") as doubt:
            await advancing(clock, other.execute(Counter, "x", Count(), timeout=3))
        cluster.move("p0", "a")
        (key,) = doubt.value.command_ids
        assert (await other.execute(Counter, "x", Count(), command_id=key)).version == 1
        assert await versions(owner) == [1]


async def test_a_repeat_through_another_process_gets_the_first_result() -> None:
    cluster = Cluster()
    async with cluster.stores() as (one, other):
        first = await one.execute(Counter, "x", Count(by=2, times=2), command_id=UUID(int=7))
        assert await other.execute(Counter, "x", Count(by=2, times=2), command_id=UUID(int=7)) == first
        cluster.move("p0", "b")
        for store in (one, other):
            assert await store.execute(Counter, "x", Count(by=2, times=2), command_id=UUID(int=7)) == first
        assert await versions(one) == [1, 2]


async def test_repeats_through_two_processes_at_the_same_time_share_one_result() -> None:
    async with Cluster().stores() as stores:
        done = await asyncio.gather(
            *(stores[n % 2].execute(Counter, "x", Count(), command_id=UUID(int=7)) for n in range(20))
        )
        assert {answer.version for answer in done} == {1}
        assert await versions(stores[0]) == [1]


async def test_a_regained_partition_is_not_decided_on_what_was_remembered_of_it() -> None:
    cluster = Cluster()
    async with cluster.stores() as (one, other):
        await one.execute(Counter, "x", Count(by=1))
        cluster.move("p0", "b")
        await other.execute(Counter, "x", Count(by=-1))
        cluster.move("p0", "a")
        # The first owner remembers a total of 1, which would reject this.
        assert (await one.execute(Counter, "x", CountUpTo(limit=1))).version == 3
        cluster.move("p0", "b")
        # The second owner remembers a total of 0, which would accept this.
        with pytest.raises(CommandRejectedError):
            await other.execute(Counter, "x", CountUpTo(limit=1))


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (b"\xff", "is no command that this process reads"),
        (b"{}", "is no command that this process reads"),
    ],
)
async def test_an_owner_answers_what_it_cannot_read(message: bytes, problem: str) -> None:
    cluster = Cluster()
    async with cluster.stores():
        answer = json.loads(await cluster.member("b").ask("p0", "x", message, 1))
    assert answer["classes"][0].endswith("ConfigurationError")
    assert problem in answer["args"][0]


async def test_a_process_that_counts_partitions_otherwise_is_told_so() -> None:
    cluster = MemoryCluster("a", "b", partitions=2)
    settings = Settings(timeout=1)
    async with (
        EventStore(cluster.member("a"), aggregates=[Counter], settings=settings),
        EventStore(cluster.member("b"), aggregates=[Counter], settings=settings) as store,
    ):
        home = cluster.log.partition_of("counter-x")
        (wrong,) = set(cluster.log.partitions) - {home}
        sent: list[bytes] = []
        member = cluster.member("a")
        cluster.move(home, "a")
        cluster.move(wrong, "a")

        async def keep(partition: str, message: bytes) -> bytes:
            sent.append(message)
            return b""

        member.serve(keep)
        with pytest.raises(AppendOutcomeUnknownError):
            await store.execute(Counter, "x", Count())
        cluster.move(wrong, "b")
        answer = json.loads(await member.ask(wrong, "x", sent[0], 1))
        assert "open the log with the same number of partitions everywhere" in answer["args"][0]


async def test_a_process_without_aggregates_answers_nobody() -> None:
    cluster = Cluster()
    async with cluster.store("a", aggregates=[]):
        assert not cluster.member("a").serving
    async with cluster.store("a"):
        assert cluster.member("a").serving


async def test_a_caller_that_gives_up_harms_nobody() -> None:
    cluster = Cluster()
    async with cluster.stores() as (_, other):
        cluster.member("a").fail("commit", "hang")
        stuck = asyncio.ensure_future(other.execute(Counter, "x", Count()))
        await turns()
        stuck.cancel()
        await asyncio.gather(stuck, return_exceptions=True)
        cluster.member("a").released.set()
        assert (await other.execute(Counter, "x", Count())).version == 2


async def test_a_store_that_was_closed_while_asking_says_so() -> None:
    cluster = Cluster()
    async with cluster.store("b") as other:
        cluster.move("p0", None)
        command = asyncio.ensure_future(other.execute(Counter, "x", Count()))
        await turns()
    with pytest.raises(StoreClosedError):
        await command


async def test_the_commands_of_a_process_manager_go_to_the_owner_too(tmp_path: Path) -> None:
    cluster = Cluster()
    arguments = {"aggregates": [Account], "processes": [Bonus], "query_store": tmp_path / "read.db"}
    async with cluster.store("a", aggregates=[Account]), cluster.store("b", **arguments) as other:
        done = await other.execute(Account, "1", Open(owner="ann"))
        await other.wait_for(Bonus, done.token)
        assert (await other.load(Account, "1")).balance == 10
