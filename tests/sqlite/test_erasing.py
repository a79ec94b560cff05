"""What is erased from a file is gone from all of it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from eventstore.core.errors import LogUnavailableError
from eventstore.core.records import Snapshot
from eventstore.sqlite import SqliteLog
from eventstore.testing.log_contract import commit_of

CANARY = b"call me on 555-0199"


def holds_canary(path: Path) -> list[str]:
    return [file.name for file in sorted(path.parent.glob(f"{path.name}*")) if CANARY in file.read_bytes()]


async def write_canary(log: SqliteLog, times: int = 1) -> None:
    commit = commit_of("task-1", 0, 3)
    events = tuple(event._replace(envelope=event.envelope + CANARY * times) for event in commit.events)
    await log.commit("0", [commit._replace(events=(commit.events[0], events[1], commit.events[2]))])


@pytest.mark.parametrize("times", [1, 2000])
async def test_nothing_of_an_erased_event_is_left_in_any_file(tmp_path: Path, times: int) -> None:
    path = tmp_path / "log.db"
    async with SqliteLog(path) as log:
        await write_canary(log, times)
        await log.write_snapshots({"task-1": Snapshot(1, 1, "f", CANARY * 2)})
        await log.write_snapshots({"task-1": Snapshot(3, 1, "f", CANARY * times)})
        assert holds_canary(path)
        assert await log.erase("task-1", 2)
        assert holds_canary(path) == []
    assert holds_canary(path) == []


async def test_a_reader_that_keeps_the_write_ahead_log_is_reported_and_repeating_helps(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    async with SqliteLog(path, busy_timeout=0.05) as log:
        await write_canary(log)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN")
            other.execute("SELECT count(*) FROM events").fetchone()
            with pytest.raises(LogUnavailableError, match="write-ahead log still holds the data: repeat"):
                await log.erase("task-1", 2)
            assert holds_canary(path)
        assert await log.erase("task-1", 2)
        assert holds_canary(path) == []
