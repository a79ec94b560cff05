"""A new version of a read model is built beside the live one, compared, and switched to."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import text

from eventstore import (
    ConfigurationError,
    EventStore,
    Projection,
    ProjectionFailedError,
    RebuildOptions,
    Recorded,
    Row,
    SqliteLog,
    projects,
)
from eventstore.core.errors import OwnershipLostError
from eventstore.core.rebuilds import RebuildProgress
from eventstore.core.streams import StreamId
from eventstore.testing.faults import FaultyLog
from tests.read.shop import (
    Account,
    AccountRow,
    Accounts,
    Close,
    Closed,
    Deposit,
    Deposited,
    Open,
    Opened,
    caught_up,
    fill,
    opened,
    store_of,
)


class NewAccounts(Projection[AccountRow], name="accounts", version=2, key="account"):
    """The same rows by other code."""

    @projects
    def opened(self, row: AccountRow | None, event: Opened, at: Recorded) -> AccountRow:
        return AccountRow(owner=event.owner, account=at.stream.id)

    @projects
    def deposited(self, row: AccountRow, event: Deposited, at: Recorded) -> AccountRow:
        return row.model_copy(update={"balance": row.balance + event.amount})

    @projects
    def closed(self, row: AccountRow, event: Closed, at: Recorded) -> None:
        return None


class RicherRow(Row):
    account: str
    owner: str
    balance: int = 0
    deposits: int = 0


class RicherAccounts(Projection[RicherRow], name="accounts", version=2, key="account"):
    """Another column, other owners' names, closed accounts stay, and account 3 is forgotten."""

    @projects
    def opened(self, row: RicherRow | None, event: Opened, at: Recorded) -> RicherRow | None:
        return None if at.stream.id == "3" else RicherRow(account=at.stream.id, owner=event.owner.upper())

    @projects
    def deposited(self, row: RicherRow | None, event: Deposited, at: Recorded) -> RicherRow | None:
        if row is not None:
            row.balance += event.amount
            row.deposits += 1
        return row


async def query(store: Any, statement: str) -> list[Any]:
    async with store.read_model(Accounts).connect() as db:
        return list((await db.execute(text(statement))).all())


async def test_an_equal_version_is_verified_and_switched_to(tmp_path: Path) -> None:
    async with opened(tmp_path, Accounts) as store:
        await fill(store, accounts=7, deposits=3)
        await caught_up(store, Accounts)

    async with opened(tmp_path, NewAccounts) as store:
        result = await store.rebuild(NewAccounts)
        states = {status.version: status.state for status in await store.statuses()}

    assert result.switched
    assert result.comparisons["accounts"].old_rows == result.comparisons["accounts"].new_rows == 7
    assert result.comparisons["accounts"].counts == {}
    assert states == {1: "retired", 2: "live"}


async def test_readers_of_the_view_see_the_old_version_until_the_switch(tmp_path: Path) -> None:
    async with opened(tmp_path, Accounts) as store:
        await fill(store, accounts=2, deposits=0)
        await caught_up(store, Accounts)
    async with opened(tmp_path, RicherAccounts) as store:
        before = await query(store, "SELECT * FROM accounts")
        await store.rebuild(RicherAccounts, RebuildOptions(verify=False))
        after = await query(store, "SELECT * FROM accounts")

    assert before == [("0", "owner-0", 0), ("1", "owner-1", 0)]
    assert after == [("0", "OWNER-0", 0, 0), ("1", "OWNER-1", 0, 0)]


async def rows_seen_by_a_poller(path: Path, query_store: str | None) -> list[list[str]]:
    """Rebuild with other rows while somebody reads the view again and again; gives what they read."""
    async with store_of(path, Accounts, query_store=query_store) as store:
        await fill(store, accounts=7, deposits=20)
        await caught_up(store, Accounts)
    async with store_of(path, RicherAccounts, query_store=query_store) as store:
        rebuilding = asyncio.create_task(store.rebuild(RicherAccounts, RebuildOptions(verify=False, batch_size=10)))
        seen: list[list[str]] = []
        while not (rebuilding.done() and seen[-1][0].isupper()):
            seen.append([owner for (owner,) in await query(store, "SELECT owner FROM accounts ORDER BY owner")])
        await rebuilding
    return seen


def is_switched_at_once(seen: list[list[str]]) -> bool:
    old = sorted(f"owner-{number % 3}" for number in range(7))
    new = sorted(f"OWNER-{number % 3}" for number in range(7) if number != 3)
    switched = seen.index(new)
    return switched > 5 and seen == [old] * switched + [new] * (len(seen) - switched)


async def test_a_reader_sees_the_old_rows_then_the_new_ones_and_never_a_mixture(tmp_path: Path) -> None:
    assert is_switched_at_once(await rows_seen_by_a_poller(tmp_path, None))


async def test_a_reader_of_postgresql_never_sees_a_mixture(tmp_path: Path, postgres_database: str) -> None:
    assert is_switched_at_once(await rows_seen_by_a_poller(tmp_path, postgres_database))


async def test_unexpected_differences_are_listed_by_kind_and_keep_the_old_version_live(tmp_path: Path) -> None:
    async with opened(tmp_path, Accounts) as store:
        await fill(store, accounts=5, deposits=1)
        await store.execute(Account, "4", Close())
        await caught_up(store, Accounts)

    async with opened(tmp_path, RicherAccounts) as store:
        result = await store.rebuild(RicherAccounts, RebuildOptions(expected=frozenset({"missing"})))
        states = {status.version: status.state for status in await store.statuses()}

    found = result.comparisons["accounts"]
    assert not result.switched
    assert states == {1: "live", 2: "building"}
    assert found.counts == {"changed:owner": 3, "missing": 1, "extra": 1}
    assert found.unexpected == {"changed:owner": 3, "extra": 1}
    assert found.added_columns == ("deposits",)
    assert found.examples[0].kind != "missing"


async def test_expected_differences_let_the_switch_happen(tmp_path: Path) -> None:
    async with opened(tmp_path, Accounts) as store:
        await fill(store, accounts=5, deposits=1)
        await store.execute(Account, "4", Close())
        await caught_up(store, Accounts)

    async with opened(tmp_path, RicherAccounts) as store:
        expected = frozenset({"missing", "extra", "changed:owner"})
        result = await store.rebuild(RicherAccounts, RebuildOptions(expected=expected))

    assert result.switched


async def test_writers_go_on_writing_during_a_rebuild(tmp_path: Path) -> None:
    async with opened(tmp_path, Accounts) as old, opened(tmp_path, NewAccounts) as new:
        await fill(old, accounts=4, deposits=20)
        await caught_up(old, Accounts)

        async def write() -> None:
            for amount in range(1, 101):
                await old.execute(Account, str(amount % 4), Deposit(amount=amount))

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(write())
            rebuilt = tasks.create_task(new.rebuild(NewAccounts, RebuildOptions(batch_size=10)))
        await caught_up(new, NewAccounts)

        assert rebuilt.result().switched
        assert sum(row.balance for row in await new.read_model(NewAccounts).all()) == 4 * 210 + 5050
        assert all(result.clean for result in await new.audit())


async def test_a_worker_of_the_same_process_waits_until_the_rebuild_of_its_version_has_ended(tmp_path: Path) -> None:
    old, switched = store_of(tmp_path, Accounts), asyncio.Event()
    log = FaultyLog(SqliteLog(cast("SqliteLog", old.log).path))
    new = EventStore(log, aggregates=[Account], projections=[NewAccounts], query_store=old.log.suggested_query_store)
    async with old, new:
        await fill(old, accounts=4, deposits=20)
        await caught_up(old, Accounts)

        def hold_after_the_switch(progress: RebuildProgress) -> None:
            if progress.phase == "switched":
                log.fail("ends", "hang")  # what the rebuild asks next, to catch up
                switched.set()

        async with asyncio.TaskGroup() as tasks:
            rebuilt = tasks.create_task(new.rebuild(NewAccounts, RebuildOptions(), hold_after_the_switch))
            await switched.wait()
            for _ in range(30):
                await old.execute(Account, "1", Deposit(amount=1))
            new.query_side.wake_workers()
            await asyncio.sleep(0.3)  # time for a worker that does not wait
            log.released.set()
        await caught_up(new, NewAccounts)

        assert rebuilt.result().switched
        assert all(result.clean for result in await new.audit())


async def test_an_interrupted_rebuild_goes_on_where_its_last_batch_ended(tmp_path: Path) -> None:
    async with opened(tmp_path, Accounts) as store:
        await fill(store, accounts=5, deposits=9)
        await caught_up(store, Accounts)

    class Interrupted(BaseException):
        pass

    def interrupt(progress: RebuildProgress) -> None:
        if progress.done >= 30:
            raise Interrupted

    async with opened(tmp_path, NewAccounts) as store:
        with pytest.raises(Interrupted):
            await store.rebuild(NewAccounts, RebuildOptions(batch_size=10), interrupt)
        plan = await store.plan_rebuild(NewAccounts)
        result = await store.rebuild(NewAccounts)

    assert (plan.done, plan.events) == (30, 20)
    assert (result.events, result.switched) == (20, True)


async def test_the_plan_tells_events_bytes_and_time_and_leaves_nothing_behind(tmp_path: Path) -> None:
    async with opened(tmp_path, Accounts) as store:
        await fill(store, accounts=5, deposits=9)
        await caught_up(store, Accounts)
    async with opened(tmp_path, NewAccounts) as store:
        plan = await store.plan_rebuild(NewAccounts)
        built = await query(store, "SELECT * FROM accounts_v2")

    assert (plan.version, plan.live_version, plan.done, plan.events) == (2, 1, 0, 50)
    assert plan.bytes > 50 * 100
    assert 0 < plan.eta < 60
    assert built == []


async def test_a_throttled_rebuild_keeps_to_its_rate(tmp_path: Path) -> None:
    async with opened(tmp_path, Accounts) as store:
        await fill(store, accounts=5, deposits=9)
        await caught_up(store, Accounts)
    async with opened(tmp_path, NewAccounts) as store:
        result = await store.rebuild(NewAccounts, RebuildOptions(batch_size=10, throttle=100))

    assert result.seconds >= 0.5


async def test_a_rebuild_rests_to_keep_to_its_share_of_the_time(tmp_path: Path) -> None:
    async with opened(tmp_path, Accounts) as store:
        await fill(store, accounts=5, deposits=39)
        await caught_up(store, Accounts)
    async with opened(tmp_path, NewAccounts) as store:
        result = await store.rebuild(NewAccounts, RebuildOptions(verify=False, batch_size=50, cpu_share=0.01))

    assert result.switched
    assert result.seconds >= 0.5  # three rests, after transactions of no less than two milliseconds each


@pytest.mark.parametrize("share", [0, -1, 1.5])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ConfigurationError, match=r"give a share above 0 and up to 1, for example 0\.25"):
        RebuildOptions(cpu_share=share)


def test_a_rate_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="throttle=0: give events per second above 0"):
        RebuildOptions(throttle=0)


async def test_a_second_rebuild_is_refused_with_who_runs_the_first(tmp_path: Path) -> None:
    async with opened(tmp_path, Accounts) as store:
        await fill(store, accounts=5, deposits=9)
        await caught_up(store, Accounts)
    async with opened(tmp_path, NewAccounts) as one, opened(tmp_path, NewAccounts) as other:
        under_way = asyncio.Event()

        def tell(_: RebuildProgress) -> None:
            under_way.set()

        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(one.rebuild(NewAccounts, RebuildOptions(batch_size=5, throttle=100), tell))
            await under_way.wait()
            with pytest.raises(OwnershipLostError, match=r"accounts v2 is being rebuilt by .*: wait for it"):
                await other.rebuild(NewAccounts)

    assert first.result().switched


async def test_a_handler_that_fails_stops_the_rebuild_and_the_old_version_stays(tmp_path: Path) -> None:
    class Failing(Projection[AccountRow], name="accounts", version=2, key="account"):
        @projects
        def opened(self, row: AccountRow | None, event: Opened, at: Recorded) -> AccountRow:
            if at.stream.id == "3":
                raise ValueError(at.stream.id)
            return AccountRow(owner=event.owner, account=at.stream.id)

    async with opened(tmp_path, Accounts) as store:
        await fill(store, accounts=5, deposits=0)
        await caught_up(store, Accounts)
    async with opened(tmp_path, Failing) as store:
        with pytest.raises(ProjectionFailedError, match="account-3 version 1"):
            await store.rebuild(Failing)
        statuses = {status.version: status for status in await store.statuses()}

    assert statuses[1].state == "live"
    assert statuses[2].positions[0].failure is not None
    assert statuses[2].positions[0].checkpoint.event_count == 3


async def test_a_live_version_cannot_be_rebuilt(tmp_path: Path) -> None:
    async with opened(tmp_path, Accounts) as store:
        with pytest.raises(ConfigurationError, match="accounts v1 is live already, there is nothing to rebuild"):
            await store.rebuild(Accounts)


async def test_rolling_back_makes_the_former_version_live_again(tmp_path: Path) -> None:
    async with opened(tmp_path, Accounts) as old, opened(tmp_path, RicherAccounts) as new:
        await fill(old, accounts=2, deposits=1)
        await caught_up(old, Accounts)
        await new.rebuild(RicherAccounts, RebuildOptions(verify=False))
        done = await new.execute(Account, "0", Deposit(amount=5))
        await old.wait_for(Accounts, done.token)

        version = await new.query_side.roll_back("accounts")

        assert version == 1
        assert await query(new, "SELECT * FROM accounts") == [("0", "owner-0", 6), ("1", "owner-1", 1)]


async def test_a_retired_version_can_be_dropped_with_its_table(tmp_path: Path) -> None:
    async with opened(tmp_path, Accounts) as store:
        await fill(store, accounts=2, deposits=1)
        await caught_up(store, Accounts)
    async with opened(tmp_path, NewAccounts) as store:
        with pytest.raises(ConfigurationError, match="accounts v1 is live"):
            await store.query_side.drop("accounts", 1)
        await store.rebuild(NewAccounts)
        await store.query_side.drop("accounts", 1)
        tables = await query(store, "SELECT name FROM sqlite_master WHERE name LIKE 'accounts%' ORDER BY name")

    assert [name for (name,) in tables] == ["accounts", "accounts_v2"]


async def test_changed_code_under_an_unchanged_version_is_refused_unless_accepted(tmp_path: Path) -> None:
    class Changed(Projection[AccountRow], name="accounts", version=1, key="account"):
        @projects
        def opened(self, row: AccountRow | None, event: Opened, at: Recorded) -> AccountRow:
            return AccountRow(account=at.stream.id, owner=event.owner + "!")

    async with opened(tmp_path, Accounts):
        pass
    with pytest.raises(ConfigurationError, match=r"accounts v1 has changed .* write version=2"):
        async with opened(tmp_path, Changed):
            pass


async def test_rows_can_be_previewed_as_of_a_version_and_a_time(tmp_path: Path) -> None:
    async with opened(tmp_path, Accounts, workers=False) as store:
        await store.execute(Account, "1", Open(owner="ann"))
        await store.execute(Account, "1", Deposit(amount=1))
        (_, (_, then)) = await store.history(Account, "1")
        await asyncio.sleep(0.002)
        await store.execute(Account, "1", Deposit(amount=2))
        await store.execute(Account, "2", Open(owner="ben"))

        of_stream = await store.preview(Accounts, at=2, stream=StreamId("account", "1"))
        of_time = await store.preview(Accounts, at=then.occurred_at)
        of_now = await store.preview(Accounts)

    assert of_stream == of_time == {("1",): AccountRow(account="1", owner="ann", balance=1)}
    assert {key: row.balance for key, row in of_now.items()} == {("1",): 3, ("2",): 0}
