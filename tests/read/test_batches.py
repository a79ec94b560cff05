"""How a batch is applied: conflicts, rows that fit nowhere, tries, and workers that lose or renew their position."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from eventstore import EventStore, OnError, Projection, ProjectionFailedError, Recorded, projects
from eventstore.core.errors import RowConflictError, StoreUnavailableError
from eventstore.core.projections import EventAt, HandlerFailedError
from eventstore.ports import QueryStore, QueryTransaction
from eventstore.read.batches import BatchProcessor
from eventstore.read.worker import Worker, WorkerSettings
from tests.read.shop import Account, AccountRow, Accounts, Deposit, Opened, caught_up, fill, opened
from tests.waiting import until


class Subscribed:
    """Subscribes like `Accounts`, and does what the test says with the numbers of accounts that were opened."""

    definition = Accounts.definition
    most: int | None = None

    def __init__(self, act: Callable[[list[int]], None]) -> None:
        self.act = act
        self.applied: list[int] = []

    async def apply(self, transaction: QueryTransaction, batch: Sequence[EventAt]) -> None:
        numbers = [int(at.stream.id) for _, at in batch]
        self.act(numbers)
        self.applied += numbers


def query_store_of(store: EventStore) -> QueryStore:
    found = store._opened_query_store
    assert found is not None
    return found


async def processed(store: EventStore, subscriber: Subscribed) -> BatchProcessor:
    """Apply the whole log as one batch."""
    position = await query_store_of(store).claim(Accounts.definition, "0", "test", 60)
    assert position is not None
    processor = BatchProcessor(store.query_side._surroundings, subscriber, position)
    page = await store.log.read("0", 0, 1_000)
    await processor.process(page.events, page.next_offset)
    return processor


async def test_a_row_that_appears_meanwhile_lets_the_batch_be_folded_again(tmp_path: Path) -> None:
    tries = []

    def act(numbers: list[int]) -> None:
        tries.append(len(numbers))
        if len(tries) < 4:
            raise RowConflictError("a row appeared")

    async with opened(tmp_path, Accounts, workers=False) as store:
        await fill(store, accounts=5, deposits=0)
        subscriber = Subscribed(act)
        position = (await processed(store, subscriber)).checkpoint
    assert tries == [5, 5, 5, 5]
    assert (subscriber.applied, position.event_count, position.next_offset) == ([0, 1, 2, 3, 4], 5, 6)


async def test_rows_that_appear_all_the_time_put_the_batch_off(tmp_path: Path) -> None:
    def act(numbers: list[int]) -> None:
        raise RowConflictError("a row appeared")

    async with opened(tmp_path, Accounts, workers=False) as store:
        await fill(store, accounts=5, deposits=0)
        with pytest.raises(StoreUnavailableError, match="other workers insert the same rows all the time"):
            await processed(store, Subscribed(act))
        (status,) = await store.statuses()
    assert status.position("0").next_offset == 0


@pytest.mark.parametrize("bad", range(5))
async def test_the_event_of_a_row_that_fits_nowhere_is_found_wherever_it_is(tmp_path: Path, bad: int) -> None:
    class Skips(Projection[AccountRow], name="skips", key="account", on_error=OnError.skip()):
        @projects
        def opened(self, row: AccountRow | None, event: Opened, at: Recorded) -> AccountRow:
            return AccountRow(
                account=at.stream.id, owner=event.owner, balance=2**70 if at.stream.id in (str(bad), "3") else 0
            )

    async with opened(tmp_path, Skips, workers=False) as store:
        await fill(store, accounts=5, deposits=0)
        store.query_side.start_workers()
        await caught_up(store, Skips)
        rows = [int(row.account) for row in await store.read_model(Skips).all()]
    assert rows == [number for number in range(5) if number not in (bad, 3)]


async def test_a_shorter_batch_that_fails_earlier_halts_at_the_earlier_event(tmp_path: Path) -> None:
    def act(numbers: list[int]) -> None:
        if len(numbers) == 5:
            raise HandlerFailedError(3, ValueError("first three"))
        if len(numbers) == 3:
            raise HandlerFailedError(1, ValueError("then one"))

    async with opened(tmp_path, Accounts, workers=False) as store:
        await fill(store, accounts=5, deposits=0)
        subscriber = Subscribed(act)
        with pytest.raises(ProjectionFailedError, match=r"account-1 version 1.*then one"):
            await processed(store, subscriber)
        (status,) = await store.statuses()
    assert subscriber.applied == [0]
    assert status.position("0").event_count == 1


def failing(policy: OnError, tries: list[int]) -> type[Projection[AccountRow]]:
    class Failing(Projection[AccountRow], name="failing", key="account", on_error=policy):
        @projects
        def opened(self, row: AccountRow | None, event: Opened, at: Recorded) -> AccountRow:
            tries.append(1)
            raise ValueError("try", len(tries))

    return Failing


async def test_an_event_is_given_up_after_its_last_try_with_the_last_cause(tmp_path: Path) -> None:
    tries: list[int] = []
    projection = failing(OnError.dead_letter(attempts=3, backoff=0.001), tries)
    async with opened(tmp_path, projection) as store:
        await fill(store, accounts=1, deposits=0)
        await caught_up(store, projection)
        (letter,) = await store.dead_letters.list()
    assert (len(tries), letter.cause) == (3, "ValueError: ('try', 3)")


async def test_a_halt_that_is_tried_again_and_again_is_logged_once(tmp_path: Path, caplog: Any) -> None:
    tries: list[int] = []

    class Halting(Projection[AccountRow], name="halting", key="account"):
        @projects
        def opened(self, row: AccountRow | None, event: Opened, at: Recorded) -> AccountRow:
            tries.append(1)
            raise ValueError("always the same")

    async with opened(tmp_path, Halting) as store:
        await fill(store, accounts=1, deposits=0)

        def tried_often() -> bool:
            store.query_side.wake_workers()
            return len(tries) > 3

        await until(tried_often)
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1


async def test_an_idle_worker_keeps_its_position_beyond_the_lease(tmp_path: Path) -> None:
    async with opened(tmp_path, Accounts) as store:
        await fill(store, accounts=1, deposits=0)
        await caught_up(store, Accounts)
        await asyncio.sleep(0.8)  # the lease is 0.5 s
        assert await query_store_of(store).claim(Accounts.definition, "0", "rival", 60) is None


async def test_a_worker_whose_position_was_taken_stops_and_goes_on_when_it_is_free(tmp_path: Path, caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    async with opened(tmp_path, Accounts) as store:
        await fill(store, accounts=1, deposits=0)
        await caught_up(store, Accounts)
        taken = await query_store_of(store).claim(Accounts.definition, "0", "rival", 60, force=True)
        assert taken is not None
        await until(lambda: "another worker has taken over" in caplog.text)

        await query_store_of(store).release(taken)
        done = await store.execute(Account, "0", Deposit(amount=5))

        await store.wait_for(Accounts, done.token, timeout=5)


async def test_a_log_that_lost_its_newest_events_is_found_by_the_audit(tmp_path: Path) -> None:
    async with opened(tmp_path, Accounts) as store:
        await fill(store, accounts=3, deposits=0)
        await caught_up(store, Accounts)
    with closing(sqlite3.connect(tmp_path / "log.db")) as db, db:
        db.execute("DELETE FROM events WHERE position = 3")
    async with opened(tmp_path, Accounts, workers=False) as store:
        (result,) = await store.audit(Accounts)
    assert result.verdict == "1 events too many"


async def test_a_closed_log_ends_its_workers_without_an_error(tmp_path: Path, caplog: Any) -> None:
    async with opened(tmp_path, Accounts) as store:
        await fill(store, accounts=1, deposits=0)
        await caught_up(store, Accounts)
        await store.log.__aexit__(None, None, None)
        workers = store.query_side._background._tasks
        await until(lambda: all(worker.done() for worker in workers))
    assert caplog.text == ""


async def test_a_worker_that_is_woken_while_it_fails_tries_again_at_once(tmp_path: Path) -> None:
    tries: list[int] = []
    async with opened(tmp_path, Accounts, workers=False) as store:
        await fill(store, accounts=1, deposits=0)

        def act(numbers: list[int]) -> None:
            tries.append(1)
            store.query_side.wake_workers()
            if len(tries) == 1:
                raise HandlerFailedError(0, ValueError("not yet"))

        settings = WorkerSettings(retry=60)
        worker = Worker(store.query_side._surroundings, store.log, Subscribed(act), "0", "test", settings)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(worker.run(assigned=False))
            await until(lambda: len(tries) == 2)
            running.cancel()
