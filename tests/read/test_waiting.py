"""Read your own writes: a wait ends when the worker has committed, in whatever process that happens."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, MetaData, Table, Text, text
from sqlalchemy.ext.asyncio import AsyncConnection

from eventstore import EventStore, ProjectionFailedError, Recorded, Settings, SqlProjection, Token, projects
from eventstore.core.errors import StoreUnavailableError
from eventstore.read import waiting
from eventstore.sql import changes
from eventstore.sql.store import SqlQueryStore
from eventstore.testing.memory import MemoryLog
from eventstore.testing.postgres import PostgresServer
from tests.read.shop import Account, AccountRow, Accounts, Open, Opened, Projection, opened


class Fragile(Projection[AccountRow], name="fragile", version=1, key="account"):
    """Cannot take one owner."""

    @projects
    def opened(self, row: AccountRow | None, event: Opened, at: Recorded) -> AccountRow:
        if event.owner == "nobody":
            raise ValueError(event.owner)
        return AccountRow(account=at.stream.id, owner=event.owner)


@pytest.fixture
def _told_or_never(monkeypatch: pytest.MonkeyPatch) -> None:
    """A waiter that has to poll, or to look for itself, comes too late."""
    monkeypatch.setattr(waiting, "_SHORTEST_POLL", 60)
    monkeypatch.setattr(waiting, "_SAFETY_NET", 60)


@pytest.mark.usefixtures("_told_or_never")
async def test_a_wait_is_told_of_what_a_worker_elsewhere_commits(tmp_path: Path, query_store: str) -> None:
    async with (
        opened(tmp_path, Accounts, query_store=query_store),
        opened(tmp_path, Accounts, query_store=query_store, workers=False) as reader,
    ):
        for n in range(20):
            done = await reader.execute(Account, str(n), Open(owner="ann"))
            await reader.wait_for(Accounts, done.token, timeout=5)
            assert await reader.read_model(Accounts).get(str(n)) is not None


@pytest.mark.usefixtures("_told_or_never")
async def test_a_wait_is_told_when_a_worker_elsewhere_halts(tmp_path: Path, query_store: str) -> None:
    async with (
        opened(tmp_path, Fragile, query_store=query_store),
        opened(tmp_path, Fragile, query_store=query_store, workers=False) as reader,
    ):
        done = await reader.execute(Account, "1", Open(owner="nobody"))
        with pytest.raises(ProjectionFailedError, match="account-1 version 1"):
            await reader.wait_for(Fragile, done.token, timeout=5)
        with pytest.raises(ProjectionFailedError, match="account-1 version 1"):
            await reader.wait_for(Fragile, done.token, timeout=5)


async def test_the_rows_there_are_do_where_stale_ones_are_allowed(tmp_path: Path) -> None:
    async with opened(tmp_path, Accounts, Fragile) as store:
        done = await store.execute(Account, "1", Open(owner="nobody"))

        assert await store.wait_for(Accounts, done.token, timeout=5, stale="allow")
        assert not await store.wait_for(Accounts, Token({"0": 99}), timeout=0.05, stale="allow")
        assert not await store.wait_for(Fragile, done.token, timeout=5, stale="allow")


async def test_a_slow_partition_holds_up_nobody_who_waits_for_another(tmp_path: Path) -> None:
    released, reached = asyncio.Event(), asyncio.Event()
    notes = Table("notes", MetaData(), Column("account", Text, primary_key=True))

    class Notes(SqlProjection, name="notes", version=1, tables=[notes]):
        @projects
        async def opened(self, db: AsyncConnection, event: Opened, at: Recorded) -> None:
            if event.owner == "slow":
                reached.set()
                await released.wait()

    log = MemoryLog()
    slow, quick = (
        next(str(n) for n in range(99) if log.partition_of(f"account-{n}") == partition) for partition in ("p0", "p1")
    )
    store: Any = EventStore(
        log, aggregates=[Account], projections=[Notes], query_store=str(tmp_path / "read.db"), settings=Settings()
    )
    async with store:
        # Both partitions write into one SQLite file, where the slow one keeps its transaction open: have the quick one
        # done before, and wait for it while the other is at work.
        first = await store.execute(Account, quick, Open(owner="ann"))
        await store.wait_for(Notes, first.token)
        blocked = await store.execute(Account, slow, Open(owner="slow"))
        await reached.wait()

        await store.wait_for(Notes, first.token, timeout=0.5)
        assert not await store.wait_for(Notes, blocked.token, timeout=0.05, stale="allow")
        assert not await store.wait_for(Notes, first.token.merge(blocked.token), timeout=0.05, stale="allow")
        released.set()
        await store.wait_for(Notes, blocked.token)


async def listeners(url: str, *, until: bool) -> list[int]:
    """Give the server's processes that listen, as soon as there are some, or none."""
    from eventstore.environment import SystemClock

    query = text("SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()")
    while True:
        async with SqlQueryStore(url, clock=SystemClock()) as store, store.reading("looking") as connection:
            found = [*(await connection.execute(query)).scalars()]
        if bool(found) is until:
            return found


@pytest.mark.postgres
async def test_many_waiters_share_one_connection_that_is_given_up_when_nobody_waits(
    tmp_path: Path, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "_HEARTBEAT", 0.2)
    async with opened(tmp_path, Accounts, query_store=postgres_database, workers=False) as reader:
        done = await reader.execute(Account, "1", Open(owner="ann"))
        waits = [asyncio.create_task(reader.wait_for(Accounts, done.token, timeout=5)) for _ in range(100)]
        found = await listeners(postgres_database, until=True)
        async with opened(tmp_path, Accounts, query_store=postgres_database):
            await asyncio.gather(*waits)
        assert len(found) == 1

        await listeners(postgres_database, until=False)


@pytest.mark.postgres
async def test_a_wait_survives_the_loss_of_the_connection_that_listens(tmp_path: Path, postgres_database: str) -> None:
    async with opened(tmp_path, Accounts, query_store=postgres_database, workers=False) as reader:
        done = await reader.execute(Account, "1", Open(owner="ann"))
        wait = asyncio.create_task(reader.wait_for(Accounts, done.token, timeout=10))
        for _ in range(2):
            found = await listeners(postgres_database, until=True)
            async with reader.read_model(Accounts).connect() as connection:
                await connection.execute(text(f"SELECT pg_terminate_backend({found[0]})"))
        async with opened(tmp_path, Accounts, query_store=postgres_database):
            await wait


async def test_a_version_that_was_dropped_and_made_anew_is_waited_for_from_its_start(
    tmp_path: Path, query_store: str
) -> None:
    class Next(Accounts, name="accounts", version=2, key="account"):
        pass

    where = {"query_store": query_store}
    async with (
        opened(tmp_path, Accounts, **where),
        opened(tmp_path, Next, workers=False, **where) as other,
        opened(tmp_path, Next, workers=False, **where) as reader,
    ):
        done = await reader.execute(Account, "1", Open(owner="ann"))
        wait = asyncio.create_task(reader.wait_for(Next, done.token))
        await other.rebuild(Next)
        await wait
        await other.query_side.roll_back("accounts")
        await other.query_side.drop("accounts", 2)
        async with opened(tmp_path, Next, workers=False, **where):
            assert not await reader.wait_for(Next, done.token, timeout=0.3, stale="allow")


@pytest.mark.postgres
async def test_a_wait_survives_a_restart_of_the_database(tmp_path: Path) -> None:
    with PostgresServer.start() as server:
        async with opened(tmp_path, Accounts, query_store=server.url, workers=False) as reader:
            first = await reader.execute(Account, "1", Open(owner="ann"))
            assert not await reader.wait_for(Accounts, first.token, timeout=0.2, stale="allow")
            await asyncio.to_thread(server.kill)
            with pytest.raises(StoreUnavailableError):
                await reader.wait_for(Accounts, first.token, timeout=5)
            await asyncio.to_thread(server.restart)
            async with opened(tmp_path, Accounts, query_store=server.url):
                await reader.wait_for(Accounts, first.token, timeout=5)
