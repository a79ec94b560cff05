"""Somebody else writes to an events topic, and the broker compacts it: what is folded stays the same."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka import Producer

from eventstore.core.errors import ConfigurationError, StoreClosedError
from eventstore.kafka import KafkaLog
from eventstore.kafka.records import FORMAT, Claim, claim_record, event_records
from tests.conftest import ProxiedKafka
from tests.kafka.logs import counted, indexed, new_prefix, opened, plant, reading, versions, write, write_until_done
from tests.kafka.partitions import commit_of, read_all

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(90)]

GARBAGE = [
    (b"key", b"value", []),
    (b"1:1:0000000000000000", b"{}", [("lease", b"0000000000000000")]),
    (b"1:2", None, []),
    (b"\xff\xfe", b"", [("lease", b"\xff")]),
    (b"\0", b"", []),
    (b"\0claim:x", b"not json", []),
    (b"\0claim:0123456789abcdef", b'{"producer_id": "1"}', []),
    (b"\0fence:x", b"", []),
    (b"1:9:x", b"{}", [("lease", None)]),
]


@pytest.fixture
def bootstrap(proxied_kafka: ProxiedKafka) -> str:
    return proxied_kafka.bootstrap


@pytest.fixture
def prefix(bootstrap: str) -> str:
    return new_prefix(bootstrap)


@asynccontextmanager
async def an_open_transaction(bootstrap: str, topic: str) -> AsyncGenerator[None]:
    """Keep a stranger's transaction open, with records in it, as long as the block lasts."""
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": uuid4().hex})

    def begin() -> None:
        producer.init_transactions(30)
        producer.begin_transaction()
        for key, value, headers in GARBAGE:
            producer.produce(topic, value, key, partition=0, headers=headers)
        assert producer.flush(15) == 0

    await asyncio.to_thread(begin)
    yield
    await asyncio.to_thread(producer.abort_transaction, 30)


async def test_a_strangers_records_are_never_folded_and_nothing_stops(
    bootstrap: str, prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    topic = f"{prefix}.task.events"
    async with opened(bootstrap, prefix, tmp_path) as log:
        await write(log, "task-1", 0, 2)
        for turn in range(5):
            plant(bootstrap, topic, GARBAGE)
            assert await write_until_done(log, commit_of("task-1", 2 + turn)) == "Appended"
            assert await versions(log, "task-1") == list(range(1, 4 + turn))
        mine = await indexed(log)
    assert mine == counted(bootstrap, prefix)
    assert "task/0: somebody else wrote before offset" in caplog.text
    async with opened(bootstrap, prefix, tmp_path / "new") as other:
        assert await indexed(other) == mine
    assert "45 records so far that no reader counts" in caplog.text


async def test_a_stranger_at_the_end_keeps_nobody_from_catching_up(bootstrap: str, prefix: str, tmp_path: Path) -> None:
    async with opened(bootstrap, prefix, tmp_path) as log:
        commits = await write(log, "task-1", 0, 2)
        plant(bootstrap, f"{prefix}.task.events", GARBAGE)
        page = await log.read("task/0", 0, 100)
        ends = await log.ends()
        async with asyncio.timeout(10):
            while page.next_offset < ends["task/0"]:
                await log.wait_beyond("task/0", page.next_offset)
                page = await log.read("task/0", page.next_offset, 100)
        assert set(await log.find_commands([commit.command_id for commit in commits])) == {
            commit.command_id for commit in commits
        }
        async with reading(bootstrap, prefix, tmp_path / "other") as other:
            assert await indexed(other) == await indexed(log)


async def test_a_stranger_before_a_question_does_not_get_between_question_and_answer(
    bootstrap: str, prefix: str, tmp_path: Path
) -> None:
    async with opened(bootstrap, prefix, tmp_path) as log:
        await write(log, "task-1", 0, 2)
        plant(bootstrap, f"{prefix}.task.events", GARBAGE)
        assert await write_until_done(log, commit_of("task-1", 2, 0)) == "Appended"
        assert await write_until_done(log, commit_of("task-1", 1, 0)) == "Conflicted"
        assert await versions(log, "task-1") == [1, 2]


async def test_a_transaction_that_a_stranger_leaves_open_stops_nobody(
    bootstrap: str, prefix: str, tmp_path: Path
) -> None:
    async with opened(bootstrap, prefix, tmp_path) as log:
        await write(log, "task-1", 0, 2)
        async with an_open_transaction(bootstrap, f"{prefix}.task.events"):
            assert await write_until_done(log, commit_of("task-1", 2)) == "Appended"
            assert await versions(log, "task-1") == [1, 2, 3]
            assert [event.version for event in await indexed(log)] == [1, 2, 3]
            async with reading(bootstrap, prefix, tmp_path / "other") as other:
                assert await versions(other, "task-1") == [1, 2, 3]
        await asyncio.wait_for(indexed(log), 10)
        assert await write_until_done(log, commit_of("task-1", 3), 30) == "Appended"


async def test_a_process_stops_where_a_later_version_writes_what_it_cannot_read(
    bootstrap: str, prefix: str, tmp_path: Path
) -> None:
    claim = claim_record(Claim("0123456789abcdef", 7, 0, "a later version", 0))
    later = claim._replace(value=json.dumps({**json.loads(claim.value or b""), "format": FORMAT + 1}).encode())
    said = (
        rf"a later version of eventstore owns a partition of task.*format {FORMAT + 1}, known up to {FORMAT}.*upgrade"
    )
    async with opened(bootstrap, prefix, tmp_path) as log:
        await write(log, "task-1", 0, 2)
        plant(bootstrap, f"{prefix}.task.events", [later])
        with pytest.raises((ConfigurationError, StoreClosedError), match=said):
            await write_until_done(log, commit_of("task-1", 2))
    with pytest.raises((ConfigurationError, StoreClosedError), match=said):
        async with reading(bootstrap, prefix, tmp_path / "other") as other:
            await indexed(other)


async def test_what_is_written_behind_a_forged_claim_is_not_acknowledged(
    bootstrap: str, prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    forged = claim_record(Claim("0123456789abcdef", 7, 0, "a stranger", 0))
    async with opened(bootstrap, prefix, tmp_path) as log:
        await write(log, "task-1", 0, 2)
        plant(bootstrap, f"{prefix}.task.events", [forged, *event_records(commit_of("task-1", 2), "0123456789abcdef")])
        assert await write_until_done(log, commit_of("task-1", 2)) == "Conflicted"
        assert await write_until_done(log, commit_of("task-1", 3)) == "Appended"
        assert await versions(log, "task-1") == [1, 2, 3, 4]
        assert await indexed(log) == counted(bootstrap, prefix)
    assert "somebody else wrote before offset" in caplog.text


async def test_writing_goes_on_while_a_stranger_never_stops(bootstrap: str, prefix: str, tmp_path: Path) -> None:
    logging.getLogger("eventstore.kafka.partition").setLevel(logging.CRITICAL)
    producer, stopped = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0}), asyncio.Event()

    async def disturb() -> None:
        while not stopped.is_set():
            key, value, headers = random.choice(GARBAGE)
            producer.produce(f"{prefix}.task.events", value, key, partition=0, headers=headers)
            producer.poll(0)
            await asyncio.sleep(0.01)

    async with opened(bootstrap, prefix, tmp_path) as log, asyncio.TaskGroup() as tasks:
        disturbing = tasks.create_task(disturb())
        for version in range(20):
            assert await write_until_done(log, commit_of("task-1", version)) == "Appended"
        stopped.set()
        await disturbing
        producer.flush(15)
        assert await versions(log, "task-1") == list(range(1, 21))
        assert await indexed(log) == counted(bootstrap, prefix)


# -- compaction

COMPACTED = {
    "segment_ms": "100",
    "min_cleanable_dirty_ratio": "0.01",
    "min_compaction_lag_ms": "0",
    "delete_retention_ms": "0",
}


def left(bootstrap: str, topic: str, marker: bytes) -> int:
    """Count the records with one key."""
    return sum(record.key == marker for record in read_all(bootstrap, topic))


async def test_compaction_while_writing_and_reading_takes_nothing_away(bootstrap: str, tmp_path: Path) -> None:
    prefix = new_prefix(bootstrap, **COMPACTED)
    topic, streams = f"{prefix}.task.events", [f"task-{number}" for number in range(5)]
    expected: dict[str, int] = dict.fromkeys(streams, 0)
    repeated = (b"repeated", b"x", [])  # somebody's records that do get compacted, to see that it happened

    async def grow(log: KafkaLog) -> None:
        for stream in streams:
            await write_until_done(log, commit_of(stream, expected[stream], 2))
            expected[stream] += 2

    async with opened(bootstrap, prefix, tmp_path) as log:
        until = time.monotonic() + 30
        plant(bootstrap, topic, [repeated] * 3)
        planted = 3
        while time.monotonic() < until:
            await grow(log)
            assert {stream: len(await versions(log, stream)) for stream in streams} == expected
            if await asyncio.to_thread(left, bootstrap, topic, b"repeated") < planted:
                break
            await asyncio.sleep(0.2)
            plant(bootstrap, topic, [repeated])
            planted += 1
        assert left(bootstrap, topic, b"repeated") < planted, "the broker did not compact in time"
        mine = await indexed(log)
        assert mine == counted(bootstrap, prefix)
        async with reading(bootstrap, prefix, tmp_path / "new") as fresh:
            assert await indexed(fresh) == mine
            await grow(log)
            assert await indexed(fresh) == await indexed(log)
        offsets = [record.offset for record in read_all(bootstrap, topic)]
        assert offsets != list(range(offsets[0], offsets[-1] + 1)), "there are no holes: nothing was compacted"
    async with opened(bootstrap, prefix, tmp_path / "newest") as newest:
        for stream in streams:
            assert await versions(newest, stream) == list(range(1, expected[stream] + 1))
        assert await write_until_done(newest, commit_of("task-0", expected["task-0"])) == "Appended"
