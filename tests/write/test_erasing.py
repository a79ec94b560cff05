"""After an event was erased, everything is as if it had changed nothing, in memory as well."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path

import pytest

from eventstore import EventStore, SqliteLog
from eventstore.core.errors import (
    AppendOutcomeUnknownError,
    ConfigurationError,
    InvalidIdError,
    LogUnavailableError,
    StoreClosedError,
)
from eventstore.ports import StreamQuery
from eventstore.testing.clock import ManualClock
from eventstore.testing.faults import FaultyLog
from eventstore.testing.memory import MemoryLog
from eventstore.transfer import export_log, import_log
from tests.write.domain import Count, Counted, Counter, CountUpTo, Remembered
from tests.write.test_routing import Cluster, advancing, turns


async def total(store: EventStore, name: str = "a") -> int:
    return (await store.load(Counter, name)).total


async def test_the_state_is_as_if_an_erased_event_had_changed_nothing_and_versions_go_on() -> None:
    async with EventStore(MemoryLog(), aggregates=[Counter]) as store:
        await store.execute(Counter, "a", Count(by=3))
        await store.execute(Counter, "a", Count(by=4))
        assert await store.erase(Counter, "a", 1)
        assert await total(store) == 4
        committed = await store.execute(Counter, "a", Count(by=5), expected_version=2)
        assert committed.version == 3
        assert await total(store) == 9
        assert (await store.load(Counter, "a", at=1)).total == 0
        assert [at.version for _, at in await store.history(Counter, "a")] == [2, 3]


async def test_a_repeated_command_is_recognised_and_gives_what_is_left_of_its_events() -> None:
    async with EventStore(MemoryLog(), aggregates=[Counter]) as store:
        first = await store.execute(Counter, "a", Count(by=3, times=2), command_id="0" * 32)
        await store.erase(Counter, "a", 1)
        again = await store.execute(Counter, "a", Count(by=3, times=2), command_id="0" * 32)
    assert (again.version, again.token) == (first.version, first.token)
    assert again.events == (Counted(by=3),)


async def test_what_is_not_there_is_not_erased() -> None:
    async with EventStore(MemoryLog(), aggregates=[Counter]) as store:
        assert not await store.erase(Counter, "a", 1)
        with pytest.raises(InvalidIdError):
            await store.erase(Counter, "../a", 1)
        with pytest.raises(ConfigurationError, match="Remembered is not registered"):
            await store.erase(Remembered, "a", 1)
    with pytest.raises(StoreClosedError):
        await store.erase(Counter, "a", 1)


async def test_no_snapshot_keeps_the_data_not_even_one_that_is_due_later(tmp_path: Path) -> None:
    async with EventStore(SqliteLog(tmp_path / "log.db"), aggregates=[Remembered]) as store:
        await store.execute(Remembered, "a", Count(by=3, times=5))
        await store.erase(Remembered, "a", 2)
        await store.execute(Remembered, "a", Count(by=1, times=5))
    async with EventStore(SqliteLog(tmp_path / "log.db"), aggregates=[Remembered]) as store:
        assert await store.log.read_snapshots(["remembered-a"]) == {}
        assert (await store.load(Remembered, "a")).total == 17


async def test_commands_that_are_under_way_do_not_bring_the_old_state_back() -> None:
    log = FaultyLog(MemoryLog(partitions=1))
    async with EventStore(log, aggregates=[Counter]) as store:
        await store.execute(Counter, "a", Count(by=3))
        log.fail("commit", "hang")
        written = asyncio.ensure_future(store.execute(Counter, "a", Count(by=4)))
        await turns()
        # Decided meanwhile on what the first will leave behind, and rejected: 3 + 4 is the limit.
        decided = asyncio.ensure_future(store.execute(Counter, "a", CountUpTo(limit=7)))
        await turns()
        await store.erase(Counter, "a", 1)
        log.released.set()
        await asyncio.gather(written, decided)
        assert await total(store) == 5


async def test_a_load_that_is_under_way_does_not_bring_the_old_state_back() -> None:
    log = MemoryLog(partitions=1)
    async with EventStore(log, aggregates=[Counter]) as writer:
        await writer.execute(Counter, "a", Count(by=3))
        async with EventStore(log, aggregates=[Counter]) as store:
            loading = asyncio.ensure_future(total(store))
            await asyncio.sleep(0)
            await store.erase(Counter, "a", 1)
            await loading
            assert await total(store) == 0


async def test_other_processes_have_the_owner_erase() -> None:
    cluster = Cluster()
    async with cluster.stores() as (owner, other):
        await owner.execute(Counter, "x", Count(by=3))
        assert await total(other, "x") == await total(owner, "x") == 3
        assert await other.erase(Counter, "x", 1)
        assert await total(other, "x") == await total(owner, "x") == 0
        assert not await other.erase(Counter, "x", 2)


async def test_an_erasure_whose_answer_is_lost_is_asked_for_again() -> None:
    cluster = Cluster()
    async with cluster.stores() as (owner, other):
        await owner.execute(Counter, "x", Count(by=3))
        cluster.lose_next_answer()
        assert await other.erase(Counter, "x", 1)


async def test_an_erasure_follows_the_partition_to_its_next_owner() -> None:
    cluster = Cluster()
    async with cluster.stores() as (owner, other):
        await owner.execute(Counter, "x", Count(by=3))
        cluster.move("p0", None)
        erasing = asyncio.ensure_future(owner.erase(Counter, "x", 1))
        await turns()
        cluster.move("p0", "b")
        assert await erasing
        assert await total(other, "x") == 0


async def test_an_erasure_that_nobody_takes_in_time_says_what_is_known() -> None:
    clock = ManualClock()
    cluster = Cluster(clock)
    async with cluster.stores() as (owner, other):
        await advancing(clock, owner.execute(Counter, "x", Count()))
        cluster.member("b").fail("ask", *["refuse"] * 100)
        with pytest.raises(LogUnavailableError, match="the erasure of counter-x version 1 was not executed"):
            await advancing(clock, other.erase(Counter, "x", 1, timeout=1))
        cluster.member("b").released.set()
        cluster.member("b")._faults.clear()
        cluster.move("p0", None)
        with pytest.raises(AppendOutcomeUnknownError, match="repeat the same call"):
            await advancing(clock, other.erase(Counter, "x", 1, timeout=1))


async def test_erased_events_are_exported_and_imported_as_such(tmp_path: Path) -> None:
    exported = io.BytesIO()
    async with EventStore(MemoryLog(), aggregates=[Counter]) as store:
        await store.execute(Counter, "a", Count(by=3, note="call me on 555-0199"))
        await store.execute(Counter, "a", Count(by=4))
        await store.erase(Counter, "a", 1)
        await export_log(store.log, exported)
    assert b"555-0199" not in exported.getvalue()
    assert json.loads(exported.getvalue().splitlines()[1])["envelope"] == ""
    exported.seek(0)
    async with EventStore(SqliteLog(tmp_path / "log.db"), aggregates=[Counter]) as store:
        await import_log(store.log, exported)
        (events,) = await store.log.read_streams([StreamQuery("counter-a")])
        assert [event.erased for event in events] == [True, False]
        assert await total(store) == 4
