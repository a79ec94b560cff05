"""A linearizable load misses nothing that was acknowledged before, however confused its process is."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from eventstore import EventStore, SqliteLog
from eventstore.core.errors import InvalidIdError, LogUnavailableError
from eventstore.testing.clock import ManualClock
from tests.write.domain import Count, Counter
from tests.write.test_routing import Cluster, advancing, turns


async def test_a_linearizable_load_gives_what_any_member_wrote() -> None:
    async with Cluster().stores() as stores:
        for version, store in enumerate((*stores, *stores), 1):
            await store.execute(Counter, "x", Count())
            loaded = [(await each.load(Counter, "x", linearizable=True)).version for each in stores]
            assert loaded == [version, version]


async def test_a_linearizable_load_waits_for_the_proof_and_asks_the_next_owner_if_it_fails() -> None:
    cluster = Cluster()
    async with cluster.stores() as (former, other):
        await former.execute(Counter, "x", Count())
        cluster.member("a").fail("commit", "hang")
        loading = asyncio.ensure_future(former.load(Counter, "x", linearizable=True))
        await turns()
        cluster.move("p0", "b")
        await other.execute(Counter, "x", Count())
        assert not loading.done()
        cluster.member("a").released.set()
        assert (await loading).version == 2


@pytest.mark.parametrize("member", [0, 1], ids=["the former owner", "another member"])
async def test_without_an_owner_a_linearizable_load_is_to_be_tried_again(member: int) -> None:
    clock = ManualClock()
    cluster = Cluster(clock)
    async with cluster.stores() as stores:
        await stores[0].execute(Counter, "x", Count())
        cluster.move("p0", None)
        with pytest.raises(LogUnavailableError, match="nobody proved in time where counter-x stands; try again"):
            await advancing(clock, stores[member].load(Counter, "x", linearizable=True))
        assert (await stores[member].load(Counter, "x")).version == 1


async def test_a_linearizable_load_of_the_past_is_refused() -> None:
    async with Cluster().stores() as (store, _):
        with pytest.raises(InvalidIdError, match="at=1 asks for the past"):
            await store.load(Counter, "x", at=1, linearizable=True)


async def test_where_every_process_may_write_every_load_is_linearizable(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    async with (
        EventStore(SqliteLog(path), aggregates=[Counter]) as one,
        EventStore(SqliteLog(path), aggregates=[Counter]) as other,
    ):
        for version in range(1, 11):
            await one.execute(Counter, "x", Count())
            assert (await other.load(Counter, "x", linearizable=True)).version == version
