"""Lag: how far behind, for how long, and whether anybody is at work."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path

from eventstore import Aggregate, EventStore, Settings, decides, evolves
from eventstore.environment import Environment, SystemClock
from eventstore.read.lag import Lag
from eventstore.testing.memory import MemoryLog
from tests.read.shop import Account, Accounts, Close, Deposit, Deposited, Open, Owners, caught_up, fill, opened
from tests.read.test_rebuild import RicherAccounts
from tests.read.test_waiting import Fragile


async def seen(store: EventStore, state: str, name: str | None = None) -> Lag:
    """Give the first lag that is in a state, as soon as there is one."""
    while True:
        for lag in await store.lag(name):
            if lag.state == state:
                return lag


async def test_a_read_model_that_has_caught_up_is_idle(tmp_path: Path) -> None:
    async with opened(tmp_path, Accounts, Owners) as store:
        await fill(store, accounts=2, deposits=1)
        await caught_up(store, Accounts)
        await caught_up(store, Owners)
        lags = await store.lag()

    assert [(lag.name, lag.state, lag.events, lag.seconds) for lag in lags] == [
        ("accounts", "idle", 0, 0.0),
        ("owners", "idle", 0, 0.0),
    ]
    assert {lag.position for lag in lags} == {lag.end for lag in lags}


async def test_events_are_counted_and_the_oldest_tells_the_seconds(tmp_path: Path) -> None:
    async with opened(tmp_path, Accounts, workers=False) as store:
        await fill(store, accounts=3, deposits=1)
        await asyncio.sleep(0.05)
        (lag,) = await store.lag("accounts", stalled_after=60)

    assert (lag.state, lag.events, lag.owner, lag.moved_at) == ("running", 6, None, None)
    assert 0.05 <= lag.seconds < 10


class LaterClock(SystemClock):
    """The machine's clock, set forward."""

    ahead = 0

    def now(self) -> datetime:
        """Give the time, plus the seconds that it is ahead."""
        return super().now() + timedelta(seconds=self.ahead)


async def test_one_that_is_behind_is_stalled_when_it_was_not_moved_for_a_while(tmp_path: Path) -> None:
    clock = LaterClock()
    async with opened(tmp_path, Accounts, workers=False, environment=Environment(clock=clock)) as store:

        async def state() -> str:
            (lag,) = await store.lag(stalled_after=30)
            return lag.state

        await fill(store, accounts=3, deposits=1)
        states = [await state()]
        clock.ahead = 60
        states.append(await state())
        query = store.query_side._query
        position = await query.claim(Accounts.definition, "0", "somebody", 10)
        assert position is not None
        async with query.transaction() as transaction:
            await transaction.advance(position, position.after([], 2))
        states.append(await state())
        clock.ahead = 100
        states.append(await state())

    assert states == ["running", "stalled", "running", "stalled"]


async def test_a_version_that_is_not_live_yet_is_building_and_a_retired_one_is_left_out(tmp_path: Path) -> None:
    async with opened(tmp_path, Accounts) as store:
        await fill(store, accounts=2, deposits=0)
        await caught_up(store, Accounts)
    async with opened(tmp_path, RicherAccounts, workers=False) as store:
        before = {(lag.version, lag.state) for lag in await store.lag()}
        await store.query_side._query.switch(RicherAccounts.definition, None)
        after = {lag.version for lag in await store.lag()}

    assert before == {(1, "idle"), (2, "building")}
    assert after == {2}


async def test_a_poisonous_event_is_visible_within_a_second_in_any_process_and_others_go_on(
    query_store: str,
) -> None:
    log = MemoryLog()
    ill, sound = (next(str(n) for n in range(99) if log.partition_of(f"account-{n}") == p) for p in ("p0", "p1"))

    def store_of(**settings: bool) -> EventStore:
        return EventStore(
            log, aggregates=[Account], projections=[Fragile], query_store=query_store, settings=Settings(**settings)
        )

    async with store_of() as store, store_of(workers=False, serve=False) as looker:
        await store.execute(Account, ill, Open(owner="nobody"))
        async with asyncio.timeout(1):
            lag = await seen(looker, "blocked")
        await store.execute(Account, ill, Deposit(amount=1))
        done = await store.execute(Account, sound, Open(owner="ann"))
        await store.wait_for(Fragile, done.token)

        assert lag.failure is not None
        assert (lag.partition, lag.events, lag.failure.cause) == ("p0", 1, "ValueError: nobody")
        assert f"account.opened at account-{ill} version 1" in lag.failure.place
        assert "eventstore dead-letters park fragile" in lag.failure.remedy
        assert {found.partition: found.state for found in await looker.lag()} == {
            "p0": "blocked",
            "p1": "idle",
            "p2": "idle",
        }
        await store.dead_letters.park("fragile")
        async with asyncio.timeout(1):
            await seen(looker, "idle")


async def test_events_of_other_categories_do_not_count(tmp_path: Path) -> None:
    class Other(Aggregate, category="other"):
        @decides
        def close(self, command: Close) -> Deposited:
            return Deposited(owner="", amount=0)

        @evolves
        def deposited(self, event: Deposited) -> None:
            pass

    async with EventStore(
        MemoryLog(partitions=1),
        aggregates=[Account, Other],
        projections=[Accounts, Fragile],
        query_store=str(tmp_path / "read.db"),
        settings=Settings(workers=False),
    ) as store:
        await store.execute(Other, "1", Close())
        lags = {lag.name: lag.events for lag in await store.lag()}

    assert lags == {"accounts": 1, "fragile": 0}
