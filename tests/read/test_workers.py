"""Workers keep read models up to date, alone and together, through failures of handlers and databases."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from eventstore import (
    OnError,
    Projection,
    ProjectionFailedError,
    ReadModelStaleError,
    Recorded,
    Token,
    projects,
)
from tests.read.shop import (
    Account,
    AccountRow,
    Accounts,
    Deposit,
    Deposited,
    Open,
    Opened,
    Owners,
    caught_up,
    fill,
    opened,
)


async def test_a_read_model_shows_what_was_committed(tmp_path: Path) -> None:
    async with opened(tmp_path, Accounts) as store:
        await fill(store, accounts=5, deposits=3)
        await caught_up(store, Accounts)

        rows = await store.read_model(Accounts).all()

    assert rows == [AccountRow(account=str(n), owner=f"owner-{n % 3}", balance=6) for n in range(5)]


async def test_waiting_for_a_token_makes_a_write_readable(tmp_path: Path) -> None:
    async with opened(tmp_path, Accounts) as store:
        for n in range(20):
            done = await store.execute(Account, str(n), Open(owner="ann"))
            await store.wait_for(Accounts, done.token, timeout=5)
            assert await store.read_model(Accounts).get(str(n)) is not None


async def test_a_row_can_be_shared_by_many_streams(tmp_path: Path) -> None:
    async with opened(tmp_path, Owners) as store:
        await fill(store, accounts=6, deposits=2)
        await caught_up(store, Owners)

        rows = await store.read_model(Owners).all()

    assert [(row.owner, row.accounts, row.total) for row in rows] == [(f"owner-{n}", 2, 6) for n in range(3)]


async def test_a_deleted_row_is_gone(tmp_path: Path) -> None:
    from tests.read.shop import Close

    async with opened(tmp_path, Accounts) as store:
        await fill(store, accounts=2, deposits=1)
        await store.execute(Account, "0", Close())
        await caught_up(store, Accounts)

        assert [row.account for row in await store.read_model(Accounts).all()] == ["1"]


async def test_work_goes_on_where_it_ended_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path, Accounts, Owners) as store:
        await fill(store, accounts=3, deposits=1)
        await caught_up(store, Accounts)
    async with opened(tmp_path, workers=False) as store:
        await fill(store, accounts=3, deposits=1)

    async with opened(tmp_path, Accounts, Owners) as store:
        await caught_up(store, Accounts)
        await caught_up(store, Owners)
        assert all(result.clean for result in await store.audit())


async def test_two_processes_share_the_work_and_lose_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path, Accounts, Owners) as one, opened(tmp_path, Accounts, Owners) as other:
        await asyncio.gather(fill(one, accounts=4, deposits=5), fill(other, accounts=4, deposits=5))
        for store in (one, other):
            await caught_up(store, Accounts)
            await caught_up(store, Owners)

        rows = await other.read_model(Accounts).all()
        assert all(result.clean for result in await one.audit())

    assert {row.balance for row in rows} == {30}


async def test_a_worker_that_was_closed_is_replaced_at_once(tmp_path: Path) -> None:
    async with opened(tmp_path, Accounts, workers=False) as survivor:
        async with opened(tmp_path, Accounts) as store:
            await fill(store, accounts=1, deposits=1)
            await caught_up(store, Accounts)
        survivor.query_side.start_workers()
        done = await survivor.execute(Account, "0", Deposit(amount=5))
        await survivor.wait_for(Accounts, done.token, timeout=0.4)


async def test_waiting_tells_when_no_worker_runs(tmp_path: Path) -> None:
    async with opened(tmp_path, Accounts, workers=False) as store:
        done = await store.execute(Account, "0", Open(owner="ann"))

        with pytest.raises(ReadModelStaleError, match="accounts v1 did not show 0@2 within 0.05 s"):
            await store.wait_for(Accounts, done.token, timeout=0.05)


async def test_an_empty_token_is_reached_at_once(tmp_path: Path) -> None:
    async with opened(tmp_path, Accounts, workers=False) as store:
        await store.wait_for(Accounts, Token({}), timeout=0)


class BrokenError(Exception):
    pass


def accounts_that(on_error: OnError, fails: list[bool]) -> type[Projection[AccountRow]]:
    """A projection that raises on deposits of 13 for as long as `fails` holds True."""

    class Picky(Projection[AccountRow], name="picky", version=1, key="account", on_error=on_error):
        @projects
        def opened(self, row: AccountRow | None, event: Opened, at: Recorded) -> AccountRow:
            return AccountRow(account=at.stream.id, owner=event.owner)

        @projects
        def deposited(self, row: AccountRow, event: Deposited, at: Recorded) -> AccountRow:
            if event.amount == 13 and fails[0]:
                raise BrokenError("thirteen")
            row.balance += event.amount
            return row

    return Picky


async def deposits(store, *amounts: int) -> Token:
    token = Token({})
    for amount in amounts:
        token = (await store.execute(Account, "1", Deposit(amount=amount))).token
    return token


async def test_a_failing_handler_halts_its_read_model_and_says_where(tmp_path: Path, caplog) -> None:
    picky = accounts_that(OnError.halt(), [True])
    async with opened(tmp_path, picky) as store:
        await store.execute(Account, "1", Open(owner="ann"))
        token = await deposits(store, 1, 13, 2)

        with pytest.raises(
            ProjectionFailedError, match=r"picky v1 is halted at account.deposited at account-1 version 3"
        ) as error:
            await store.wait_for(picky, token, timeout=5)

        assert "BrokenError: thirteen" in str(error.value)
        assert "eventstore dead-letters park picky" in str(error.value)
        assert (await store.read_model(picky).get("1")).balance == 1
    assert [record.levelno for record in caplog.records if record.levelno >= logging.ERROR] == [logging.ERROR]


async def test_a_halted_read_model_goes_on_once_its_handler_works(tmp_path: Path) -> None:
    fails = [True]
    picky = accounts_that(OnError.halt(), fails)
    async with opened(tmp_path, picky) as store:
        await store.execute(Account, "1", Open(owner="ann"))
        token = await deposits(store, 1, 13, 2)
        with pytest.raises(ProjectionFailedError):
            await store.wait_for(picky, token, timeout=5)

        fails[0] = False
        store.query_side.wake_workers()
        for _ in range(100):
            try:
                await store.wait_for(picky, token, timeout=5)
            except ProjectionFailedError:
                await asyncio.sleep(0.01)
            else:
                break
        assert (await store.read_model(picky).get("1")).balance == 16
        assert all(result.clean for result in await store.audit())


async def test_parking_the_event_lets_a_halted_read_model_go_on(tmp_path: Path) -> None:
    picky = accounts_that(OnError.halt(), [True])
    async with opened(tmp_path, picky) as store:
        await store.execute(Account, "1", Open(owner="ann"))
        token = await deposits(store, 1, 13, 2)
        with pytest.raises(ProjectionFailedError):
            await store.wait_for(picky, token, timeout=5)

        letter = await store.dead_letters.park("picky")
        await store.wait_for(picky, token, timeout=5)

        assert (letter.stream, letter.event_version, letter.cause) == ("account-1", 3, "BrokenError: thirteen")
        assert (await store.read_model(picky).get("1")).balance == 3
        assert all(result.clean for result in await store.audit())


async def test_a_failing_event_can_be_parked_by_policy_and_retried_later(tmp_path: Path) -> None:
    fails = [True]
    picky = accounts_that(OnError.dead_letter(), fails)
    async with opened(tmp_path, picky) as store:
        await store.execute(Account, "1", Open(owner="ann"))
        token = await deposits(store, 1, 13, 2)
        await store.wait_for(picky, token, timeout=5)
        (letter,) = await store.dead_letters.list()

        with pytest.raises(ProjectionFailedError, match="Dead letter 1 stays"):
            await store.dead_letters.retry(letter.id)
        fails[0] = False
        await store.dead_letters.retry(letter.id)

        assert (await store.read_model(picky).get("1")).balance == 16
        assert await store.dead_letters.list() == []


async def test_a_parked_event_can_be_discarded(tmp_path: Path) -> None:
    picky = accounts_that(OnError.dead_letter(), [True])
    async with opened(tmp_path, picky) as store:
        await store.execute(Account, "1", Open(owner="ann"))
        await store.wait_for(picky, await deposits(store, 13), timeout=5)
        (letter,) = await store.dead_letters.list("picky")

        await store.dead_letters.discard(letter.id)

        assert await store.dead_letters.list() == []


async def test_a_skipped_event_is_logged_and_counted(tmp_path: Path, caplog) -> None:
    picky = accounts_that(OnError.skip(), [True])
    async with opened(tmp_path, picky) as store:
        await store.execute(Account, "1", Open(owner="ann"))
        await store.wait_for(picky, await deposits(store, 1, 13, 2), timeout=5)

        assert (await store.read_model(picky).get("1")).balance == 3
        assert all(result.clean for result in await store.audit())
    assert "picky v1 partition 0 skips account.deposited at account-1 version 3" in caplog.text


async def test_a_handler_that_fails_for_a_moment_is_tried_again(tmp_path: Path) -> None:
    tries: list[int] = []

    class Moody(Projection[AccountRow], name="moody", key="account", on_error=OnError.halt(attempts=3, backoff=0.001)):
        @projects
        def opened(self, row: AccountRow | None, event: Opened, at: Recorded) -> AccountRow:
            tries.append(at.version)
            if len(tries) < 3:
                raise BrokenError("not now")
            return AccountRow(account=at.stream.id, owner=event.owner)

    async with opened(tmp_path, Moody) as store:
        done = await store.execute(Account, "1", Open(owner="ann"))
        await store.wait_for(Moody, done.token, timeout=5)

    assert tries == [1, 1, 1]


async def test_a_row_that_fits_no_column_halts_at_the_event_that_made_it(tmp_path: Path) -> None:
    class Big(Projection[AccountRow], name="big", key="account"):
        @projects
        def opened(self, row: AccountRow | None, event: Opened, at: Recorded) -> AccountRow:
            return AccountRow(account=at.stream.id, owner=event.owner, balance=2**70 if event.owner == "rich" else 0)

    async with opened(tmp_path, Big, workers=False) as store:
        for n in range(9):
            done = await store.execute(Account, str(n), Open(owner="rich" if n == 6 else "poor"))
        store.query_side.start_workers()

        with pytest.raises(ProjectionFailedError, match="account-6 version 1"):
            await store.wait_for(Big, done.token, timeout=5)
        assert len(await store.read_model(Big).all()) == 6


async def test_an_event_that_cannot_be_read_halts_its_read_model(tmp_path: Path) -> None:
    import sqlite3

    async with opened(tmp_path, Accounts, workers=False) as store:
        await fill(store, accounts=3, deposits=0)
        with sqlite3.connect(tmp_path / "log.db") as log:
            log.execute("UPDATE events SET envelope = x'7b7d' WHERE stream = 'account-1'")
        log.close()
        store.query_side.start_workers()

        with pytest.raises(ProjectionFailedError, match="account-1 version 1"):
            await store.wait_for(Accounts, await store.present(), timeout=5)
        assert [row.account for row in await store.read_model(Accounts).all()] == ["0"]


async def test_closing_at_any_moment_leaves_no_lock_behind(tmp_path: Path) -> None:
    async with opened(tmp_path, Accounts, Owners, batch_size=3) as store:
        await fill(store, accounts=5, deposits=5)
    for moment in range(12):
        async with opened(tmp_path, Accounts, Owners, batch_size=3) as store:
            await store.execute(Account, "0", Deposit(amount=1))
            for _ in range(moment * 3):
                await asyncio.sleep(0)
    async with asyncio.timeout(5):
        async with opened(tmp_path, Accounts, Owners) as store:
            await caught_up(store, Owners)
            assert all(result.clean for result in await store.audit(Owners))
