"""Restoring from a backup and moving to another cluster, on two real ones: nothing is missing and nothing is doubled."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
from collections.abc import AsyncGenerator, Generator, Mapping
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

from eventstore import ConfigurationError, EventStore, transfer
from eventstore.core.errors import OwnershipLostError
from eventstore.kafka import KafkaLog
from eventstore.kafka.connection import Connection
from eventstore.kafka.names import PartitionName
from eventstore.kafka.records import event_records
from eventstore.kafka.wire import Wire
from eventstore.ports import StreamQuery
from eventstore.testing.kafka import KafkaCluster
from tests.kafka import audited
from tests.kafka.logs import counted, create, new_topics, opened, plant, versions, write, write_until_done
from tests.kafka.mirroring import find_mirror_maker, mirroring
from tests.kafka.partitions import commit_of, read_all, soon, writer_of
from tests.read.shop import Account, Accounts, Deposit, Owners, caught_up, fill
from tests.waiting import until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(90)]  # a second cluster starts, and command lines run
PARTITIONS = 2


@pytest.fixture(scope="module")
def elsewhere(kafka_installation: object) -> Generator[str]:
    """Another cluster."""
    with KafkaCluster() as cluster:
        yield cluster.bootstrap


@pytest.fixture
def prefix(monkeypatch: pytest.MonkeyPatch) -> str:
    """Name a log that nobody has used."""
    name = f"t{uuid4().hex[:8]}"
    monkeypatch.setenv("AUDITED_PREFIX", name)
    return name


def go(monkeypatch: pytest.MonkeyPatch, bootstrap: str, directory: Path) -> None:
    """Let applications and command lines from here on use a cluster, with files of its own."""
    directory.mkdir(exist_ok=True)
    monkeypatch.setenv("AUDITED_KAFKA", bootstrap)
    monkeypatch.setenv("AUDITED_DIRECTORY", str(directory))


async def cli(*arguments: str) -> list[dict[str, Any]]:
    """Run a command as a person would; it has to succeed."""
    command = [sys.executable, "-m", "eventstore.cli", "--app", "tests.kafka.audited:store", "--json", *arguments]
    process = await asyncio.create_subprocess_exec(
        *command, env=os.environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, said = await process.communicate()
    assert process.returncode == 0, said.decode()
    return [json.loads(line) for line in out.splitlines()]


async def rows_of(store: EventStore) -> dict[str, Any]:
    """Give all rows of both read models, once they show everything."""
    found: dict[str, Any] = {}
    for projection in (Accounts, Owners):
        await caught_up(store, projection)
        found[projection.definition.name] = await store.read_model(projection).all(limit=1_000)
    return found


def last_line(path: Path) -> Mapping[str, Any]:
    """Give an export's count and hash."""
    content: dict[str, Any] = json.loads(path.read_text().splitlines()[-1])
    return {"events": content["events"], "hash": content["hash"]}


async def test_an_export_restored_on_another_cluster_is_complete_audited_and_gives_the_same_rows(
    tmp_path: Path, kafka_bootstrap: str, elsewhere: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup, second = tmp_path / "backup.jsonl", tmp_path / "second.jsonl"
    go(monkeypatch, kafka_bootstrap, tmp_path / "here")
    async with audited.store(directory="worker") as store:
        await cast("KafkaLog", store.log).serving()
        await fill(store, accounts=8, deposits=3)
        before = await rows_of(store)
    await cli("export", str(backup))

    go(monkeypatch, elsewhere, tmp_path / "there")
    (imported,) = await cli("import", str(backup))
    (again,) = await cli("import", str(backup))
    async with audited.store(directory="worker") as store:
        after = await rows_of(store)
        history = [event async for event in _history(store)]
    audits = await cli("audit")
    await cli("export", str(second))

    assert imported == {"written": 32, "present": 0}
    assert again == {"written": 0, "present": 32}
    assert after == before
    assert len(audits) == 4
    assert all(row["clean"] for row in audits)
    assert sum(row["processed"] for row in audits) == 64
    assert last_line(second) == last_line(backup)
    assert history == [("account-0", version) for version in range(1, 5)]


async def _history(store: EventStore) -> AsyncGenerator[tuple[str, int]]:
    for _, at in await store.history(Account, "0"):
        yield f"{at.stream}", at.version


async def test_an_import_beside_other_owners_is_refused_before_anything_is_written(
    tmp_path: Path, kafka_bootstrap: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "_ELECTION_SECONDS", 2.0)
    go(monkeypatch, kafka_bootstrap, tmp_path / "here")
    backup = io.BytesIO()
    async with audited.store(directory="worker") as owner:
        await cast("KafkaLog", owner.log).serving()
        await fill(owner, accounts=2, deposits=1)
        await transfer.export_log(owner.log, backup)
        backup.seek(0)
        async with audited.store(directory="importer", workers=False) as other:
            with pytest.raises(ConfigurationError, match=r"owns [01] of 2 partitions.* end the other processes"):
                await transfer.import_log(other.log, backup)


# -- a topic that was copied record by record


@pytest.fixture(scope="module")
def mirror_maker(kafka_installation: object) -> None:
    """Fetch it before the time of a test runs."""
    find_mirror_maker()


def ends_of(bootstrap: str, topic: str) -> list[int]:
    """Give where the partitions of a topic end, or nothing while one of them, just made, has no leader."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "none", "enable.auto.commit": False})
    try:
        return [consumer.get_watermark_offsets(TopicPartition(topic, n), 10)[1] for n in range(PARTITIONS)]
    except KafkaException:
        return []
    finally:
        consumer.close()


@pytest.mark.usefixtures("mirror_maker")
async def test_a_copied_topic_opens_elsewhere_and_goes_on_with_read_models_built_anew(
    tmp_path: Path, kafka_bootstrap: str, elsewhere: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    go(monkeypatch, kafka_bootstrap, tmp_path / "files")
    async with audited.store(directory="worker") as store:
        await cast("KafkaLog", store.log).serving()
        await fill(store, accounts=8, deposits=3)
        before = await rows_of(store)
    topic = f"{prefix}.account.events"
    create(elsewhere, new_topics(prefix, PARTITIONS, "account"))
    with mirroring(kafka_bootstrap, elsewhere, prefix):
        expected = ends_of(kafka_bootstrap, topic)
        await until(lambda: ends_of(elsewhere, topic) == expected, seconds=60, in_thread=True)
    backup, second = tmp_path / "here.jsonl", tmp_path / "there.jsonl"
    await cli("export", str(backup))

    go(monkeypatch, elsewhere, tmp_path / "files")  # with the index and the read models of the old cluster
    with pytest.raises(ConfigurationError, match="of another event log: use another query store"):
        async with audited.store(directory="worker"):
            pass
    for path in (tmp_path / "files").glob("read.db*"):
        path.unlink()
    async with audited.store(directory="worker") as store:
        await cast("KafkaLog", store.log).serving()
        assert await rows_of(store) == before
        await cli("export", str(second))
        assert last_line(second) == last_line(backup)
        done = await store.execute(Account, "0", Deposit(amount=5))
        assert done.version == 5
    assert all(row["clean"] for row in await cli("audit"))
    assert list((tmp_path / "files" / "worker").glob("*.set-aside")), "the old index was not set aside"


async def test_the_fence_holds_on_a_copied_topic_and_what_was_void_stays_void(
    tmp_path: Path, kafka_bootstrap: str, elsewhere: str, prefix: str
) -> None:
    create(kafka_bootstrap, new_topics(prefix))
    topic = f"{prefix}.task.events"
    async with opened(kafka_bootstrap, prefix, tmp_path / "a", partitions=1) as log:
        await write(log, "task-1", 0, 2)
        first = log._opened.ownership.owned("task/0")._writer.lease
    async with opened(kafka_bootstrap, prefix, tmp_path / "b", partitions=1) as log:
        late = event_records(commit_of("task-1", 2), first)
        plant(kafka_bootstrap, topic, late)  # by the first owner, whom another cluster would not have refused
        await write(log, "task-2", 0, 2)
    create(elsewhere, new_topics(prefix))
    plant(elsewhere, topic, [record[1:] for record in read_all(kafka_bootstrap, topic)])
    assert [event[1:] for event in counted(elsewhere, prefix)] == [
        event[1:] for event in counted(kafka_bootstrap, prefix)
    ]

    name = PartitionName(prefix, "task", 0)
    async with Wire(Connection(elsewhere)) as wire:
        old, new = await writer_of(wire, name), await writer_of(wire, name)
        await old.claim((), soon())
        await old.append(event_records(commit_of("task-3", 0), old.lease), soon())
        await new.claim((), soon())
        with pytest.raises(OwnershipLostError, match="another owner now"):
            await old.append(event_records(commit_of("task-3", 1), old.lease), soon())
    async with opened(elsewhere, prefix, tmp_path / "b", partitions=1) as log:
        assert await versions(log, "task-1") == [1, 2]
        assert await versions(log, "task-3") == [1]
        assert await write_until_done(log, commit_of("task-1", 2)) == "Appended"
        assert log.condition.void == 1


async def test_an_erased_event_stays_erased_where_a_copy_has_shifted_offsets(
    tmp_path: Path, kafka_bootstrap: str, elsewhere: str, prefix: str
) -> None:
    create(kafka_bootstrap, new_topics(prefix))
    topic = f"{prefix}.task.events"
    async with opened(kafka_bootstrap, prefix, tmp_path / "a", partitions=1) as log:
        await write(log, "task-1", 0, 3)
        assert await log.erase("task-1", 2)
        await write(log, "task-2", 0, 3)
    create(elsewhere, new_topics(prefix))
    first = [(b"\0barrier:1", b"{}", [])]  # so that everything stands one further on, as where something was compacted
    plant(elsewhere, topic, [*first, *(record[1:] for record in read_all(kafka_bootstrap, topic))])
    async with opened(elsewhere, prefix, tmp_path / "b", partitions=1) as log:
        (events,) = await log.read_streams([StreamQuery("task-1")])
        assert [(event.version, event.erased) for event in events] == [(1, False), (2, True), (3, False)]
        assert await versions(log, "task-2") == [1, 2, 3]
