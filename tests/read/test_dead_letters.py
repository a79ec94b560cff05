"""Parking and retrying in unusual situations: several partitions, workers at work, events that are gone."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest

from eventstore import (
    ConfigurationError,
    EventStore,
    OnError,
    Projection,
    ProjectionFailedError,
    Recorded,
    Settings,
    projects,
)
from eventstore.core.errors import CorruptLogError, OwnershipLostError
from eventstore.testing.memory import MemoryLog
from tests.read.shop import Account, AccountRow, Open, Opened, caught_up, fill, opened


class Halts(Projection[AccountRow], name="halts", key="account"):
    @projects
    def opened(self, row: AccountRow | None, event: Opened, at: Recorded) -> AccountRow:
        raise ValueError("no")


class Parks(Projection[AccountRow], name="parks", key="account", on_error=OnError.dead_letter()):
    @projects
    def opened(self, row: AccountRow | None, event: Opened, at: Recorded) -> AccountRow:
        raise ValueError("no")


def delete_events(path: Path) -> None:
    with closing(sqlite3.connect(path / "log.db")) as db, db:
        db.execute("DELETE FROM events")


async def halted(store: EventStore, accounts: Iterable[str]) -> None:
    for name in accounts:
        done = await store.execute(Account, name, Open(owner="ann"))
        with pytest.raises(ProjectionFailedError):
            await store.wait_for(Halts, done.token)


async def test_an_event_of_one_of_several_halted_partitions_is_parked_by_its_name(tmp_path: Path) -> None:
    log = MemoryLog(partitions=2)
    names = {log.partition_of(f"account-{name}"): name for name in "abcdefgh"}

    def store_of(*, workers: bool) -> EventStore:
        settings, where = Settings(lease=0.5, workers=workers), str(tmp_path / "read.db")
        return EventStore(log, aggregates=[Account], projections=[Halts], query_store=where, settings=settings)

    async with store_of(workers=True) as store:
        await halted(store, names.values())
    async with store_of(workers=False) as store:
        with pytest.raises(ConfigurationError, match="is halted in partitions p0, p1: name one"):
            await store.dead_letters.park("halts")
        letter = await store.dead_letters.park("halts", "p1")
        token = (await store.execute(Account, names["p1"], Open(owner="ann"))).token
        store.query_side.start_workers()
        await store.wait_for(Halts, token)
    assert (letter.partition, letter.stream, letter.cause) == ("p1", f"account-{names['p1']}", "ValueError: no")


async def test_a_partition_that_is_not_halted_is_named(tmp_path: Path) -> None:
    async with opened(tmp_path, Halts) as store:
        with pytest.raises(ConfigurationError, match="halts v1 is not halted in partition 7: there is nothing to park"):
            await store.dead_letters.park("halts", "7")


async def test_an_event_that_a_worker_is_just_trying_is_not_parked(tmp_path: Path) -> None:
    async with opened(tmp_path, Halts, workers=False) as other:
        async with opened(tmp_path, Halts) as store:
            await halted(store, "a")
        assert other._opened_query_store is not None
        assert await other._opened_query_store.claim(Halts.definition, "0", "somebody", 60)
        with pytest.raises(OwnershipLostError, match="a worker is just trying partition 0 again; repeat"):
            await other.dead_letters.park("halts")


async def test_an_event_that_is_gone_from_the_log_cannot_be_parked(tmp_path: Path) -> None:
    async with opened(tmp_path, Halts) as store:
        await halted(store, "a")
    delete_events(tmp_path)
    async with opened(tmp_path, Halts, workers=False) as store:
        with pytest.raises(ConfigurationError, match="has processed the whole log: there is nothing to park"):
            await store.dead_letters.park("halts")


async def test_a_letter_whose_event_is_gone_can_only_be_discarded(tmp_path: Path) -> None:
    async with opened(tmp_path, Parks) as store:
        await fill(store, accounts=1, deposits=0)
        await caught_up(store, Parks)
    delete_events(tmp_path)
    async with opened(tmp_path, Parks, workers=False) as store:
        (letter,) = await store.dead_letters.list()
        with pytest.raises(CorruptLogError, match="no event at offset 1 of partition 0: discard the letter"):
            await store.dead_letters.retry(letter.id)
        await store.dead_letters.discard(letter.id)
        assert await store.dead_letters.list() == []
