"""Bad files, full disks, locks, and commits whose outcome SQLite did not tell."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from eventstore import ConfigurationError, EventStore, SqliteLog
from eventstore.core.errors import (
    AppendOutcomeUnknownError,
    CorruptLogError,
    EventSchemaError,
    LogUnavailableError,
)
from eventstore.ports import Appended, StreamQuery
from eventstore.sqlite.committing import GroupWriter
from eventstore.sqlite.schema import create_or_check
from eventstore.testing.log_contract import commit_of
from tests.write.domain import Count, Counter

IS_ROOT = os.geteuid() == 0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


async def write(path: Path, events: int = 1) -> None:
    async with EventStore(SqliteLog(path), aggregates=[Counter]) as store:
        for _ in range(events):
            await store.execute(Counter, "a", Count())


async def open_and_close(path: Path, **options: Any) -> None:
    async with SqliteLog(path, **options):
        pass


async def test_a_directory_is_no_log(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is a directory: name a file for the log"):
        await open_and_close(tmp_path)


async def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="the directory .*nowhere does not exist: create it first"):
        await open_and_close(tmp_path / "nowhere" / "log.db")


async def test_another_kind_of_file_is_left_as_it_is(path: Path) -> None:
    path.write_bytes(b"%PDF-1.7 " * 1000)
    with pytest.raises(CorruptLogError, match="no SQLite database"):
        await open_and_close(path)
    assert path.read_bytes() == b"%PDF-1.7 " * 1000


async def test_another_applications_database_is_left_as_it_is(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE cookies (name)")
    with pytest.raises(CorruptLogError, match="log"):
        await open_and_close(path)
    with closing(sqlite3.connect(path)) as db:
        assert [name for (name,) in db.execute("SELECT name FROM sqlite_master")] == ["cookies"]


async def test_an_empty_file_becomes_a_log(path: Path) -> None:
    path.touch()
    await write(path)


async def test_a_log_of_a_newer_version_is_left_alone(path: Path) -> None:
    await write(path)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(ConfigurationError):
        await open_and_close(path)


async def test_a_truncated_file_is_reported_and_never_written_to(path: Path) -> None:
    await write(path, 50)
    path.write_bytes(path.read_bytes()[:5000])
    for leftover in ("-wal", "-shm"):
        Path(f"{path}{leftover}").unlink(missing_ok=True)
    with pytest.raises((CorruptLogError, LogUnavailableError)):
        async with EventStore(SqliteLog(path), aggregates=[Counter]) as store:
            await store.execute(Counter, "a", Count())
    assert path.stat().st_size == 5000


async def test_a_damaged_page_is_found_by_the_check(path: Path) -> None:
    await write(path, 200)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2 : len(raw) // 2 + 3000] = b"\xff" * 3000
    path.write_bytes(raw)
    with pytest.raises(CorruptLogError, match="restore a backup"):
        async with SqliteLog(path) as log:
            verdict = await log.check()
            assert verdict != "ok"
            raise CorruptLogError(verdict + ": restore a backup")


async def test_a_damaged_envelope_names_its_place(path: Path) -> None:
    await write(path, 3)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE events SET envelope = x'00ff' WHERE version = 2")
    async with EventStore(SqliteLog(path), aggregates=[Counter]) as store:
        with pytest.raises(EventSchemaError, match=r"counter.counted at counter-a version 2"):
            await store.load(Counter, "a")


async def test_a_missing_event_is_noticed(path: Path) -> None:
    await write(path, 3)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DELETE FROM events WHERE version = 2")
    async with EventStore(SqliteLog(path), aggregates=[Counter]) as store:
        with pytest.raises(CorruptLogError, match="version 2 is missing before it"):
            await store.load(Counter, "a")


READ_ONLY = """
import asyncio, sys
from eventstore import EventStore, SqliteLog
from eventstore.core.errors import EventStoreError
from tests.write.domain import Count, Counter
async def main():
    try:
        async with EventStore(SqliteLog(sys.argv[1]), aggregates=[Counter]) as store:
            await store.execute(Counter, "a", Count())
    except EventStoreError as error:
        print(type(error).__name__, error)
asyncio.run(main())
"""


async def test_a_read_only_file_says_so_and_stays_as_it_is(path: Path) -> None:
    await write(path)
    before = path.read_bytes()
    path.chmod(0o400)
    path.parent.chmod(0o500)
    # Root may write to everything, unless it gives that right up.
    humble = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if IS_ROOT else []
    done = await asyncio.to_thread(
        subprocess.run, [*humble, sys.executable, "-c", READ_ONLY, str(path)], capture_output=True, text=True
    )
    path.parent.chmod(0o700)
    assert done.stdout.startswith(("LogUnavailableError", "ConfigurationError")), done.stderr
    assert "log.db" in done.stdout
    assert path.read_bytes() == before


async def test_a_lock_that_another_process_keeps_makes_the_log_unavailable(path: Path) -> None:
    await write(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        async with SqliteLog(path, busy_timeout=0.05) as log:
            with pytest.raises(LogUnavailableError, match="another process keeps the file locked"):
                await log.commit("0", [commit_of("counter-a", 1)])
            other.execute("ROLLBACK")
            assert len(await log.commit("0", [commit_of("counter-a", 1)])) == 1


FULL_DISK = """
import asyncio, resource, signal, sys
from eventstore import EventStore, SqliteLog
from eventstore.core.errors import LogUnavailableError
from tests.write.domain import Count, Counter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
async def main():
    written = 0
    async with EventStore(SqliteLog(sys.argv[1]), aggregates=[Counter]) as store:
        await store.execute(Counter, "a", Count())
        written += 1
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
        try:
            while True:
                await store.execute(Counter, "a", Count(note="x" * 5_000))
                written += 1
        except LogUnavailableError as error:
            print(written, error, flush=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await store.execute(Counter, "a", Count())
asyncio.run(main())
"""


async def test_a_full_disk_is_reported_nothing_is_lost_and_writing_goes_on_when_there_is_room(path: Path) -> None:
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    written, message = done.stdout.split(" ", 1)
    assert "disk" in message
    async with EventStore(SqliteLog(path), aggregates=[Counter]) as store:
        assert (await store.load(Counter, "a")).version == int(written) + 1
        assert await store.log.check() == "ok"  # type: ignore[attr-defined]


@pytest.mark.parametrize("options", [{"readers": 0}, {"busy_timeout": -1}])
def test_options_that_make_no_sense_are_refused(path: Path, options: Any) -> None:
    with pytest.raises(ConfigurationError, match="at least 1 reader, no negative time"):
        SqliteLog(path, **options)


class Forgetful(sqlite3.Connection):
    """A connection whose next statements of some kind fail: before or after they took effect."""

    failures: dict[str, str]

    def execute(self, statement: str, *arguments: Any) -> sqlite3.Cursor:
        for start, how in list(self.failures.items()):
            if statement.startswith(start):
                del self.failures[start]
                if how == "after":
                    super().execute(statement, *arguments)
                raise sqlite3.OperationalError("disk I/O error")
        return super().execute(statement, *arguments)


@pytest.fixture
def forgetful(path: Path) -> Generator[Forgetful]:
    connection = sqlite3.connect(path, isolation_level=None, factory=Forgetful)
    connection.failures = {}
    create_or_check(connection, path, "log")
    yield connection
    connection.close()


def stored(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        (count,) = db.execute("SELECT count(*) FROM events").fetchone()
    return count


def test_a_commit_that_took_effect_although_it_failed_counts(path: Path, forgetful: Forgetful) -> None:
    forgetful.failures = {"COMMIT": "after"}
    outcomes = GroupWriter(path).commit(forgetful, [commit_of("a-1", 0), commit_of("a-2", 0)])
    assert [type(outcome) for outcome in outcomes] == [Appended, Appended]
    assert stored(path) == 2


def test_a_commit_that_did_not_take_effect_is_certainly_nothing(path: Path, forgetful: Forgetful) -> None:
    forgetful.failures = {"COMMIT": "before"}
    with pytest.raises(LogUnavailableError, match="nothing was written"):
        GroupWriter(path).commit(forgetful, [commit_of("a-1", 0)])
    assert stored(path) == 0


def test_a_commit_that_cannot_be_looked_up_is_unknown(path: Path, forgetful: Forgetful) -> None:
    forgetful.failures = {"COMMIT": "after", "UPDATE meta": "before"}
    with pytest.raises(AppendOutcomeUnknownError, match="repeat with the same command_id"):
        GroupWriter(path).commit(forgetful, [commit_of("a-1", 0)])


def test_a_failed_commit_of_questions_alone_answers_them(path: Path, forgetful: Forgetful) -> None:
    forgetful.failures = {"COMMIT": "before"}
    assert GroupWriter(path).commit(forgetful, [commit_of("a-1", 0, 0)]) == [Appended(0)]


@pytest.mark.parametrize("statement", ["BEGIN", "SELECT version", "SELECT coalesce"])
def test_a_failure_before_the_commit_is_certainly_nothing(path: Path, forgetful: Forgetful, statement: str) -> None:
    GroupWriter(path).commit(forgetful, [commit_of("a-1", 0)])
    forgetful.failures = {statement: "before"}
    with pytest.raises(LogUnavailableError, match="log.db: writing failed"):
        GroupWriter(path).commit(forgetful, [commit_of("a-1", 1)])
    forgetful.failures = {}
    GroupWriter(path).commit(forgetful, [commit_of("a-1", 1)])
    assert stored(path) == 2


PROCESS = """
import asyncio, sys
from eventstore import EventStore, SqliteLog, Settings
from tests.write.domain import Count, Counter
async def count(store, name):
    key = store.settings.environment.new_id()
    done = await store.execute(Counter, name, Count(), command_id=key)
    print(key, name, done.version)
async def main():
    async with EventStore(SqliteLog(sys.argv[1]), aggregates=[Counter], settings=Settings(timeout=60)) as store:
        for _ in range(int(sys.argv[2]) // 100):
            await asyncio.gather(*(count(store, str(n % 5)) for n in range(100)))
asyncio.run(main())
"""


@pytest.mark.timeout(120)
async def test_four_processes_on_one_file_lose_and_double_nothing_of_ten_thousand_commands(path: Path) -> None:
    workers = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROCESS, str(path), "2500", stdout=asyncio.subprocess.PIPE
        )
        for _ in range(4)
    ]
    said = [out.decode().splitlines() for out, _ in await asyncio.gather(*(one.communicate() for one in workers))]
    assert [worker.returncode for worker in workers] == [0, 0, 0, 0]
    acknowledged = [tuple(line.split()) for lines in said for line in lines]
    async with SqliteLog(path) as log:
        streams = await log.read_streams([StreamQuery(f"counter-{n}") for n in range(5)])
    assert [[event.version for event in events] for events in streams] == [list(range(1, 2_001))] * 5
    stored = [
        (str(UUID(bytes=event.command_id)), str(n), str(event.version))
        for n, events in enumerate(streams)
        for event in events
    ]
    assert sorted(acknowledged) == sorted(stored)


async def test_opening_and_closing_at_once_from_many_sides_creates_one_log(path: Path) -> None:
    for attempt in range(5):
        path = path.with_name(f"{attempt}.db")
        logs = [SqliteLog(path) for _ in range(8)]
        opened = await asyncio.gather(*(log.__aenter__() for log in logs), return_exceptions=True)
        found = {log.log_id for log in opened if isinstance(log, SqliteLog)}
        for log in logs:
            await log.__aexit__(None, None, None)
        assert [one for one in opened if isinstance(one, BaseException)] == []
        assert len(found) == 1
