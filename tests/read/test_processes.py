"""Process managers: events in, commands out, once in effect."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from eventstore import (
    EventStore,
    ProcessManager,
    ProcessState,
    ProjectionFailedError,
    Recorded,
    Send,
    Settings,
    SqliteLog,
    reacts,
)
from tests.read.shop import Account, Close, Deposit, Deposited, Open, Opened


class Bonus(ProcessManager[None], name="bonus"):
    """Every new account gets 10, through an ordinary command."""

    @reacts
    def opened(self, event: Opened, at: Recorded) -> Send:
        return Send(Account, at.stream.id, Deposit(amount=10))


class Seen(ProcessState):
    owner: str
    total: int = 0


class Limit(ProcessManager[Seen], name="limit", key="owner"):
    """Closes the account whose deposit made its owner's total reach 100."""

    @reacts(key="owner")
    def deposited(self, state: Seen, event: Deposited, at: Recorded) -> Send | None:
        state.total += event.amount
        if state.total < 100:
            return None
        state.finished = True
        return Send(Account, at.stream.id, Close())


def store_of(path: Path, *processes: type[ProcessManager]) -> EventStore:
    return EventStore(
        SqliteLog(path / "log.db"), aggregates=[Account], processes=processes, settings=Settings(lease=0.5)
    )


async def kinds(store: EventStore, account: str) -> list[str]:
    return [event.event_type.partition(".")[2] for event, _ in await store.history(Account, account)]


async def test_an_event_leads_to_a_command(tmp_path: Path) -> None:
    async with store_of(tmp_path, Bonus) as store:
        done = await store.execute(Account, "1", Open(owner="ann"))
        await store.wait_for(Bonus, done.token)

        assert (await store.load(Account, "1")).balance == 10


async def test_what_a_process_sends_is_correlated_with_the_first_command_and_caused_by_its_own(tmp_path: Path) -> None:
    async with store_of(tmp_path, Bonus) as store:
        done = await store.execute(Account, "1", Open(owner="ann"))
        await store.wait_for(Bonus, done.token)
        (_, first), (_, second) = await store.history(Account, "1")

    assert second.metadata.correlation_id == first.metadata.correlation_id == first.command_id
    assert second.metadata.causation_id == second.command_id != first.command_id


async def test_state_is_kept_by_key_and_removed_when_finished(tmp_path: Path) -> None:
    async with store_of(tmp_path, Limit) as store:
        for account in ("1", "2"):
            await store.execute(Account, account, Open(owner="ann"))
        for amount in (40, 40):
            await store.execute(Account, "1", Deposit(amount=amount))
        done = await store.execute(Account, "2", Deposit(amount=40))
        await store.wait_for(Limit, done.token)

        assert await kinds(store, "1") == ["opened", "deposited", "deposited"]
        assert await kinds(store, "2") == ["opened", "deposited", "closed"]
    with closing(sqlite3.connect(tmp_path / "log.read.db")) as db:
        assert db.execute('SELECT * FROM "limit"').fetchall() == []


async def test_a_crash_between_command_and_position_repeats_no_effect(tmp_path: Path) -> None:
    async with store_of(tmp_path, Bonus) as store:
        done = await store.execute(Account, "1", Open(owner="ann"))
        await store.wait_for(Bonus, done.token)
    for leftover in tmp_path.glob("log.read.db*"):
        leftover.unlink()  # as if the query store had lost everything it knew

    async with store_of(tmp_path, Bonus) as store:
        await store.wait_for(Bonus, await store.present())

        assert await kinds(store, "1") == ["opened", "deposited"]


async def test_a_rejected_command_is_logged_and_the_process_goes_on(tmp_path: Path, caplog) -> None:
    from eventstore import Aggregate, CommandRejectedError, decides

    class Strict(Aggregate, category="strict"):
        @decides
        def refuse(self, command: Deposit) -> None:
            raise CommandRejectedError("never")

    class Hopeless(ProcessManager[None], name="hopeless"):
        @reacts
        def opened(self, event: Opened, at: Recorded) -> Send:
            return Send(Strict, at.stream.id, Deposit(amount=1))

    async with EventStore(SqliteLog(tmp_path / "log.db"), aggregates=[Account, Strict], processes=[Hopeless]) as store:
        done = await store.execute(Account, "1", Open(owner="ann"))
        await store.wait_for(Hopeless, done.token)

    assert "was rejected: never" in caplog.text


async def test_a_command_that_cannot_be_sent_halts_the_process_at_its_event(tmp_path: Path) -> None:
    class Lost(ProcessManager[None], name="lost"):
        @reacts
        def opened(self, event: Opened, at: Recorded) -> Send:
            return Send(Account, "no such id!", Deposit(amount=1))

    async with store_of(tmp_path, Lost) as store:
        done = await store.execute(Account, "1", Open(owner="ann"))

        with pytest.raises(ProjectionFailedError, match="lost v1 is halted at account.opened at account-1 version 1"):
            await store.wait_for(Lost, done.token)
