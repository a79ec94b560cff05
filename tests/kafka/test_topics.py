"""Topics are created as they have to be, and a log does not work on others."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka.admin import AdminClient, NewPartitions

from eventstore.core.errors import (
    ConfigurationError,
    CorruptLogError,
    EventStoreError,
    LogUnavailableError,
    StoreClosedError,
)
from eventstore.environment import Environment
from eventstore.kafka import Connection, KafkaLog, KafkaOptions
from eventstore.kafka.administration import Administration
from eventstore.kafka.names import Names
from eventstore.kafka.proof import prove_fence
from eventstore.kafka.topics import FoundTopic, Kind, TopicIdentity, WantedTopic, problems_of, wanted_topics
from eventstore.kafka.watching import TopicWatch
from eventstore.kafka.wire import ProducerIdentity, Wire
from eventstore.testing.log_contract import commit_of

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]
SAFE = TopicIdentity("id", 2)


class Place:
    """A log of the test's own."""

    def __init__(self, bootstrap: str, directory: Path) -> None:
        self.bootstrap, self.directory = bootstrap, directory
        self.names = Names(f"t{uuid4().hex[:8]}")
        self.events, self.commands = self.names.events("task"), self.names.commands("task")
        self.administration = Administration(Connection(bootstrap))
        self.admin = AdminClient({"bootstrap.servers": bootstrap})

    def log(self, *, partitions: int = 2, production: bool = False) -> KafkaLog:
        options = KafkaOptions(partitions=partitions, production=production, directory=self.directory, commit_seconds=3)
        return KafkaLog(self.bootstrap, prefix=self.names.prefix, categories=["task"], options=options)

    @asynccontextmanager
    async def owned(self) -> AsyncGenerator[KafkaLog]:
        async with self.log() as log:
            log.channel.serve(refuse)
            await log.serving()
            yield log

    async def all_topics(self) -> Mapping[str, FoundTopic]:
        wanted = wanted_topics(self.names, ["task"], KafkaOptions(), 1)
        return await self.administration.find([topic.name for topic in wanted])

    def add_partition(self, topic: str, total: int) -> None:
        self.admin.create_partitions([NewPartitions(topic, total)])[topic].result(10)
        deadline = time.monotonic() + 10
        # The controller answers before the brokers know.
        while len(self.admin.list_topics(topic, timeout=10).topics[topic].partitions) < total:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    async def recreate(self, topic: str) -> None:
        await self.administration.delete(topic)
        (wanted,) = [t for t in wanted_topics(self.names, ["task"], KafkaOptions(partitions=2), 1) if t.name == topic]
        await self.administration.create([wanted])


@pytest.fixture
def place(kafka_bootstrap: str, tmp_path: Path) -> Place:
    return Place(kafka_bootstrap, tmp_path)


async def refuse(partition: str, message: bytes) -> bytes:
    raise AssertionError(partition, message)


async def test_missing_topics_are_created_so_that_no_event_is_lost(place: Place) -> None:
    async with place.log():
        topics = await place.all_topics()
    events, replies = topics[place.events], topics[place.names.replies]
    assert {name: topic.identity.partitions for name, topic in topics.items()} == {
        place.events: 2,
        place.commands: 2,
        place.names.replies: 16,
    }
    assert events.settings is not None
    assert replies.settings is not None
    wanted = {
        "cleanup.policy": "compact",
        "min.insync.replicas": "1",
        "min.compaction.lag.ms": "604800000",
        "delete.retention.ms": "2592000000",
        "min.cleanable.dirty.ratio": "0.9",
        "unclean.leader.election.enable": "false",
        "retention.ms": "-1",
        "retention.bytes": "-1",
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": "25165824",
    }
    assert wanted.items() <= events.settings.items()
    assert {
        "cleanup.policy": "delete",
        "retention.ms": "600000",
        "segment.ms": "600000",
    }.items() <= replies.settings.items()


@pytest.mark.parametrize(("brokers", "replication", "in_sync"), [(1, 1, "1"), (2, 2, "1"), (3, 3, "2"), (9, 3, "2")])
def test_as_many_copies_are_made_as_the_cluster_can_keep(brokers: int, replication: int, in_sync: str) -> None:
    for topic in wanted_topics(Names("shop"), ["task"], KafkaOptions(), brokers):
        assert (topic.replication, topic.settings["min.insync.replicas"]) == (replication, in_sync)


async def test_applying_a_second_time_changes_nothing(place: Place) -> None:
    upkeep = place.log().topics
    assert len((await upkeep.plan()).missing) == 3
    first = await upkeep.apply()
    created = await place.all_topics()
    second = await upkeep.apply()
    assert (first.missing, first.problems) == ([], [])
    assert (second.missing, second.problems) == ([], [])
    assert await place.all_topics() == created


def safe_topic(settings: Mapping[str, str], *, replication: int = 3) -> tuple[WantedTopic, FoundTopic]:
    wanted = next(t for t in wanted_topics(Names("shop"), ["task"], KafkaOptions(), 3) if t.kind is Kind.EVENTS)
    return wanted, FoundTopic(
        wanted.name,
        SAFE,
        replication,
        led=True,
        settings={**wanted.settings, "segment.bytes": "1073741824", **settings},
    )


@pytest.mark.parametrize(
    ("setting", "value", "danger"),
    [
        ("cleanup.policy", "delete", "old events would be deleted"),
        ("cleanup.policy", "compact,delete", "old events would be deleted"),
        ("retention.ms", "604800000", "events of that age are deleted"),
        ("retention.bytes", "1000000", "events beyond that size are deleted"),
        ("unclean.leader.election.enable", "true", "a replica that lags could lead"),
        ("message.timestamp.type", "CreateTime", "a writer with a wrong clock"),
        ("max.message.bytes", "1048588", "a full group commit would be refused"),
        ("segment.bytes", "1048576", "it has to fit a segment"),
    ],
)
async def test_an_unsafe_setting_is_refused_and_put_right_by_apply(
    place: Place, setting: str, value: str, danger: str
) -> None:
    await place.log().topics.apply()
    await place.administration.change(place.events, {setting: value})
    with pytest.raises(ConfigurationError) as refused:
        async with place.log():
            pass
    assert str(refused.value).startswith(f"{place.events}: {setting}={value} instead of ")
    assert danger in str(refused.value)
    assert str(refused.value).endswith("Fix: eventstore topics apply")
    await place.log().topics.apply()
    async with place.log():
        pass


def test_more_copies_in_sync_than_there_are_would_stop_every_writer() -> None:
    wanted, found = safe_topic({"min.insync.replicas": "4"})
    (problem,) = problems_of(wanted, found, SAFE, production=True)
    assert problem.text.startswith("min.insync.replicas=4: there are 3 copies, so nothing could be written. Fix: ")


def test_in_production_a_single_disk_is_too_few() -> None:
    wanted, found = safe_topic({"min.insync.replicas": "1"}, replication=2)
    assert problems_of(wanted, found, SAFE, production=False) == []
    in_sync, copies = sorted(problems_of(wanted, found, SAFE, production=True), key=lambda problem: problem.setting)
    assert in_sync.change == ("min.insync.replicas", "2")
    assert copies.fix == "kafka-reassign-partitions.sh with three replicas for each partition"


async def test_production_creates_nothing(place: Place) -> None:
    with pytest.raises(ConfigurationError, match=r"events does not exist\. Fix: eventstore topics apply"):
        async with place.log(production=True):
            pass
    assert await place.all_topics() == {}


async def test_another_partition_count_than_recorded_is_refused(place: Place) -> None:
    async with place.log():
        pass
    for topic in (place.events, place.commands):
        place.add_partition(topic, 3)
    with pytest.raises(ConfigurationError, match=r"events: partitions: there are 3 instead of 2, so ids hash to other"):
        async with place.log():
            pass


async def test_events_and_commands_with_different_partition_counts_are_refused(place: Place) -> None:
    await place.log().topics.apply()
    place.add_partition(place.commands, 3)
    with pytest.raises(ConfigurationError, match=r"commands: partitions: .* has 2 partitions and .* has 3"):
        async with place.log():
            pass


async def test_a_topic_made_anew_under_its_name_is_refused(place: Place) -> None:
    async with place.log():
        pass
    await place.recreate(place.events)
    with pytest.raises(
        ConfigurationError, match=r"topic id: it was deleted and made anew .* If that was intended, delete"
    ):
        async with place.log():
            pass


async def test_a_deleted_topic_is_not_replaced_by_an_empty_one(place: Place) -> None:
    async with place.log():
        pass
    await place.administration.delete(place.events)
    with pytest.raises(ConfigurationError, match="missing: it was deleted, and every event in it is lost"):
        async with place.log():
            pass
    assert place.events not in await place.all_topics()


async def test_an_index_of_another_cluster_says_nothing_about_topics(place: Place) -> None:
    async with place.log() as log:
        path = next(place.directory.glob("*.db"))
        log_id = log.log_id
    await place.recreate(place.events)
    rename_log(path, "another/cluster")
    async with place.log() as log:
        assert log.log_id == log_id


def rename_log(path: Path, log_id: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE meta SET value = ? WHERE name = 'log_id'", (log_id,))


async def test_partitions_added_while_the_log_is_open_are_noticed_without_a_hint(place: Place) -> None:
    noticed: asyncio.Future[EventStoreError] = asyncio.get_running_loop().create_future()
    await place.log().topics.apply()
    identities = {name: topic.identity for name, topic in (await place.all_topics()).items()}
    async with TopicWatch(place.administration, identities, noticed.set_result, Environment(), seconds=0.1):
        place.add_partition(place.events, 3)
        assert "there are 3 instead of 2" in str(await noticed)


async def test_a_topic_deleted_while_the_log_is_open_stops_it(place: Place) -> None:
    async with place.owned() as log:
        await place.administration.delete(place.events)
        with pytest.raises(StoreClosedError, match="missing: it was deleted, and every event in it is lost"):
            while True:
                with suppress(LogUnavailableError):
                    await log.ends()
                await asyncio.sleep(0.05)


async def test_a_topic_made_anew_while_the_log_is_open_stops_it_and_nothing_is_acknowledged(place: Place) -> None:
    async with place.owned() as log:
        partition = log.partition_of("task-1")
        await log.commit(partition, [commit_of("task-1", 0, 2)])
        await place.recreate(place.events)
        with pytest.raises((CorruptLogError, StoreClosedError), match="made anew"):
            for version in range(2, 10_000):
                await try_to_commit(log, partition, version)


async def try_to_commit(log: KafkaLog, partition: str, version: int) -> None:
    """Whatever passes by itself is tried again; an acknowledgement would be a lie."""
    try:
        outcomes = await log.commit(partition, [commit_of("task-1", version)])
    except EventStoreError as error:
        if not error.retriable:
            raise
        await asyncio.sleep(0.05)
    else:
        raise AssertionError(outcomes)


async def test_several_processes_may_start_at_once(place: Place) -> None:
    program = (
        "import asyncio, sys\n"
        "from eventstore.kafka import KafkaLog, KafkaOptions\n"
        "async def main(bootstrap, prefix, directory):\n"
        "    options = KafkaOptions(partitions=2, directory=directory)\n"
        "    async with KafkaLog(bootstrap, prefix=prefix, categories=['task'], options=options) as log:\n"
        "        print(len(log.partitions))\n"
        "asyncio.run(main(*sys.argv[1:]))\n"
    )
    arguments = [sys.executable, "-c", program, place.bootstrap, place.names.prefix, str(place.directory)]
    started = [await asyncio.create_subprocess_exec(*arguments, stdout=subprocess.PIPE) for _ in range(2)]
    results = await asyncio.gather(*(process.communicate() for process in started))
    assert [output for output, _ in results] == [b"2\n", b"2\n"]


async def test_the_brokers_prove_that_they_keep_a_former_owner_out(place: Place) -> None:
    assert await place.log().topics.prove_fence()
    left = [name for name in place.admin.list_topics(timeout=10).topics if name.startswith(place.names.prefix)]
    assert left == []


class Unfenced(Wire):
    """What brokers without fencing would give: every caller a lease that shuts nobody out."""

    async def init_producer_id(self, transactional_id: str, seconds: float) -> tuple[int, ProducerIdentity]:
        return await super().init_producer_id(f"{transactional_id}.{uuid4()}", seconds)


async def test_brokers_that_keep_nobody_out_are_refused(place: Place) -> None:
    async with Unfenced(Connection(place.bootstrap)) as wire:
        with pytest.raises(ConfigurationError, match="two owners could write at the same time"):
            await prove_fence(wire, place.administration, place.names, Environment())


APP = """
from eventstore import EventStore
from eventstore.kafka import KafkaLog, KafkaOptions
from examples.task_domain.aggregates import Task
def store():
    return EventStore(KafkaLog({bootstrap!r}, prefix={prefix!r}, options=KafkaOptions(partitions=2, directory={directory!r})), aggregates=[Task])
"""


def run_cli(place: Place, *arguments: str) -> tuple[int, list[dict[str, str]], str]:
    app = place.directory / "kafka_app.py"
    app.write_text(APP.format(bootstrap=place.bootstrap, prefix=place.names.prefix, directory=str(place.directory)))
    done = subprocess.run(
        [sys.executable, "-m", "eventstore.cli", "--json", *arguments],
        env={**os.environ, "EVENTSTORE_APP": "kafka_app:store", "PYTHONPATH": f"{place.directory}:{Path.cwd()}"},
        capture_output=True,
        text=True,
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_the_command_line_plans_and_applies_and_then_the_doctor_is_content(place: Place) -> None:
    code, rows, _ = run_cli(place, "topics", "plan")
    assert (code, {row["action"] for row in rows}) == (0, {"create"})
    code, rows, _ = run_cli(place, "topics", "apply")
    assert (code, len(rows)) == (0, 3)
    code, rows, _ = run_cli(place, "doctor")
    assert code == 0
    assert {"fence", place.events} <= {row["check"] for row in rows if row["result"] == "ok"}


async def test_the_command_line_finds_what_is_unsafe_in_the_topics(place: Place) -> None:
    await place.log().topics.apply()
    await place.administration.change(place.events, {"cleanup.policy": "delete"})
    code, rows, _ = await asyncio.to_thread(run_cli, place, "topics", "check")
    assert code == 1
    assert [row["check"] for row in rows if row["result"] == "fail"] == [place.events]
