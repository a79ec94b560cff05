"""Read models pass over erased events, count them all the same, and keep their rows until they are rebuilt."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from eventstore import (
    EventStore,
    OnError,
    ProcessManager,
    Projection,
    ProjectionFailedError,
    Recorded,
    Settings,
    SqliteLog,
    projects,
)
from eventstore.core.streams import StreamId
from tests.read.shop import (
    Account,
    AccountRow,
    Accounts,
    Deposit,
    Deposited,
    Open,
    Opened,
    OwnerRow,
    Owners,
    caught_up,
    fill,
    opened,
    store_of,
)
from tests.read.test_processes import Bonus


class Picky(Projection[AccountRow], name="picky", key="account", on_error=OnError.dead_letter()):
    """Cannot process deposits of 13."""

    @projects
    def opened(self, row: AccountRow | None, event: Opened, at: Recorded) -> AccountRow:
        return AccountRow(account=at.stream.id, owner=event.owner)

    @projects
    def deposited(self, row: AccountRow, event: Deposited, at: Recorded) -> AccountRow:
        if event.amount == 13:
            message = f"{event.owner} is unlucky"
            raise ValueError(message)
        row.balance += event.amount
        return row


async def filled(path: Path, *amounts: int) -> None:
    """Write one account and nobody else's events."""
    async with opened(path) as store:
        await store.execute(Account, "1", Open(owner="ann"))
        for amount in amounts:
            await store.execute(Account, "1", Deposit(amount=amount))


async def test_a_new_read_model_shows_nothing_of_an_erased_event_and_its_audit_is_clean(tmp_path: Path) -> None:
    await filled(tmp_path, 1, 2, 4)
    async with opened(tmp_path, Owners) as store:
        await store.erase(Account, "1", 3)
    async with opened(tmp_path, Accounts) as store:
        await caught_up(store, Accounts)
        assert (await store.read_model(Accounts).get("1")).balance == 5  # type: ignore[union-attr]
        (audited,) = await store.audit(Accounts)
        assert (audited.clean, audited.log_count) == (True, 4)


async def test_what_was_projected_stays_until_a_rebuild_and_the_audit_stays_clean(tmp_path: Path) -> None:
    async with opened(tmp_path, Owners) as store:
        await fill(store, 3, 2)
        await caught_up(store, Owners)
        await store.erase(Account, "1", 2)
        assert (await store.read_model(Owners).get("owner-1")).total == 3  # type: ignore[union-attr]
        assert [result.clean for result in await store.audit()] == [True]
        preview = await store.preview(Owners)
        assert preview["owner-1",] == OwnerRow(owner="owner-1", accounts=1, total=2)
        assert (await store.preview(Owners, stream=StreamId("account", "1")))["owner-1",].total == 2  # type: ignore[attr-defined]


async def test_the_event_that_fails_is_found_behind_erased_ones(tmp_path: Path) -> None:
    await filled(tmp_path, 1, 2, 13, 4)
    async with opened(tmp_path) as store:
        await store.erase(Account, "1", 2)
        await store.erase(Account, "1", 3)
    async with opened(tmp_path, Picky) as store:
        await caught_up(store, Picky)
        (letter,) = await store.dead_letters.list()
        assert (letter.event_version, letter.cause) == (4, "ValueError: ann is unlucky")
        assert (await store.read_model(Picky).get("1")).balance == 4  # type: ignore[union-attr]
        assert [result.clean for result in await store.audit()] == [True]


async def test_a_dead_letter_of_an_erased_event_is_discarded_with_it(tmp_path: Path) -> None:
    await filled(tmp_path, 13, 13)
    async with opened(tmp_path, Picky) as store:
        await caught_up(store, Picky)
        assert len(await store.dead_letters.list()) == 2
        await store.erase(Account, "1", 2)
        assert [letter.event_version for letter in await store.dead_letters.list()] == [3]


async def test_a_dead_letter_whose_event_was_erased_elsewhere_is_retried_without_effect(tmp_path: Path) -> None:
    await filled(tmp_path, 13)
    async with opened(tmp_path, Picky) as store:
        await caught_up(store, Picky)
        (letter,) = await store.dead_letters.list()
        async with SqliteLog(tmp_path / "log.db") as log:
            await log.erase("account-1", 2)
        assert await store.dead_letters.retry(letter.id) == letter
        assert await store.dead_letters.list() == []


async def test_a_halted_read_model_goes_on_when_the_event_is_erased(tmp_path: Path) -> None:
    class Halts(Picky, name="halts", key="account", on_error=OnError.halt()):
        pass

    await filled(tmp_path, 13, 5)
    async with store_of(tmp_path, Halts) as store:
        with pytest.raises(ProjectionFailedError):
            await caught_up(store, Halts)
        await store.erase(Account, "1", 2)
        async with asyncio.timeout(10):
            while any(  # noqa: ASYNC110 - nothing tells when a failure is over
                position.failure for status in await store.statuses() for position in status.positions
            ):
                await asyncio.sleep(0.02)
        await caught_up(store, Halts)
        assert (await store.read_model(Halts).get("1")).balance == 5  # type: ignore[union-attr]


@pytest.mark.parametrize("erased", [True, False])
async def test_a_process_manager_does_not_react_to_an_erased_event(tmp_path: Path, *, erased: bool) -> None:
    def store_with(*processes: type[ProcessManager[None]]) -> EventStore:
        return EventStore(
            SqliteLog(tmp_path / "log.db"), aggregates=[Account], processes=processes, settings=Settings(lease=0.5)
        )

    async with store_with() as store:
        await store.execute(Account, "1", Open(owner="ann"))
        if erased:
            await store.erase(Account, "1", 1)
    async with store_with(Bonus) as store:
        token = await store.present()
        await store.query_side.wait_for(Bonus.definition, token, 10)
        assert (await store.load(Account, "1")).balance == (0 if erased else 10)
        assert [result.clean for result in await store.audit()] == [True]
