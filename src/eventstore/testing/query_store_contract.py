"""The contract of query stores: subclass `QueryStoreContract`, say how to open one, and let pytest run it."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from eventstore.core.checkpoints import Checkpoint, DeadLetter, Failure
from eventstore.core.completeness import EMPTY_HASH
from eventstore.core.definitions import SubscriptionDefinition
from eventstore.core.errors import ConfigurationError, OwnershipLostError
from eventstore.core.reactions import Deadline
from eventstore.core.rebuilds import RebuildStatus, Span
from eventstore.core.rows import Key, Row
from eventstore.ports import Move, QueryStore


class Count(Row):
    """A row with a key of two columns."""

    shop: str
    day: int
    total: int = 0


VERSION_1 = SubscriptionDefinition("counts", 1, "code", frozenset({"sold"}), row=Count, key=("shop", "day"))
VERSION_2 = replace(VERSION_1, version=2)
KEY = ("north", 1)


def codes(row: Row) -> tuple[str, int]:
    """Give a row's key."""
    assert isinstance(row, Count)
    return row.shop, row.day


def rebuild_by(runner: str) -> RebuildStatus:
    """Give a rebuild that runs."""
    since = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    return RebuildStatus(runner, since, True, "building", True, {"0": Span(3, 9, 5)}, 100, throttle=2.5, cpu_share=0.5)


class QueryStoreContract:
    """What every query store promises in `eventstore.ports`; each test is one promise."""

    def open_store(self) -> AbstractAsyncContextManager[QueryStore]:
        """Give the query store to test, empty the first time, with what was written before the next time."""
        raise NotImplementedError

    async def claimed(self, store: QueryStore, owner: str = "worker") -> Checkpoint:
        """Register version 1 and claim its position."""
        await store.register(VERSION_1, "log")
        position = await store.claim(VERSION_1, "0", owner, 60, force=True)
        assert position is not None
        return position

    async def write(self, store: QueryStore, position: Checkpoint, *rows: Count) -> Checkpoint:
        """Write rows and move the position by one."""
        after = position.after([], position.next_offset + 1)
        async with store.transaction() as transaction:
            keys = [(row.shop, row.day) for row in rows]
            await transaction.rows(VERSION_1, keys)
            await transaction.write(VERSION_1, dict(zip(keys, rows, strict=True)))
            await transaction.advance(position, after)
        return after

    async def test_the_first_version_is_live_and_the_second_is_built_beside_it(self) -> None:
        async with self.open_store() as store:
            first = await store.register(VERSION_1, "log")
            second = await store.register(VERSION_2, "log")
        assert (first.state, second.state) == ("live", "building")

    async def test_registering_again_changes_nothing(self) -> None:
        async with self.open_store() as store:
            position = await self.claimed(store)
            await self.write(store, position, Count(shop="north", day=1))
        async with self.open_store() as store:
            status = await store.register(VERSION_1, "log")
            assert status.position("0").next_offset == 1
            assert len(await store.rows(VERSION_1, None, 10)) == 1

    async def test_changed_code_or_another_log_is_refused(self) -> None:
        async with self.open_store() as store:
            await store.register(VERSION_1, "log")
            with pytest.raises(ConfigurationError, match="version=2"):
                await store.register(replace(VERSION_1, fingerprint="other"), "log")
            with pytest.raises(ConfigurationError, match="another event log"):
                await store.register(VERSION_1, "another log")
            await store.accept(replace(VERSION_1, fingerprint="other"))
            await store.register(replace(VERSION_1, fingerprint="other"), "log")

    async def test_a_claim_that_is_cancelled_at_any_moment_leaves_the_position_to_others(self) -> None:
        async with self.open_store() as store:
            await store.register(VERSION_1, "log")
            for steps in range(40):
                claiming = asyncio.ensure_future(store.claim(VERSION_1, "0", f"gone-{steps}", 60))
                for _ in range(steps):
                    await asyncio.sleep(0.0002)
                claiming.cancel()
                (gone,) = await asyncio.gather(claiming, return_exceptions=True)
                if isinstance(gone, Checkpoint):
                    await store.release(gone)
                (status,) = await store.statuses("counts")
                assert status.position("0").owner == ""

    async def test_rows_and_position_are_written_together(self) -> None:
        async with self.open_store() as store:
            position = await self.claimed(store)
            await self.write(store, position, Count(shop="north", day=1, total=5), Count(shop="south", day=1))
        async with self.open_store() as store:
            assert await store.row(VERSION_1, KEY) == Count(shop="north", day=1, total=5)
            (status,) = await store.statuses("counts")
        assert status.position("0").next_offset == 1

    async def test_a_transaction_that_fails_leaves_nothing(self) -> None:
        async with self.open_store() as store:
            position = await self.claimed(store)
            with pytest.raises(ZeroDivisionError):
                async with store.transaction() as transaction:
                    await transaction.write(VERSION_1, {KEY: Count(shop="north", day=1)})
                    await transaction.advance(position, position.after([], 9))
                    raise ZeroDivisionError
            (status,) = await store.statuses()
            assert await store.rows(VERSION_1, None, 10) == []
        assert status.position("0").next_offset == 0

    async def test_rows_are_replaced_and_deleted(self) -> None:
        async with self.open_store() as store:
            position = await self.claimed(store)
            position = await self.write(store, position, *(Count(shop=s, day=1, total=1) for s in "abc"))
            async with store.transaction() as transaction:
                found = await transaction.rows(VERSION_1, [("a", 1), ("b", 1), ("x", 1)])
                changes: dict[Key, Row | None] = {
                    ("a", 1): Count(shop="a", day=1, total=2),
                    ("b", 1): None,
                    ("x", 1): None,
                }
                await transaction.write(VERSION_1, changes)
                await transaction.advance(position, position.after([], 2))
            rows = await store.rows(VERSION_1, None, 10)
        assert found.keys() == {("a", 1), ("b", 1)}
        assert rows == [Count(shop="a", day=1, total=2), Count(shop="c", day=1, total=1)]

    async def test_rows_come_in_key_order_page_by_page(self) -> None:
        async with self.open_store() as store:
            position = await self.claimed(store)
            shops = ["Z", "a", "é", "B", "~", "10", "9", ""]
            await self.write(store, position, *(Count(shop=shop, day=day) for shop in shops for day in (2, 10, -1)))
            expected = sorted((shop, day) for shop in shops for day in (2, 10, -1))
            found = [codes(row) for row in await store.rows(VERSION_1, None, 5)]
            found += [codes(row) for row in await store.rows(VERSION_1, found[-1], 100)]
            async with store.snapshot() as reader:
                raw = await reader.raw_page("counts", 1, "counts", ("B", 2), 3)
        assert found == expected
        assert [(row["shop"], row["day"]) for row in raw] == expected[expected.index(("B", 2)) + 1 :][:3]

    async def test_a_zombie_cannot_write(self) -> None:
        async with self.open_store() as store:
            zombie = await self.claimed(store, "zombie")
            successor = await self.claimed(store, "successor")
            with pytest.raises(OwnershipLostError):
                await self.write(store, zombie, Count(shop="north", day=1))
            await self.write(store, successor, Count(shop="south", day=1))
            assert [row.model_dump()["shop"] for row in await store.rows(VERSION_1, None, 10)] == ["south"]

    async def test_an_outdated_position_of_the_same_owner_cannot_write(self) -> None:
        async with self.open_store() as store:
            position = await self.claimed(store)
            await self.write(store, position, Count(shop="north", day=1))
            with pytest.raises(OwnershipLostError):
                await self.write(store, position, Count(shop="north", day=1, total=2))

    async def test_a_position_is_claimed_by_one_until_it_is_released_or_its_lease_ends(self) -> None:
        async with self.open_store() as store:
            await store.register(VERSION_1, "log")
            first = await store.claim(VERSION_1, "0", "first", 60)
            assert first == Checkpoint("counts", 1, "0", 0, 0, EMPTY_HASH, "first")
            assert await store.claim(VERSION_1, "0", "second", 60) is None
            assert await store.claim(VERSION_1, "1", "second", 60) is not None
            assert first is not None
            await store.release(first)
            assert await store.claim(VERSION_1, "0", "second", 0) is not None
            assert await store.claim(VERSION_1, "0", "third", 60) is not None

    async def test_a_failure_is_shown_until_it_is_over(self) -> None:
        failure = Failure("an event", "a cause", "a remedy", datetime(2026, 1, 1, tzinfo=UTC))
        async with self.open_store() as store:
            position = await self.claimed(store)
            await store.report(position, failure)
            (shown,) = await store.statuses("counts")
            await store.report(position, None)
            (over,) = await store.statuses("counts")
        assert (shown.positions[0].failure, over.positions[0].failure) == (failure, None)

    async def test_what_another_process_commits_is_told_and_what_it_rolls_back_is_not(self) -> None:
        async with self.open_store() as store, self.open_store() as other:
            position = await self.claimed(other)
            async with aclosing(store.changes()) as changes, asyncio.timeout(3):
                assert await anext(changes) is None
                with pytest.raises(ZeroDivisionError):
                    async with other.transaction() as transaction:
                        await transaction.advance(position, position.after([], 9))
                        raise ZeroDivisionError
                position = await self.write(other, position, Count(shop="north", day=1))
                assert await anext(changes) == Move("counts", 1, "0", 1)
                for day in (2, 3):
                    position = await self.write(other, position, Count(shop="north", day=day))
                async for move in changes:
                    assert move is not None
                    if move.next_offset == 3:
                        break

    async def test_a_failure_a_switch_and_a_drop_are_to_be_looked_at(self) -> None:
        failure = Failure("an event", "a cause", "a remedy", datetime(2026, 1, 1, tzinfo=UTC))
        async with self.open_store() as store, self.open_store() as other:
            position = await self.claimed(other)
            async with aclosing(store.changes()) as changes, asyncio.timeout(3):
                assert await anext(changes) is None
                for act in (
                    other.report(position, failure),
                    other.report(position, None),
                    other.register(VERSION_2, "log"),
                    other.switch(VERSION_2, None),
                    other.drop("counts", 1),
                ):
                    await act
                    assert await anext(changes) is None

    async def test_a_switch_waits_for_nobody_and_never_goes_back_behind(self) -> None:
        async with self.open_store() as store:
            position = await self.claimed(store)
            await store.register(VERSION_2, "log")
            await self.write(store, position, Count(shop="north", day=1))
            with pytest.raises(OwnershipLostError, match="moved on"):
                await store.switch(VERSION_2, {"0": 0})
            await store.switch(VERSION_2, {"0": 1})
            states = {status.version: status.state for status in await store.statuses()}
            with pytest.raises(ConfigurationError):
                await store.drop("counts", 2)
            await store.drop("counts", 1)
            left = [status.version for status in await store.statuses()]
        assert (states, left) == ({1: "retired", 2: "live"}, [2])

    async def test_a_snapshot_stays_at_its_moment(self) -> None:
        async with self.open_store() as store:
            position = await self.claimed(store)
            position = await self.write(store, position, Count(shop="north", day=1))
            async with store.snapshot() as reader:
                await self.write(store, position, Count(shop="south", day=1))
                rows = await reader.raw_page("counts", 1, "counts", None, 10)
                seen = await reader.checkpoints("counts", 1)
                assert await reader.relations("counts", 1) == {"counts": ("shop", "day")}
        assert ([row["shop"] for row in rows], seen["0"].next_offset) == (["north"], 1)

    async def test_deadlines_are_given_when_they_have_passed_the_oldest_first(self) -> None:
        noon = datetime(2026, 1, 1, 12, tzinfo=UTC)

        def deadline(shop: str, minutes: int, partition: str = "0") -> Deadline:
            return Deadline((shop, 1), noon + timedelta(minutes=minutes), partition, UUID(int=minutes), UUID(int=7))

        async with self.open_store() as store:
            await self.claimed(store)
            first, second, third = deadline("é", 1), deadline("a", 2), deadline("b", 3)
            async with store.transaction() as transaction:
                wanted = (second, first, third, deadline("gone", 0), deadline("elsewhere", 1, "1"))
                await transaction.set_deadlines(VERSION_1, {one.key: one for one in wanted})
            async with store.transaction() as transaction:
                later = third._replace(due=noon + timedelta(days=1))
                await transaction.set_deadlines(VERSION_1, {("b", 1): later, ("gone", 1): None, ("never", 1): None})
            with pytest.raises(ZeroDivisionError):
                async with store.transaction() as transaction:
                    await transaction.set_deadlines(VERSION_1, {("a", 1): None})
                    raise ZeroDivisionError
            at = noon + timedelta(minutes=3)
            assert await store.deadlines(VERSION_1, "0", at, 10) == [first, second]
            assert await store.deadlines(VERSION_1, "0", at, 1) == [first]
            assert await store.deadlines(VERSION_1, "0", noon + timedelta(minutes=1), 10) == [first]
            await store.register(VERSION_2, "log")
            assert await store.deadlines(VERSION_2, "0", at, 10) == []
            await store.switch(VERSION_2, None)
            await store.drop("counts", 1)
            await store.register(VERSION_1, "log")
            assert await store.deadlines(VERSION_1, "0", at, 10) == []

    async def test_a_letter_is_parked_once_and_discarded_once(self) -> None:
        letter = DeadLetter(0, "counts", 1, "0", 7, "shop-1", 3, "sold", "why", datetime(2026, 1, 1, tzinfo=UTC))
        async with self.open_store() as store:
            await self.claimed(store)
            for _ in range(2):
                async with store.transaction() as transaction:
                    await transaction.park(letter)
            (kept,) = await store.dead_letters("counts")
            async with store.transaction() as transaction:
                await transaction.discard(kept.id)
            with pytest.raises(OwnershipLostError):
                async with store.transaction() as transaction:
                    await transaction.discard(kept.id)
            assert await store.dead_letters() == []
        assert replace(kept, id=0) == letter

    async def test_one_process_at_a_time_rebuilds_a_version_and_everybody_sees_how_it_stands(self) -> None:
        async with self.open_store() as store:
            await store.register(VERSION_1, "log")
            await store.register(VERSION_2, "log")
            first = rebuild_by("first")
            await store.hold_rebuild(VERSION_2, first, 60)
            with pytest.raises(
                OwnershipLostError, match="counts v2 is being rebuilt by first since 2026-01-02 03:04:05"
            ):
                await store.hold_rebuild(VERSION_2, rebuild_by("second"), 60)
            further = replace(first, phase="verifying", shared=False, rate=7.5)
            await store.hold_rebuild(VERSION_2, further, 60)
            shown = [status.rebuild for status in await store.statuses("counts")]
            assert shown == [None, further]

    async def test_a_rebuild_that_was_let_go_or_gave_no_sign_of_life_can_be_taken_over(self) -> None:
        async with self.open_store() as store:
            await store.register(VERSION_1, "log")
            await store.register(VERSION_2, "log")
            await store.hold_rebuild(VERSION_2, rebuild_by("first"), 60)
            await store.let_go_rebuild(VERSION_2, "first")
            assert [s.rebuild.running for s in await store.statuses() if s.rebuild] == [False]
            await store.hold_rebuild(VERSION_2, rebuild_by("second"), 0.01)
            await store.let_go_rebuild(VERSION_2, "first")  # it is no longer the first's
            await asyncio.sleep(0.02)
            await store.hold_rebuild(VERSION_2, rebuild_by("third"), 60)
            assert [s.rebuild.runner for s in await store.statuses() if s.rebuild] == ["third"]
            await store.drop("counts", 2)
            await store.register(VERSION_2, "log")
            assert [status.rebuild for status in await store.statuses()] == [None, None]
