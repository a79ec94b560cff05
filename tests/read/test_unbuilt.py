"""Whoever reads a row of a version that is being built gets what it will be, however far the build is."""

from __future__ import annotations

import asyncio
from pathlib import Path

from eventstore import EventStore, Projection, RebuildOptions, Recorded, Row, projects
from tests.read.shop import Account, AccountRow, Accounts, Deposit, Deposited, Opened, caught_up, fill, opened


class TotalRow(Row):
    account: str
    total: int = 0


class Totals(Projection[TotalRow], name="accounts", version=2, key="account"):
    """What was ever deposited."""

    @projects
    def opened(self, row: TotalRow | None, event: Opened, at: Recorded) -> TotalRow:
        return TotalRow(account=at.stream.id)

    @projects
    def deposited(self, row: TotalRow, event: Deposited, at: Recorded) -> TotalRow:
        return TotalRow(account=row.account, total=row.total + event.amount)


class ByOwner(Projection[AccountRow], name="accounts", version=2, key="account"):
    """Keyed by what only the events say."""

    @projects(key="owner")
    def opened(self, row: AccountRow | None, event: Opened, at: Recorded) -> AccountRow:
        return AccountRow(account=event.owner, owner=event.owner)


async def total(store: EventStore, account: str) -> int | None:
    row = await store.read_model(Totals).get(account)
    return None if row is None else row.total


async def test_a_row_that_is_not_built_yet_is_folded_from_its_stream(tmp_path: Path) -> None:
    async with opened(tmp_path, Accounts) as store:
        await fill(store, accounts=3, deposits=4)
        await caught_up(store, Accounts)
    async with opened(tmp_path, Totals) as store:
        expected = {key[0]: row.total for key, row in (await store.preview(Totals)).items()}
        assert {account: await total(store, account) for account in expected} == expected
        assert await total(store, "nobody") is None
        assert await store.read_model(Totals).all() == []


async def test_a_row_that_other_streams_may_lead_to_is_what_has_been_built(tmp_path: Path) -> None:
    async with opened(tmp_path, Accounts) as store:
        await fill(store, accounts=3, deposits=1)
        await caught_up(store, Accounts)
    async with opened(tmp_path, ByOwner) as store:
        assert await store.read_model(ByOwner).get("owner-1") is None


async def test_readers_see_every_acknowledged_deposit_while_a_version_is_built(tmp_path: Path) -> None:
    async with opened(tmp_path, Accounts) as store:
        await fill(store, accounts=5, deposits=40)
        await caught_up(store, Accounts)
    async with opened(tmp_path, Totals) as store:
        known = {str(n): await total(store, str(n)) for n in range(5)}
        switched = asyncio.Event()

        async def build() -> None:
            await store.rebuild(Totals, RebuildOptions(verify=False, throttle=200, batch_size=10))
            switched.set()

        async def deposit_and_read(account: str) -> int:
            rounds = 0
            while not switched.is_set():
                done = await store.execute(Account, account, Deposit(amount=1))
                before = known[account]
                assert before is not None
                known[account] = before + 1
                seen = await total(store, account)
                if seen != known[account]:  # only once it is built: then a token says what a reader has to wait for
                    states = {status.version: status.state for status in await store.statuses()}
                    assert states == {1: "retired", 2: "live"}
                    await store.wait_for(Totals, done.token)
                    seen = await total(store, account)
                assert seen == known[account]
                rounds += 1
            return rounds

        async with asyncio.TaskGroup() as group:
            group.create_task(build())
            readers = [group.create_task(deposit_and_read(str(n))) for n in range(5)]
        assert min(reader.result() for reader in readers) > 3
