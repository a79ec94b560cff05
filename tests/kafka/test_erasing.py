"""An erased event's data disappears from the topic and from every index, and all readers agree on what is left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from eventstore import EventStore, Settings
from eventstore.core.errors import AppendOutcomeUnknownError, CorruptLogError, OwnershipLostError
from eventstore.core.records import StoredEvent
from eventstore.kafka import KafkaLog, KafkaOptions
from eventstore.ports import StreamQuery
from eventstore.testing.proxy import INIT_PRODUCER_ID, PRODUCE, KafkaProxy
from tests.conftest import ProxiedKafka
from tests.kafka.logs import counted, indexed, new_prefix, opened, write
from tests.kafka.partitions import commit_of, read_all
from tests.write.domain import Count, Counter

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(90)]

CANARY = "call me on 555-0199"
# Every append may begin a segment, and whatever is not in the newest one is compacted at once.
AT_ONCE = {
    "segment_ms": "50",
    "min_cleanable_dirty_ratio": "0.01",
    "min_compaction_lag_ms": "0",
    "delete_retention_ms": "0",
}


@pytest.fixture
def bootstrap(proxied_kafka: ProxiedKafka) -> str:
    return proxied_kafka.bootstrap


@pytest.fixture
async def proxy(proxied_kafka: ProxiedKafka) -> AsyncGenerator[KafkaProxy]:
    async with KafkaProxy(proxied_kafka.port) as proxy:
        proxy.lead_to(proxied_kafka.cluster.nodes[0].proxied_address)
        yield proxy


@asynccontextmanager
async def following(bootstrap: str, prefix: str, directory: Path) -> AsyncGenerator[KafkaLog]:
    """Open a log that owns nothing."""
    options = KafkaOptions(directory=directory)
    async with KafkaLog(bootstrap, prefix=prefix, categories=["task"], options=options) as log:
        yield log


async def write_canary(log: KafkaLog) -> None:
    await write(log, "task-1", 0, 2)
    commit = commit_of("task-1", 2, note=CANARY * 400)
    await log.commit(log.partition_of("task-1"), [commit])
    await write(log, "task-1", 3, 2)


def erased_versions(events: list[StoredEvent]) -> list[int]:
    return [event.version for event in events if event.stream == "task-1" and event.erased]


def files_with_canary(directory: Path) -> list[str]:
    return [file.name for file in directory.iterdir() if file.is_file() and CANARY.encode() in file.read_bytes()]


async def wait_until_compacted(log: KafkaLog, bootstrap: str, prefix: str) -> None:
    """Append until the brokers have removed the event and its tombstone."""
    deadline = time.monotonic() + 60
    for number in range(1000):
        await write(log, f"task-filler-{number}", 0, 1)
        records = await asyncio.to_thread(read_all, bootstrap, f"{prefix}.task.events")
        if not any(CANARY.encode() in (record.value or b"") or record.value is None for record in records):
            return
        assert time.monotonic() < deadline, "the brokers do not compact"


async def test_an_erased_event_is_gone_from_the_topic_and_a_fresh_index_restores_the_same_streams(
    bootstrap: str, tmp_path: Path
) -> None:
    prefix = new_prefix(bootstrap, **AT_ONCE)
    async with opened(bootstrap, prefix, tmp_path / "owner") as log:
        await write_canary(log)
        assert await log.erase("task-1", 3)
        await wait_until_compacted(log, bootstrap, prefix)
        expected = await indexed(log)
    assert erased_versions(expected) == [3]
    assert sorted(counted(bootstrap, prefix)) == sorted(expected)
    async with opened(bootstrap, prefix, tmp_path / "fresh") as log:
        assert await indexed(log) == expected
        await write(log, "task-1", 5, 1)
    async with following(bootstrap, prefix, tmp_path / "second") as log:
        # Read at once: a page must not end before the record that tells the place of the erased event.
        assert list((await log.read("task/0", 0, 10**6)).events)[: len(expected)] == expected


async def test_every_index_is_rid_of_the_data(bootstrap: str, tmp_path: Path) -> None:
    prefix = new_prefix(bootstrap)
    async with (
        opened(bootstrap, prefix, tmp_path / "owner") as log,
        following(bootstrap, prefix, tmp_path / "other") as other,
    ):
        await write_canary(log)
        await indexed(other)
        await log._opened.index.flush()
        assert files_with_canary(tmp_path / "owner")
        assert files_with_canary(tmp_path / "other")
        assert await log.erase("task-1", 3)
        assert await indexed(other) == await indexed(log)
        assert erased_versions(await indexed(other)) == [3]
        assert files_with_canary(tmp_path / "owner") == files_with_canary(tmp_path / "other") == []


async def test_an_event_of_a_former_owner_can_be_erased(bootstrap: str, tmp_path: Path) -> None:
    prefix = new_prefix(bootstrap)
    async with opened(bootstrap, prefix, tmp_path) as log:
        await write_canary(log)
    async with opened(bootstrap, prefix, tmp_path) as log:
        assert await log.erase("task-1", 3)
        assert await log.erase("task-1", 3)
        assert not await log.erase("task-1", 6)
    keys = [record.key or b"" for record in read_all(bootstrap, f"{prefix}.task.events")]
    erasures = [key for key in keys if key.startswith(b"\0erased:1:3:")]
    tombstones = [key for key in keys if key.startswith(b"1:3:")]
    assert len(erasures) == 1
    assert len(tombstones) == 2
    assert len(set(tombstones)) == 1


async def test_who_does_not_own_the_partition_cannot_erase(bootstrap: str, tmp_path: Path) -> None:
    prefix = new_prefix(bootstrap)
    async with (
        opened(bootstrap, prefix, tmp_path / "owner") as log,
        following(bootstrap, prefix, tmp_path / "other") as other,
    ):
        await write_canary(log)
        with pytest.raises(OwnershipLostError, match="is not owned by this process"):
            await other.erase("task-1", 3)
        assert erased_versions(await indexed(log)) == []


async def test_a_store_that_owns_nothing_has_the_owner_erase(bootstrap: str, tmp_path: Path) -> None:
    prefix = new_prefix(bootstrap, category="counter")

    def store(name: str, *, serve: bool) -> EventStore:
        log = KafkaLog(bootstrap, prefix=prefix, options=KafkaOptions(directory=tmp_path / name))
        return EventStore(log, aggregates=[Counter], settings=Settings(serve=serve))

    async with store("owner", serve=True) as owner, store("other", serve=False) as other:
        await owner.execute(Counter, "a", Count(by=3), timeout=20)
        await owner.execute(Counter, "a", Count(by=4))
        assert await other.erase(Counter, "a", 1, timeout=20)
        for each in (owner, other):
            counter = await each.load(Counter, "a")
            assert (counter.total, counter.version) == (4, 2)
        assert not await other.erase(Counter, "a", 3)


@pytest.mark.parametrize("fault", ["cut after", "cut before", "lose answer"])
async def test_an_erasure_whose_connection_breaks_takes_effect_once(
    proxy: KafkaProxy, bootstrap: str, tmp_path: Path, fault: str
) -> None:
    prefix = new_prefix(bootstrap)
    async with opened(proxy.address, prefix, tmp_path) as log:
        await write_canary(log)
        rule = proxy.on(PRODUCE, fault, times=1)  # type: ignore[arg-type]
        assert await log.erase("task-1", 3)
        assert rule.hits == 1
        assert erased_versions(await indexed(log)) == [3]
    keys = [record.key or b"" for record in read_all(bootstrap, f"{prefix}.task.events")]
    assert len([key for key in keys if key.startswith(b"\0erased:")]) == 1


@pytest.mark.parametrize("written", [True, False])
async def test_an_erasure_in_doubt_is_reported_and_repeating_it_completes_it(
    proxy: KafkaProxy, bootstrap: str, tmp_path: Path, *, written: bool
) -> None:
    prefix = new_prefix(bootstrap)
    async with opened(proxy.address, prefix, tmp_path, commit_seconds=1) as log:
        await write_canary(log)
        proxy.on(PRODUCE, "cut after" if written else "cut before", times=1)
        proxy.on(PRODUCE, "cut before")
        proxy.on(INIT_PRODUCER_ID, "cut before")
        with pytest.raises(AppendOutcomeUnknownError, match="repeat the same call"):
            await log.erase("task-1", 3)
        proxy.heal()
        await log.serving()
        assert await log.erase("task-1", 3)
        assert erased_versions(await indexed(log)) == [3]
    keys = [record.key or b"" for record in read_all(bootstrap, f"{prefix}.task.events")]
    assert len([key for key in keys if key.startswith(b"\0erased:")]) == 1


async def test_an_index_that_does_not_fit_the_topic_erases_nothing(bootstrap: str, tmp_path: Path) -> None:
    prefix = new_prefix(bootstrap)
    async with opened(bootstrap, prefix, tmp_path) as log:
        await write_canary(log)
        (events,) = await log.read_streams([StreamQuery("task-1")])
        index = log._opened.index
        await index._write(
            lambda connection: connection.execute(
                "UPDATE events SET position = position + 1000 WHERE version = 3 AND stream = 'task-1'"
            )
        )
        with pytest.raises(CorruptLogError):
            await log.erase("task-1", 3)
    assert not any(event.erased for event in counted(bootstrap, prefix))
    assert len(events) == 5
