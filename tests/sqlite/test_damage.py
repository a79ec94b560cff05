"""Damage that SQLite itself does not see, and snapshots that cannot be written."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from eventstore import EventStore, SqliteLog
from eventstore.core.errors import CorruptLogError
from eventstore.core.records import Snapshot
from eventstore.testing.log_contract import commit_of
from tests.write.domain import Count, Counter


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    path = tmp_path / "log.db"
    async with EventStore(SqliteLog(path), aggregates=[Counter]) as store:
        await store.execute(Counter, "a", Count())
    return path


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(statement)


async def test_a_log_that_lost_its_identity_is_not_opened(path: Path) -> None:
    change(path, "DELETE FROM meta WHERE name = 'log_id'")
    with pytest.raises(CorruptLogError, match="log.db has lost its identity"):
        async with SqliteLog(path):
            pass


async def test_text_that_is_no_text_is_reported_as_damage(path: Path) -> None:
    change(path, "UPDATE events SET event_type = CAST(x'ff' AS TEXT)")
    async with EventStore(SqliteLog(path), aggregates=[Counter]) as store:
        with pytest.raises(CorruptLogError, match="a stored text is not UTF-8: the file is damaged, restore a backup"):
            await store.load(Counter, "a")


async def test_a_snapshot_that_cannot_be_written_leaves_the_log_usable(path: Path) -> None:
    change(path, "CREATE TRIGGER no BEFORE INSERT ON snapshots BEGIN SELECT raise(ABORT, 'no room'); END")
    async with SqliteLog(path) as log:
        with pytest.raises(CorruptLogError, match=r"writing a snapshot failed .*no room"):
            await log.write_snapshots({"counter-a": Snapshot(1, 1, "code", b"{}")})
        assert len(await log.commit("0", [commit_of("counter-a", 1)])) == 1
