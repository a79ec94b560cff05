"""The local index: resumes, never runs ahead, is rebuilt from the log when it is damaged, and says what is wrong."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Generator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from eventstore.core.errors import ConfigurationError, CorruptLogError, EventStoreError, LogUnavailableError
from eventstore.core.records import StoredEvent
from eventstore.kafka import backlog as backlog_module
from eventstore.kafka import following as following_module
from eventstore.kafka import partition as partition_module
from eventstore.kafka import present as present_module
from eventstore.kafka.backlog import MOST, Progress
from eventstore.kafka.index import Index
from eventstore.kafka.records import LeaseRule, event_records, stored_events
from eventstore.kafka.workplace import claim_index_file
from eventstore.ports import StreamQuery
from eventstore.sqlite import SqliteLog
from tests.conftest import ProxiedKafka
from tests.kafka.logs import (
    counted,
    create,
    indexed,
    new_prefix,
    new_topics,
    opened,
    plant,
    versions,
    write,
    write_until_done,
)
from tests.kafka.partitions import commit_of

LOG = "cluster/t"


@pytest.fixture
def bootstrap(proxied_kafka: ProxiedKafka) -> str:
    return proxied_kafka.bootstrap


@pytest.fixture
def prefix(bootstrap: str) -> str:
    return new_prefix(bootstrap)


# -- the file alone


def events_of(stream: str, count: int, first_offset: int = 0) -> list[StoredEvent]:
    return stored_events(commit_of(stream, 0, count, "x" * 200), first_offset)


def progress(events: list[StoredEvent], lease: str = "aa", skipped: int = 0) -> Progress:
    return Progress("task/0", events, events[-1].offset + 1, LeaseRule("task", lease, {1}, skipped))


async def filled(path: Path, count: int = 2000) -> list[StoredEvent]:
    events = [event for n in range(count // 4) for event in events_of(f"task-{n}", 4, n * 4)]
    async with Index(path, LOG) as index:
        await index.add_partitions(["task/0"])
        await index.put(progress(events))
    return events


async def test_an_index_remembers_where_it_stands_and_what_decides_about_the_next_record(tmp_path: Path) -> None:
    events = await filled(tmp_path / "i.db", 8)
    async with Index(tmp_path / "i.db", LOG) as index:
        assert index.positions == {"task/0": 8}
        assert index.rules == {"task/0": LeaseRule("task", "aa", {1}, 0)}
        assert (await index.read("task/0", 0, 100, None)).events == events


async def test_the_index_of_another_log_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await filled(tmp_path / "i.db", 8)
    async with Index(tmp_path / "i.db", "cluster/other") as index:
        assert index.positions == {}
    assert (tmp_path / "i.db.set-aside").exists()
    assert "is the index of another log (cluster/t instead of cluster/other)" in caplog.text


async def test_a_file_that_is_no_database_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "i.db").write_text("x" * 5000)
    async with Index(tmp_path / "i.db", LOG) as index:
        assert index.positions == {}
    assert (tmp_path / "i.db.set-aside").read_text() == "x" * 5000


async def test_an_embedded_log_is_neither_used_nor_set_aside(tmp_path: Path) -> None:
    async with SqliteLog(tmp_path / "log.db"):
        pass
    with pytest.raises(ConfigurationError, match=r"is an event log, and was opened as the local index of a Kafka log"):
        async with Index(tmp_path / "log.db", LOG):
            pass
    async with SqliteLog(tmp_path / "log.db") as log:
        assert await log.check() == "ok"


async def test_an_index_is_no_embedded_log(tmp_path: Path) -> None:
    await filled(tmp_path / "i.db", 8)
    with pytest.raises(ConfigurationError, match=r"is the local index of a Kafka log, which holds no log itself"):
        async with SqliteLog(tmp_path / "i.db"):
            pass


async def test_damage_found_while_reading_is_reported_and_the_next_start_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "i.db"
    await filled(path)
    damaged = bytearray(path.read_bytes())
    for page in range(8, len(damaged) // 4096):
        damaged[page * 4096 : page * 4096 + 64] = b"\xee" * 64
    path.write_bytes(damaged)
    async with Index(path, LOG) as index:
        assert index.positions == {"task/0": 2000}
        with pytest.raises(CorruptLogError, match=r"It is only an index: restart this process, and it is built anew"):
            await index.read("task/0", 0, 5000, None)
    async with Index(path, LOG) as index:
        assert index.positions == {}


async def test_a_truncated_file_is_found_and_the_next_start_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "i.db"
    await filled(path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2 // 4096 * 4096)
    for _ in range(2):
        async with Index(path, LOG) as index:
            if index.positions:
                with pytest.raises(CorruptLogError):
                    await index.read("task/0", 0, 5000, None)
    async with Index(path, LOG) as index:
        assert index.positions == {}


async def test_a_damaged_file_is_found_by_the_check_and_the_next_start_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "i.db"
    await filled(path)
    with sqlite3.connect(path) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'events'").fetchone()
    connection.close()
    damaged = bytearray(path.read_bytes())
    damaged[root * 4096 - 200 : root * 4096 - 8] = b"\xee" * 192
    path.write_bytes(damaged)
    async with Index(path, LOG) as index:
        assert await index.check() != "ok"
    async with Index(path, LOG) as index:
        assert index.positions == {}


async def test_the_first_of_two_events_at_a_version_counts_and_the_second_is_an_alarm(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = events_of("task-1", 1)[0], events_of("task-1", 1, 1)[0]
    async with Index(tmp_path / "i.db", LOG) as index:
        await index.add_partitions(["task/0"])
        await index.put(progress([first]))
        await index.put(progress([second]))
        await index.flush()
        assert await index.read_streams([StreamQuery("task-1")]) == [[first]]
        assert index.positions == {"task/0": 2}
    assert "1 events stand at a version that an earlier event has" in caplog.text


async def test_what_nobody_waits_for_is_written_together(tmp_path: Path) -> None:
    path = tmp_path / "i.db"
    async with Index(path, LOG) as index:
        await index.add_partitions(["task/0"])
        with closing(sqlite3.connect(path)) as other:
            before = other.execute("PRAGMA data_version").fetchone()
            for offset in range(50):
                index.offer(progress(events_of(f"task-{offset}", 1, offset)))
                await asyncio.sleep(0)
            assert other.execute("PRAGMA data_version").fetchone() == before
        await index.flush()
        assert len((await index.read("task/0", 0, 100, None)).events) == 50


async def test_what_somebody_waits_for_is_written_at_once(tmp_path: Path) -> None:
    async with Index(tmp_path / "i.db", LOG) as index:
        await index.add_partitions(["task/0"])
        started = time.monotonic()
        for offset in range(40):
            index.offer(progress(events_of(f"task-{offset}", 1, offset)))
            await index.reached("task/0", offset + 1)
        assert time.monotonic() - started < 40 * backlog_module._LINGER_SECONDS / 2


async def test_streams_from_before_it_was_opened_are_found_and_others_are_not_looked_for(tmp_path: Path) -> None:
    path = tmp_path / "i.db"
    events = await filled(path)
    async with Index(path, LOG) as index:
        async with asyncio.timeout(10):
            while not index._streams.complete:
                await index.check()
        names = sorted({event.stream for event in events})
        assert await index.read_versions([*names, "task-x"]) == {**dict.fromkeys(names, 4), "task-x": 0}
        asked = [query for name in names for query in (StreamQuery(f"{name}-no"), StreamQuery(name, 3))]
        found = await index.read_streams(asked)
        assert [len(page) for page in found] == [0, 1] * len(names)
        await index._readers.close()  # nobody can look there any more
        assert await index.read_streams([StreamQuery("task-x")]) == [()]


async def test_what_is_pending_is_bounded(tmp_path: Path) -> None:
    async with Index(tmp_path / "i.db", LOG) as index:
        await index.add_partitions(["task/0"])
        most = 0
        for number in range(40):
            await index.put(progress(events_of(f"task-{number}", 1000, number * 1000)))
            most = max(most, index.lag)
        assert most <= MOST + 1000
        await index.flush()
        assert index.lag == 0


async def test_large_events_count_for_more_so_that_the_memory_they_wait_in_is_bounded(tmp_path: Path) -> None:
    megabyte = "x" * 1_000_000
    async with Index(tmp_path / "i.db", LOG) as index:
        await index.add_partitions(["task/0"])
        most = 0
        for number in range(60):
            await index.put(progress(stored_events(commit_of(f"task-{number}", 0, 1, megabyte), number)))
            most = max(most, index.lag)
        assert most > 900
        assert most <= MOST + 1000
        await index.flush()
        assert index.lag == 0


def mounted(path: Path, size: str) -> None:
    path.mkdir()
    mounting = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], capture_output=True)
    if mounting.returncode != 0:
        pytest.skip(f"cannot mount a small disk here: {mounting.stderr.decode().strip()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path]:
    mounted(tmp_path / "disk", "2m")
    yield tmp_path / "disk"
    subprocess.run(["umount", str(tmp_path / "disk")], check=True)


async def test_a_full_disk_is_reported_and_the_index_goes_on_when_there_is_room(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Index(small_disk / "i.db", LOG) as index:
        await index.add_partitions(["task/0"])
        (small_disk / "filler").write_bytes(b"x" * 1_500_000)
        events = [event for n in range(200) for event in events_of(f"task-{n}", 10, n * 10)]
        index.offer(progress(events))
        with pytest.raises(LogUnavailableError, match=r"behind the log.*SQLITE_FULL.*free some space"):
            await index.reached("task/0", 2000)
        assert index.positions == {"task/0": 0}
        (small_disk / "filler").unlink()
        async with asyncio.timeout(10):
            while index.positions["task/0"] < 2000:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)
        await index.flush()
        assert (await index.read("task/0", 0, 5000, None)).events == events
    assert caplog.text.count("cannot be written now") == 1


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refusal = pytest.raises(ConfigurationError, match=r"file/x cannot hold the index .*KafkaOptions\(directory=")
    with refusal, claim_index_file(tmp_path / "file/x", "t"):
        pass


@pytest.fixture
def read_only_disk(tmp_path: Path) -> Generator[Path]:
    disk = tmp_path / "disk"
    mounted(disk, "2m")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_read_only_directory_is_named(read_only_disk: Path) -> None:
    refusal = pytest.raises(ConfigurationError, match=r"disk cannot hold the index .*Read-only.*name another one")
    with refusal, claim_index_file(read_only_disk, "t"):
        pass


def hold_a_file(directory: Path, answers: object, done: object) -> None:
    with claim_index_file(directory, "t") as path:
        answers.put(path.name)  # type: ignore[attr-defined]
        done.wait()  # type: ignore[attr-defined]


def test_processes_in_one_directory_get_different_files_and_the_same_again(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    answers, done = context.Queue(), context.Event()
    processes = [context.Process(target=hold_a_file, args=(tmp_path, answers, done)) for _ in range(2)]
    for process in processes:
        process.start()
    assert {answers.get(), answers.get()} == {"t.0.db", "t.1.db"}
    with claim_index_file(tmp_path, "t") as path:
        assert path.name == "t.2.db"
    done.set()
    for process in processes:
        process.join()
    with claim_index_file(tmp_path, "t") as path:
        assert path.name == "t.0.db"


# -- on a real log


@pytest.mark.kafka
@pytest.mark.timeout(60)
class TestOnKafka:
    async def test_a_reopened_log_reads_on_from_where_it_stopped(
        self, bootstrap: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with opened(bootstrap, prefix, tmp_path) as log:
            await write(log, "task-1", 0, 50)
            stored = await indexed(log)
            end = (await log.ends())["task/0"]
        seen: list[int] = []
        real = LeaseRule.read
        monkeypatch.setattr(
            LeaseRule, "read", lambda rule, offset, *record: seen.append(offset) or real(rule, offset, *record)
        )
        async with opened(bootstrap, prefix, tmp_path) as log:
            assert await indexed(log) == stored
        assert seen
        assert min(seen) >= end

    @pytest.mark.parametrize("damage", ["flip", "truncate", "swap", "delete", "wal"])
    async def test_a_damaged_index_is_built_anew_and_equals_the_log(
        self, bootstrap: str, prefix: str, tmp_path: Path, damage: str
    ) -> None:
        async with opened(bootstrap, prefix, tmp_path) as log:
            await write(log, "task-1", 0, 50)
            await write(log, "task-2", 0, 10, size=3)
            await indexed(log)
            if damage == "wal":
                # As if the process had been killed, and somebody had tidied up.
                shutil.copy(tmp_path / f"{prefix}.0.db", tmp_path / "copy.db")
        path = tmp_path / f"{prefix}.0.db"
        content = path.read_bytes()
        match damage:
            case "flip":
                path.write_bytes(bytes([byte ^ 0xFF for byte in content[:512]]) + content[512:])
            case "truncate":
                path.write_bytes(content[: len(content) // 3])
            case "swap":
                other = new_prefix(bootstrap)
                async with opened(bootstrap, other, tmp_path) as log:
                    await write(log, "task-1", 0, 3)
                shutil.copy(tmp_path / f"{other}.0.db", path)
            case "wal":
                shutil.copy(tmp_path / "copy.db", path)
            case _:
                path.unlink()
        async with opened(bootstrap, prefix, tmp_path) as log:
            assert await log.check() == "ok"
            assert await indexed(log) == counted(bootstrap, prefix)
            assert await versions(log, "task-1") == list(range(1, 51))

    async def test_the_index_is_never_ahead_of_the_log(self, bootstrap: str, prefix: str, tmp_path: Path) -> None:
        async with opened(bootstrap, prefix, tmp_path) as log:
            for turn in range(30):
                await write(log, "task-1", turn * 20, 20)
                index = log._opened.index
                position = index.positions["task/0"]
                assert position <= (await log.ends())["task/0"]
                rows = (await index.read("task/0", 0, 10**6, None)).events
                assert [row.version for row in rows] == list(range(1, len(rows) + 1))
            assert await indexed(log) == counted(bootstrap, prefix)

    async def test_a_log_that_is_shorter_than_the_index_is_refused_with_a_remedy(
        self, bootstrap: str, prefix: str, tmp_path: Path
    ) -> None:
        async with opened(bootstrap, prefix, tmp_path) as log:
            await write(log, "task-1", 0, 20)
            await indexed(log)
        remake(bootstrap, prefix)
        with pytest.raises(EventStoreError, match=r"(?s)lost|made anew|re-created|recreated") as refusal:
            async with opened(bootstrap, prefix, tmp_path):
                pass
        assert isinstance(refusal.value, CorruptLogError | ConfigurationError)

    async def test_a_log_that_is_cut_short_while_it_is_open_is_used_no_longer(
        self, bootstrap: str, prefix: str, tmp_path: Path
    ) -> None:
        async with opened(bootstrap, prefix, tmp_path, commit_seconds=2) as log:
            await write(log, "task-1", 0, 20)
            await indexed(log)
            remake(bootstrap, prefix)
            with pytest.raises(EventStoreError) as refusal:
                async with asyncio.timeout(30):
                    version = 20
                    while True:
                        try:
                            await log.commit("task/0", [commit_of("task-1", version)])
                            version += 1
                        except EventStoreError as error:
                            if not error.retriable:
                                raise
                            await asyncio.sleep(0.05)
            assert version == 20, "acknowledged on a log that was made anew"
            assert not refusal.value.retriable
            with pytest.raises(EventStoreError):
                async with asyncio.timeout(10):
                    while True:  # the owner is told a moment after the caller
                        await versions(log, "task-1")
                        await asyncio.sleep(0.01)

    async def test_an_event_that_somebody_planted_with_a_copied_lease_is_an_alarm_and_the_first_one_counts(
        self, bootstrap: str, prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with opened(bootstrap, prefix, tmp_path) as log:
            await write(log, "task-1", 0, 2)
            lease = log._opened.ownership.owned("task/0")._writer.lease
            plant(bootstrap, f"{prefix}.task.events", event_records(commit_of("task-1", 1, note="planted"), lease))
            assert await write_until_done(log, commit_of("task-1", 2)) == "Appended"
            assert await versions(log, "task-1") == [1, 2, 3]
            mine = await indexed(log)
            assert not any(b"planted" in event.envelope for event in mine)
        assert "somebody else wrote before offset" in caplog.text
        assert "stand at a version that an earlier event has" in caplog.text
        async with opened(bootstrap, prefix, tmp_path / "other") as other:
            assert await indexed(other) == mine

    async def test_behind_a_planted_event_with_the_next_version_a_command_is_decided_again(
        self, bootstrap: str, prefix: str, tmp_path: Path
    ) -> None:
        async with opened(bootstrap, prefix, tmp_path) as log:
            await write(log, "task-1", 0, 2)
            lease = log._opened.ownership.owned("task/0")._writer.lease
            plant(bootstrap, f"{prefix}.task.events", event_records(commit_of("task-1", 2, note="planted"), lease))
            assert await write_until_done(log, commit_of("task-1", 2)) == "Conflicted"
            assert await write_until_done(log, commit_of("task-1", 3)) == "Appended"
            assert await versions(log, "task-1") == [1, 2, 3, 4]
            mine = await indexed(log)
        async with opened(bootstrap, prefix, tmp_path / "other") as other:
            assert await indexed(other) == mine

    async def test_commits_wait_for_an_index_that_is_far_behind(
        self, bootstrap: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(partition_module, "_MOST_BEHIND", 500)
        async with opened(bootstrap, prefix, tmp_path) as log:
            most = 0
            for turn in range(20):
                await write(log, f"task-{turn}", 0, 250)
                most = max(most, log._opened.index.lag)
            assert most <= 750
            assert len(await indexed(log)) == 5000

    async def test_a_long_restore_says_how_far_it_is(
        self,
        bootstrap: str,
        prefix: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        async with opened(bootstrap, prefix, tmp_path) as log:
            await write(log, "task-1", 0, 500)
        real = LeaseRule.read

        def slowly(*arguments: Any) -> StoredEvent | None:
            time.sleep(0.005)
            return real(*arguments)

        monkeypatch.setattr(LeaseRule, "read", slowly)
        monkeypatch.setattr(following_module, "_BATCH", 50)
        monkeypatch.setattr(present_module, "PROGRESS_SECONDS", 0.2)
        with caplog.at_level(logging.INFO, "eventstore.kafka.present"):
            async with opened(bootstrap, prefix, tmp_path / "new"):
                pass
        assert "task/0: restored up to offset " in caplog.text
        assert " of 502, " in caplog.text


def remake(bootstrap: str, prefix: str) -> None:
    """Delete the events topic and create it again under the same name."""
    admin, events = (
        AdminClient({"bootstrap.servers": bootstrap}),
        [topic for topic in new_topics(prefix) if topic.topic.endswith(".events")],
    )
    admin.delete_topics([events[0].topic])[events[0].topic].result(15)
    for _ in range(100):
        with suppress(KafkaException):  # the old one takes a moment to go
            create(bootstrap, events)
            return
    raise AssertionError(events)
