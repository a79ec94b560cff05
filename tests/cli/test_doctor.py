"""What the doctor says about the query store, disks and clocks, each fault made for real."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from eventstore import EventStore, Settings, SqliteLog
from eventstore.cli.database import examine_database
from eventstore.cli.findings import Finding, Limits
from eventstore.environment import Environment, SystemClock
from eventstore.testing.postgres import PostgresServer, fresh_database
from examples.task_domain.aggregates import Task
from examples.task_domain.read_models import TaskBoard, Workload
from tests.cli.conftest import Cli

LIMITS = Limits(free_bytes=0, skew_seconds=1)


def found(cli: Cli, *options: str) -> Mapping[str, tuple[str, str]]:
    rows = [json.loads(line) for line in cli("--json", "doctor", *options).stdout.splitlines()]
    return {row["check"]: (row["result"], row["found"]) for row in rows}


def test_a_disk_with_too_little_room_is_told_with_what_to_do(cli: Cli) -> None:
    result, text = found(cli, "--min-free", "1000000")["disk"]
    assert (result, "make room" in text) == ("warn", True)


def test_a_read_model_that_nobody_moves_is_told(cli: Cli, database: Path) -> None:
    with closing(sqlite3.connect(database)) as db, db:
        db.execute(
            "INSERT INTO events SELECT 15, 'task-late', 1, event_type, 1, zeroblob(16), zeroblob(16), 1, 1, occurred_at - 60000000, "
            "envelope FROM events WHERE position = 1"
        )
    with closing(sqlite3.connect(database.with_suffix(".read.db"))) as db, db:
        db.execute("UPDATE eventstore_checkpoints SET moved_at = moved_at - 60000000")
    assert found(cli)["workload"] == (
        "warn", "v1 partition 0 is 1 events behind, and nobody moves it: start eventstore worker"
    )  # fmt: skip


def test_a_table_that_somebody_changed_is_told(cli: Cli, database: Path) -> None:
    with closing(sqlite3.connect(database.with_suffix(".read.db"))) as db, db:
        db.execute("ALTER TABLE workload_v1 RENAME COLUMN open_tasks TO opened")
    result, text = found(cli)["query store"]
    assert (result, "the table workload_v1 has no column open_tasks" in text) == ("fail", True)


@pytest.fixture(scope="module")
def server() -> Generator[PostgresServer]:
    started = PostgresServer.start({"wal_level": "logical"})
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture
async def url(server: PostgresServer) -> AsyncGenerator[str]:
    async with fresh_database(server.url) as fresh:
        yield fresh


class Late(SystemClock):
    """A clock that somebody set back."""

    def now(self) -> datetime:
        return super().now() - timedelta(hours=1)


def store(where: str, path: Path, environment: Environment | None = None) -> EventStore:
    settings = Settings(environment=environment or Environment())
    return EventStore(
        SqliteLog(path / "log.db"),
        aggregates=[Task],
        projections=[TaskBoard, Workload],
        query_store=where,
        settings=settings,
    )


async def examined(where: str, path: Path, environment: Environment | None = None) -> list[Finding]:
    return [finding async for finding in examine_database(store(where, path, environment), LIMITS)]


async def execute(url: str, *statements: str) -> None:
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection:
            for statement in statements:
                await connection.execute(text(statement))
    finally:
        await engine.dispose()


@pytest.mark.postgres
async def test_a_sound_database_is_fine(url: str, tmp_path: Path) -> None:
    async with store(url, tmp_path):
        pass
    (finding,) = await examined(url, tmp_path)
    assert (finding.result, "PostgreSQL" in finding.found) == ("ok", True)


@pytest.mark.postgres
async def test_a_database_out_of_reach_is_told(tmp_path: Path) -> None:
    (finding,) = await examined("postgresql://nobody@127.0.0.1:1/nowhere", tmp_path)
    assert (finding.result, "opening the query store failed" in finding.found) == ("fail", True)


@pytest.mark.postgres
async def test_a_database_that_takes_no_writes_is_told(url: str, tmp_path: Path) -> None:
    async with store(url, tmp_path):
        pass
    await execute(url, f"ALTER DATABASE {make_url(url).database} SET default_transaction_read_only = on")
    (finding,) = await examined(url, tmp_path)
    assert (finding.result, "takes no writes" in finding.found) == ("fail", True)


@pytest.mark.postgres
async def test_a_database_whose_clock_differs_is_told(url: str, tmp_path: Path) -> None:
    (finding,) = await examined(url, tmp_path, Environment(clock=Late()))
    assert (finding.result, bool(re.search(r"3,(600.0|59\d.\d) s ahead of this machine's", finding.found))) == (
        "warn",
        True,
    )


@pytest.mark.postgres
async def test_a_missing_table_is_told(url: str, tmp_path: Path) -> None:
    async with store(url, tmp_path):
        pass
    await execute(url, "DROP TABLE workload_v1 CASCADE")
    (finding,) = await examined(url, tmp_path)
    assert (finding.result, "the table workload_v1 is missing" in finding.found) == ("fail", True)


@pytest.mark.postgres
async def test_a_slot_that_nobody_reads_is_told(url: str, tmp_path: Path) -> None:
    await execute(url, "SELECT pg_create_logical_replication_slot('shop_outbox', 'pgoutput')")
    try:
        _, slot = await examined(url, tmp_path)
        assert (slot.result, slot.check) == ("warn", "slot shop_outbox")
        assert "nobody reads it" in slot.found
    finally:
        await execute(url, "SELECT pg_drop_replication_slot('shop_outbox')")
