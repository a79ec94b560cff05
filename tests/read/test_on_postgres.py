"""The query side on a real PostgreSQL: the same behaviour, and nothing lost where two writers meet in one row."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from eventstore import Projection, ProjectionFailedError, RebuildOptions, Recorded, projects
from eventstore.core.checkpoints import Checkpoint
from eventstore.core.errors import OwnershipLostError, RowConflictError, StoreUnavailableError
from eventstore.environment import SystemClock
from eventstore.sql.store import SqlQueryStore
from tests.read.shop import Account, AccountRow, Accounts, Close, Opened, OwnerRow, Owners, caught_up, fill, opened
from tests.read.test_rebuild import RicherAccounts

pytestmark = pytest.mark.postgres


async def test_read_models_in_postgresql_show_what_was_committed(tmp_path: Path, postgres_database: str) -> None:
    async with opened(tmp_path, Accounts, Owners, query_store=postgres_database) as store:
        await fill(store, accounts=6, deposits=2)
        await store.execute(Account, "5", Close())
        await caught_up(store, Accounts)
        await caught_up(store, Owners)

        accounts = await store.read_model(Accounts).all()
        owners = await store.read_model(Owners).all()
        assert all(result.clean for result in await store.audit())

    assert accounts == [AccountRow(account=str(n), owner=f"owner-{n % 3}", balance=3) for n in range(5)]
    assert owners == [OwnerRow(owner=f"owner-{n}", accounts=2 - (n == 2), total=6) for n in range(3)]


async def test_a_version_in_postgresql_is_rebuilt_verified_and_switched(tmp_path: Path, postgres_database: str) -> None:
    async with opened(tmp_path, Accounts, query_store=postgres_database) as store:
        await fill(store, accounts=5, deposits=1)
        await caught_up(store, Accounts)
    async with opened(tmp_path, RicherAccounts, query_store=postgres_database) as store:
        refused = await store.rebuild(RicherAccounts)
        switched = await store.rebuild(RicherAccounts, RebuildOptions(expected=frozenset({"missing", "changed:owner"})))

    assert (refused.switched, switched.switched) == (False, True)
    assert refused.comparisons["accounts"].counts == {"changed:owner": 4, "missing": 1}


async def test_a_value_that_fits_no_column_of_postgresql_halts_at_its_event(
    tmp_path: Path, postgres_database: str
) -> None:
    class Big(Projection[AccountRow], name="big", key="account"):
        @projects
        def opened(self, row: AccountRow | None, event: Opened, at: Recorded) -> AccountRow:
            return AccountRow(account=at.stream.id, owner="\0" if at.stream.id == "2" else "fine")

    async with opened(tmp_path, Big, query_store=postgres_database) as store:
        await fill(store, accounts=4, deposits=0)

        with pytest.raises(ProjectionFailedError, match="account-2 version 1"):
            await caught_up(store, Big)
        assert [row.account for row in await store.read_model(Big).all()] == ["0", "1"]


def moved(position: Checkpoint, by: int = 1) -> Checkpoint:
    return position.after([], position.next_offset + by)


async def test_a_worker_that_stands_still_in_a_transaction_does_not_hold_up_the_one_that_takes_over(
    postgres_database: str,
) -> None:
    definition = Owners.definition
    async with (
        SqlQueryStore(postgres_database, clock=SystemClock(), standstill=0.3) as standing,
        SqlQueryStore(postgres_database, clock=SystemClock()) as other,
    ):
        await standing.register(definition, "log")
        position = await standing.claim(definition, "0", "zombie", 60)
        assert position is not None
        with pytest.raises(StoreUnavailableError):
            async with standing.transaction() as transaction:
                await transaction.write(definition, {("ann",): OwnerRow(owner="ann")})
                await transaction.advance(position, moved(position))
                async with asyncio.timeout(5):
                    taken = await other.claim(definition, "0", "successor", 60, force=True)
        assert taken is not None
        assert (taken.next_offset, await other.rows(definition, None, 10)) == (0, [])


async def test_taking_over_by_force_ends_what_the_former_owner_has_begun_and_does_not_go_on_with(
    postgres_database: str,
) -> None:
    definition = Owners.definition
    async with (
        SqlQueryStore(postgres_database, clock=SystemClock(), name="zombie") as standing,
        SqlQueryStore(postgres_database, clock=SystemClock(), name="other") as other,
    ):
        await standing.register(definition, "log")
        position = await standing.claim(definition, "0", "zombie/rebuild", 60)
        assert position is not None
        with pytest.raises(StoreUnavailableError):
            async with standing.transaction() as transaction:
                await transaction.write(definition, {("ann",): OwnerRow(owner="ann")})
                await transaction.advance(position, moved(position))
                await asyncio.sleep(1.1)  # it stands still
                async with asyncio.timeout(5):
                    taken = await other.claim(definition, "0", "other", 60, force=True)
        assert taken is not None
        assert (taken.next_offset, await other.rows(definition, None, 10)) == (0, [])


async def test_two_partitions_that_fold_into_one_row_lose_nothing(postgres_database: str) -> None:
    definition = Owners.definition
    async with SqlQueryStore(postgres_database, clock=SystemClock()) as store:
        await store.register(definition, "log")

        async def count(partition: str) -> int:
            conflicts = 0
            for _ in range(50):
                position = await store.claim(definition, partition, f"worker-{partition}", 10)
                assert position is not None
                while True:
                    try:
                        async with store.transaction() as transaction:
                            keys = [("ann",), ("ben",)] if partition == "0" else [("ben",), ("ann",)]
                            rows = await transaction.rows(definition, keys)
                            changes = {key: rows.get(key) or OwnerRow(owner=str(key[0])) for key in keys}
                            for row in changes.values():
                                row.total += 1
                            await transaction.write(definition, changes)
                            await transaction.advance(position, moved(position))
                    except RowConflictError:
                        conflicts += 1
                        continue
                    break
            return conflicts

        await asyncio.gather(count("0"), count("1"))
        rows = await store.rows(definition, None, 10)

    assert [row.total for row in rows] == [100, 100]


async def test_a_zombie_worker_rolls_back(postgres_database: str) -> None:
    definition = Owners.definition
    async with SqlQueryStore(postgres_database, clock=SystemClock()) as store:
        await store.register(definition, "log")
        position = await store.claim(definition, "0", "zombie", 10)
        assert position is not None
        await store.claim(definition, "0", "successor", 10, force=True)

        with pytest.raises(OwnershipLostError, match="no longer moved by zombie"):
            async with store.transaction() as transaction:
                await transaction.rows(definition, [("ann",)])
                await transaction.write(definition, {("ann",): OwnerRow(owner="ann")})
                await transaction.advance(position, moved(position))

        assert await store.rows(definition, None, 10) == []
