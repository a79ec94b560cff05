"""Process managers with time-outs: "if not closed by ...", through restarts, on every query store."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from eventstore import (
    ConfigurationError,
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
from eventstore.core.checkpoints import Failure
from eventstore.core.errors import OwnershipLostError
from eventstore.environment import Environment
from eventstore.ports import EventLog
from eventstore.read.deadlines import Deadlines
from eventstore.sql.store import SqlQueryStore
from eventstore.testing.clock import ManualClock
from eventstore.testing.memory import MemoryLog
from eventstore.testing.scenarios import sent_by
from tests.read import chasing
from tests.read.shop import Account, Close, Closed, Deposit, Deposited, Open, Opened
from tests.read.test_lag import seen

DAY = timedelta(days=1)


class Visit(ProcessState):
    account: str
    reminders: int = 0


class Chase(ProcessManager[Visit], name="chase", key="account"):
    """An account that is not closed within a day gets 1 a day, and is closed with the third."""

    @reacts
    def opened(self, state: Visit, event: Opened, at: Recorded) -> None:
        state.deadline = at.occurred_at + DAY

    @reacts
    def closed(self, state: Visit, event: Closed, at: Recorded) -> None:
        state.finished = True

    def expired(self, state: Visit, due: datetime) -> list[Send]:
        state.reminders += 1
        reminder = Send(Account, state.account, Deposit(amount=1))
        if state.reminders == 3:
            state.finished = True
            return [reminder, Send(Account, state.account, Close())]
        state.deadline = due + DAY
        return [reminder]


class Opener(ProcessState):
    owner: str


class PerOwner(ProcessManager[Opener], name="per_owner", key="owner"):
    """Keyed across streams: whoever opens an account and deposits nothing anywhere within a day gets 1."""

    @reacts(key="owner")
    def opened(self, state: Opener, event: Opened, at: Recorded) -> None:
        state.deadline = at.occurred_at + DAY

    @reacts(key="owner")
    def deposited(self, state: Opener, event: Deposited, at: Recorded) -> None:
        state.finished = True

    def expired(self, state: Opener, due: datetime) -> Send:
        state.finished = True
        return Send(Account, "late", Open(owner=state.owner))


StoreOf = Callable[..., EventStore]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store_of(tmp_path: Path, query_store: str, clock: ManualClock) -> StoreOf:
    """Make stores of one log and one query store, whose time is the clock's."""

    def make(*processes: type[ProcessManager[Any]], log: EventLog | None = None, **settings: Any) -> EventStore:
        return EventStore(
            log or SqliteLog(tmp_path / "log.db"),
            aggregates=[Account],
            processes=processes or [Chase],
            query_store=query_store,
            settings=Settings(lease=0.15, environment=Environment(clock=clock), **settings),
        )

    return make


async def balance_of(store: EventStore, account: str, wanted: int) -> Account:
    """Give an account as soon as it has a balance, and nothing is to do for the managers."""
    while True:
        found = await store.load(Account, account)
        await store.wait_for(store.application.processes[0], await store.present())
        if found.balance >= wanted:
            return found
        await asyncio.sleep(0.01)


async def settled(store: EventStore) -> None:
    """Return after the workers have had the occasion to do what they should not."""
    await store.wait_for(store.application.processes[0], await store.present())
    await asyncio.sleep(0.15)


async def events_of(store: EventStore, account: str) -> list[str]:
    return [event.event_type.partition(".")[2] for event, _ in await store.history(Account, account)]


async def test_a_state_that_is_still_there_at_its_deadline_expires_once(store_of: StoreOf, clock: ManualClock) -> None:
    async with store_of() as store:
        await store.execute(Account, "1", Open(owner="ann"))
        await settled(store)
        assert await events_of(store, "1") == ["opened"]
        await clock.advance(DAY.total_seconds())
        await balance_of(store, "1", 1)
        await settled(store)

        assert await events_of(store, "1") == ["opened", "deposited"]


async def test_a_state_that_was_finished_in_time_does_not_expire(store_of: StoreOf, clock: ManualClock) -> None:
    async with store_of() as store:
        await store.execute(Account, "1", Open(owner="ann"))
        await store.execute(Account, "1", Close())
        await store.execute(Account, "2", Open(owner="ben"))
        await settled(store)
        await clock.advance(DAY.total_seconds())
        await balance_of(store, "2", 1)

        assert await events_of(store, "1") == ["opened", "closed"]


async def test_a_deadline_survives_restarts_and_is_met_late_rather_than_never(
    store_of: StoreOf, clock: ManualClock
) -> None:
    async with store_of() as store:
        await store.execute(Account, "1", Open(owner="ann"))
        await settled(store)
    await clock.advance(9 * DAY.total_seconds())
    async with store_of() as store:
        await balance_of(store, "1", 3)
        await settled(store)
        assert await events_of(store, "1") == ["opened", "deposited", "deposited", "deposited", "closed"]


async def test_what_happened_while_no_worker_ran_counts_before_the_deadline_does(
    store_of: StoreOf, clock: ManualClock
) -> None:
    async with store_of() as store:
        await store.execute(Account, "1", Open(owner="ann"))
        await store.execute(Account, "2", Open(owner="ben"))
        await settled(store)
    async with store_of(workers=False) as store:
        await store.execute(Account, "1", Close())
        await clock.advance(DAY.total_seconds())
    async with store_of() as store:
        await balance_of(store, "2", 1)

        assert await events_of(store, "1") == ["opened", "closed"]


async def test_commands_of_a_deadline_have_ids_of_their_own_and_the_first_commands_correlation(
    store_of: StoreOf, clock: ManualClock
) -> None:
    async with store_of() as store:
        await store.execute(Account, "1", Open(owner="ann"))
        await settled(store)
        await clock.advance(3 * DAY.total_seconds())
        await balance_of(store, "1", 3)
        await settled(store)
        recorded = [at for _, at in await store.history(Account, "1")]

    assert len({at.command_id for at in recorded}) == 5
    assert {at.metadata.correlation_id for at in recorded} == {recorded[0].command_id}


async def test_a_deadline_that_was_met_before_the_query_store_was_lost_has_no_second_effect(
    store_of: StoreOf, clock: ManualClock, query_store: str
) -> None:
    async with store_of() as store:
        await store.execute(Account, "1", Open(owner="ann"))
        await settled(store)
        await clock.advance(DAY.total_seconds())
        await balance_of(store, "1", 1)
    async with SqlQueryStore(query_store, clock=clock) as query, query.transaction() as transaction:
        for table in ("checkpoints", "deadlines"):
            await transaction.connection.execute(text(f"DELETE FROM eventstore_{table}"))
        await transaction.connection.execute(text("DELETE FROM chase_v1"))
    async with store_of() as store:
        await settled(store)

        assert await events_of(store, "1") == ["opened", "deposited"]


async def test_a_worker_that_was_superseded_sends_nothing(store_of: StoreOf, clock: ManualClock) -> None:
    async with store_of() as store:
        await store.execute(Account, "1", Open(owner="ann"))
        await settled(store)
    await clock.advance(DAY.total_seconds())
    async with store_of(workers=False) as store:
        side = store.query_side
        zombie = await side._query.claim(Chase.definition, "0", "zombie", 60)
        assert zombie is not None
        await side._query.claim(Chase.definition, "0", "successor", 60, force=True)
        with pytest.raises(OwnershipLostError):
            await Deadlines(side._surroundings, store.log, side._known("chase")).meet(zombie)

        assert await events_of(store, "1") == ["opened"]


async def test_two_processes_meet_a_deadline_once(store_of: StoreOf, clock: ManualClock) -> None:
    async with store_of() as one, store_of() as other:
        for account in range(30):
            await one.execute(Account, str(account), Open(owner="ann"))
        await settled(one)
        await clock.advance(DAY.total_seconds())
        for account in range(30):
            await balance_of(other, str(account), 1)
        await settled(one)

        assert {len(await events_of(other, str(account))) for account in range(30)} == {2}


async def killed_after(seconds: float, log: str, query_store: str) -> None:
    """Run a process that meets deadlines, and kill it while it does."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.read.chasing", log, query_store),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"working\n"
    await asyncio.sleep(seconds)
    process.kill()
    await process.wait()


async def test_deadlines_are_met_once_each_though_the_workers_are_killed(tmp_path: Path, query_store: str) -> None:
    log = str(tmp_path / "log.db")
    async with chasing.store_of(log, query_store, workers=False) as store:
        for account in range(40):
            await store.execute(Account, str(account), Open(owner="ann"))
        for round_ in range(4):
            await killed_after(0.05 + 0.08 * round_, log, query_store)
    async with chasing.store_of(log, query_store, workers=True) as store:
        for account in range(40):
            await balance_of(store, str(account), chasing.TIMES)
        await settled(store)

        found = [await events_of(store, str(account)) for account in range(40)]
    assert found == [["opened", *["deposited"] * chasing.TIMES]] * 40


async def test_a_state_of_several_partitions_waits_for_all_of_them(store_of: StoreOf, clock: ManualClock) -> None:
    log = MemoryLog()
    here, there = (next(str(n) for n in range(99) if log.partition_of(f"account-{n}") == p) for p in ("p0", "p1"))
    async with store_of(PerOwner, log=log) as store:
        await store.execute(Account, there, Open(owner="ann"))
        await store.execute(Account, there, Deposit(amount=1))
        await settled(store)
        opened = await store.execute(Account, here, Open(owner="ann"))
        await store.wait_for(PerOwner, opened.token)
    async with store_of(PerOwner, log=log, workers=False) as store:
        await store.execute(Account, there, Deposit(amount=1))
        query = store.query_side._query
        held = await query.claim(PerOwner.definition, "p1", "somebody slow", 60)
        assert held is not None
    await clock.advance(DAY.total_seconds())
    async with store_of(PerOwner, log=log) as store:
        await asyncio.sleep(0.3)
        assert await events_of(store, "late") == []
        await store.query_side._query.release(held)
        await settled(store)
        assert await events_of(store, "late") == []


async def test_a_deadline_whose_method_raises_halts_with_its_name_until_it_is_repaired(
    store_of: StoreOf, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    fails = [True]

    class Fragile(Chase, name="chase", key="account"):
        def expired(self, state: Visit, due: datetime) -> list[Send]:
            if fails and state.account == "2":
                raise RuntimeError(state.account)
            return super().expired(state, due)

    async with store_of(Fragile) as store:
        for account in ("1", "2", "3"):
            await store.execute(Account, account, Open(owner="ann"))
            await clock.advance(1)
        await settled(store)
        await clock.advance(DAY.total_seconds())
        lag = await seen(store, "blocked")
        assert lag.failure is not None
        assert lag.failure.place == "the deadline 2026-01-02 00:00:01 UTC of 2"
        assert lag.failure.cause == "RuntimeError: 2"
        assert (await store.load(Account, "1")).balance == 1  # the one before it was met

        fails.clear()
        store.query_side.wake_workers()
        await seen(store, "idle")
        await balance_of(store, "2", 1)
        await balance_of(store, "3", 1)


async def test_an_event_is_not_parked_in_the_place_of_a_deadline(store_of: StoreOf, clock: ManualClock) -> None:
    async with store_of(workers=False) as store:
        await store.execute(Account, "1", Open(owner="ann"))
        query = store.query_side._query
        position = await query.claim(Chase.definition, "0", "worker", 60)
        assert position is not None
        await query.report(position, Failure("the deadline of 9", "RuntimeError: 9", "Fix it", clock.now()))
        await query.release(position)

        with pytest.raises(ConfigurationError, match="halted at the deadline of 9, and that is no event to park"):
            await store.dead_letters.park("chase")
        assert await store.dead_letters.list() == []


@pytest.mark.parametrize(
    ("deadline", "said"),
    [(datetime(2026, 1, 2), "has no time zone"), (None, "has no method expired")],  # noqa: DTZ001
)
async def test_a_deadline_that_cannot_be_kept_halts_at_the_event_that_sets_it(
    tmp_path: Path, deadline: datetime | None, said: str
) -> None:
    class Wrong(ProcessManager[Visit], name="wrong", key="account"):
        @reacts
        def opened(self, state: Visit, event: Opened, at: Recorded) -> None:
            state.deadline = deadline or at.occurred_at

        if deadline:

            def expired(self, state: Visit, due: datetime) -> None: ...

    async with EventStore(SqliteLog(tmp_path / "log.db"), aggregates=[Account], processes=[Wrong]) as store:
        done = await store.execute(Account, "1", Open(owner="ann"))
        with pytest.raises(ProjectionFailedError, match=said):
            await store.wait_for(Wrong, done.token)


def test_a_scenario_tells_what_deadlines_lead_to() -> None:
    first = ("account-1", Opened(owner="ann"))
    at = datetime.fromisoformat("2026-01-01T00:00:01Z")

    assert sent_by(Chase, first) == sent_by(Chase, first, until=at) == []
    assert sent_by(Chase, first, until=at + DAY) == [Send(Account, "1", Deposit(amount=1))]
    assert sent_by(Chase, first, until=at + 9 * DAY)[2:] == [
        Send(Account, "1", Deposit(amount=1)),
        Send(Account, "1", Close()),
    ]
    assert sent_by(Chase, first, ("account-1", Closed(owner="ann")), until=at + 9 * DAY) == []


def test_a_field_of_another_meaning_cannot_be_named_deadline() -> None:
    class Other(ProcessState):
        account: str
        deadline: str = ""  # type: ignore[assignment]

    with pytest.raises(ConfigurationError, match="name the field of your own otherwise"):

        class Manager(ProcessManager[Other], name="other", key="account"):
            @reacts
            def opened(self, state: Other, event: Opened, at: Recorded) -> None: ...
