"""Workers on a log that deals partitions out: they work on what is assigned, and have stopped when others get it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, MetaData, Table, Text

from eventstore import EventStore, Recorded, Settings, SqlProjection, projects
from eventstore.core.checkpoints import Checkpoint
from eventstore.core.errors import ConfigurationError
from eventstore.core.records import Partition
from eventstore.ports import QueryStore, Sharer
from eventstore.testing.memory import MemoryLog
from tests.read.shop import Account, Accounts, Deposit, Open, Opened

EVERYWHERE = ("p0", "p1", "p2")


class Dealing(MemoryLog):
    """A log that deals partitions out as a test says; implements `PartitionSharing`."""

    def __init__(self) -> None:
        super().__init__(partitions=3)
        self.sharers: dict[str, Sharer] = {}
        self.shared = asyncio.Event()
        self.dealt: list[Partition] = []

    @property
    def sharing(self) -> Any:
        return self

    @asynccontextmanager
    async def share(self, work: str, sharer: Sharer, *, guest: bool = False) -> AsyncGenerator[None]:
        self.sharers[work] = sharer
        self.shared.set()
        try:
            yield
        finally:
            await sharer.revoked(self.dealt)

    def deal(self, partitions: Sequence[Partition]) -> None:
        self.dealt.extend(partitions)
        self.sharers["accounts.v1"].assigned(partitions)

    async def take_away(self, partitions: Sequence[Partition]) -> None:
        await self.sharers["accounts.v1"].revoked(partitions)


@asynccontextmanager
async def dealing(path: Path) -> AsyncGenerator[tuple[EventStore, Dealing, QueryStore]]:
    log = Dealing()
    store = EventStore(
        log, aggregates=[Account], projections=[Accounts], query_store=path / "read.db", settings=Settings(lease=0.5)
    )
    async with store:
        query = store._opened_query_store
        assert query is not None
        await log.shared.wait()
        for number in range(9):
            await store.execute(Account, str(number), Open(owner="ann"))
        yield store, log, query


async def position(query: QueryStore, partition: Partition) -> Checkpoint:
    (status,) = await query.statuses("accounts")
    return status.position(partition)


async def moved(query: QueryStore, partition: Partition, beyond: int) -> Checkpoint:
    deadline = time.monotonic() + 5
    while (found := await position(query, partition)).next_offset <= beyond:
        assert time.monotonic() < deadline, found
    return found


async def test_only_what_is_assigned_is_worked_on(tmp_path: Path) -> None:
    async with dealing(tmp_path) as (_, log, query):
        log.deal(["p1"])
        await moved(query, "p1", 0)
        assert [(await position(query, name)).next_offset for name in ("p0", "p2")] == [0, 0]


async def test_what_is_taken_away_is_free_when_the_others_get_it(tmp_path: Path) -> None:
    async with dealing(tmp_path) as (store, log, query):
        log.deal(EVERYWHERE)
        await asyncio.gather(*(moved(query, name, 0) for name in EVERYWHERE))
        await log.take_away(["p1"])
        before = await position(query, "p1")
        for number in range(9):
            await store.execute(Account, str(number), Deposit(amount=1))
        await asyncio.gather(*(moved(query, name, 6) for name in ("p0", "p2")))
        assert await position(query, "p1") == before
        assert before.owner == ""


async def test_an_assigned_partition_is_taken_over_though_a_lease_runs(tmp_path: Path) -> None:
    async with dealing(tmp_path) as (_, log, query):
        assert await query.claim(Accounts.definition, "p1", "former", 60) is not None
        log.deal(["p1"])
        assert (await moved(query, "p1", 0)).owner not in ("", "former")


async def test_a_partition_that_another_process_took_over_is_not_taken_back(tmp_path: Path) -> None:
    async with dealing(tmp_path) as (store, log, query):
        log.deal(["p1"])
        await moved(query, "p1", 0)
        taken = await query.claim(Accounts.definition, "p1", "successor", 60, force=True)
        assert taken is not None
        for number in range(9):
            await store.execute(Account, str(number), Deposit(amount=1))
        store.query_side.wake_workers()
        await asyncio.sleep(0.1)  # time for one that does not know that it was deposed
        assert await position(query, "p1") == taken

        await query.release(taken)
        store.query_side.wake_workers()
        await moved(query, "p1", taken.next_offset)


async def test_a_partition_that_was_lost_and_comes_back_is_worked_on(tmp_path: Path) -> None:
    async with dealing(tmp_path) as (store, log, query):
        log.deal(["p1"])
        before = await moved(query, "p1", 0)
        log.sharers["accounts.v1"].lost(["p1"])
        log.deal(["p1"])
        for number in range(9):
            await store.execute(Account, str(number), Deposit(amount=1))
        await moved(query, "p1", before.next_offset)
        assert all(result.clean for result in await store.audit())


async def test_a_process_that_may_take_no_part_says_so_at_once_and_when_it_closes(tmp_path: Path, caplog: Any) -> None:
    with pytest.raises(ConfigurationError, match="grant Read"):
        async with dealing(tmp_path) as (store, log, _):
            log.deal(["p1"])
            log.sharers["accounts.v1"].failed(ConfigurationError("grant Read on the group"))
            await asyncio.wait(store.query_side._background._tasks)
            assert "accounts v1: this process works on it no more: grant Read on the group" in caplog.text


@pytest.mark.postgres
@pytest.mark.parametrize("concurrency", [1, 3])
async def test_no_more_batches_than_wanted_are_written_at_the_same_time(
    concurrency: int, postgres_database: str
) -> None:
    nothing = Table("nothing", MetaData(), Column("id", Text, primary_key=True))
    now: list[int] = []
    peaks: list[int] = []

    class Counts(SqlProjection, name="counts", tables=[nothing]):
        @projects
        async def opened(self, db: Any, event: Opened, at: Recorded) -> None:
            now.append(1)
            peaks.append(len(now))
            await asyncio.sleep(0.02)
            now.pop()

    settings = Settings(concurrency=concurrency)
    async with EventStore(
        MemoryLog(), aggregates=[Account], projections=[Counts], query_store=postgres_database, settings=settings
    ) as store:
        for number in range(12):
            done = await store.execute(Account, str(number), Open(owner="ann"))
        await store.wait_for(Counts, await store.present(), timeout=10)
        assert done.version == 1
    assert max(peaks) == concurrency
