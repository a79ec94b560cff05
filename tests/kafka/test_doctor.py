"""What the doctor says about brokers and consumer groups, each fault made for real."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from eventstore import EventStore, Settings
from eventstore.cli.cluster import _unlike, examine_brokers, examine_groups
from eventstore.cli.findings import Finding, Limits
from eventstore.cli.topics import examine
from eventstore.core.errors import LogUnavailableError
from eventstore.environment import Environment, SystemClock
from eventstore.kafka import KafkaLog, KafkaOptions
from eventstore.kafka.brokers import BrokerState
from eventstore.testing.kafka import KafkaCluster
from examples.task_domain.aggregates import Task
from examples.task_domain.next_release import TaskBoard
from tests.waiting import until

pytestmark = pytest.mark.kafka
LIMITS = Limits(free_bytes=0, skew_seconds=1)


class Late(SystemClock):
    """A clock that somebody set back."""

    def now(self) -> datetime:
        return super().now() - timedelta(hours=1)


def log_on(bootstrap: str, directory: Path, prefix: str, environment: Environment | None = None) -> KafkaLog:
    options = KafkaOptions(partitions=2, directory=directory)
    return KafkaLog(bootstrap, prefix=prefix, categories=["task"], options=options, environment=environment)


@pytest.mark.timeout(120)
async def test_a_broker_that_does_not_answer_and_copies_that_are_missing_are_told(
    kafka_installation: object, tmp_path: Path
) -> None:
    async with KafkaCluster(nodes=3) as cluster:
        log = log_on(cluster.bootstrap, tmp_path, "shop")
        await log.topics.apply()
        sound = [finding async for finding in examine_brokers(log, LIMITS)]
        cluster.nodes[2].pause()  # the others notice after some seconds
        paused = [finding async for finding in examine_brokers(log, LIMITS)]
        cluster.nodes[2].resume()
        await cluster.nodes[2].kill()
        topics = await described(log)
    assert [(finding.result, finding.check) for finding in sound] == [("ok", f"broker {n}") for n in (1, 2, 3)]
    assert all("its clock is right" in finding.found for finding in sound)
    assert [finding.result for finding in paused] == ["ok", "ok", "fail"]
    assert "does not answer this machine: start it" in paused[2].found
    assert "the copies on broker 3 are missing or behind" in topics["shop.task.events"].found


async def described(log: KafkaLog) -> dict[str, Finding]:
    """Look at the topics as soon as there is a controller again."""
    while True:
        try:
            return {finding.check: finding async for finding in examine(log.topics) if finding.result == "warn"}
        except LogUnavailableError:
            await asyncio.sleep(0.5)


async def test_a_broker_whose_clock_differs_is_told(kafka_bootstrap: str, tmp_path: Path) -> None:
    log = log_on(kafka_bootstrap, tmp_path, f"d{uuid4().hex[:8]}", Environment(clock=Late()))
    (finding,) = [finding async for finding in examine_brokers(log, LIMITS)]
    assert (finding.result, bool(re.search(r"3,(600.0|59\d.\d) s ahead of this machine's", finding.found))) == (
        "warn",
        True,
    )


def test_brokers_of_different_versions_are_told() -> None:
    old, new = BrokerState(1, "a:1", {0: (3, 11)}), BrokerState(2, "b:1", {0: (3, 13)})
    assert (
        _unlike([old, new, BrokerState(3, "c:1", None)])
        == "broker 2 speaks other versions of the protocol than broker 1"
    )
    assert _unlike([old, old]) == ""


class Shop:
    """A store that owns nothing and works on nothing, and the groups of others."""

    def __init__(self, store: EventStore, log: KafkaLog) -> None:
        self.store, self.log = store, log

    async def findings(self) -> dict[str, Finding]:
        found = examine_groups(self.log, self.store, await self.store.statuses())
        return {finding.check: finding async for finding in found}

    def command(self) -> None:
        """Send a command that nobody executes."""
        producer = Producer({"bootstrap.servers": self.log.connection.bootstrap})
        producer.produce(self.log.names.commands("task"), b"{}", partition=0)
        assert producer.flush(10) == 0

    @contextmanager
    def member(
        self, group: str, topic: str, *, polls: bool = True, strategy: str = "cooperative-sticky"
    ) -> Generator[set[int]]:
        """Be a member of a group: one that takes part, or one that stands still as soon as it has joined."""
        has: set[int] = set()
        consumer = Consumer({
            "bootstrap.servers": self.log.connection.bootstrap, "group.id": group, "enable.auto.commit": False,
            "partition.assignment.strategy": strategy, "session.timeout.ms": 6000, "heartbeat.interval.ms": 100,
        })  # fmt: skip
        done = Event()

        def assigned(_: object, partitions: list[TopicPartition]) -> None:
            has.update(partition.partition for partition in partitions)

        def poll() -> None:  # all that the consumer is used for, since two threads at a time may block each other
            consumer.subscribe([topic], on_assign=assigned)
            while not done.is_set() and (polls or not has):
                consumer.poll(0.05)
            done.wait()
            consumer.close()

        thread = Thread(target=poll)
        thread.start()
        try:
            yield has
        finally:
            done.set()
            thread.join()


@pytest.fixture
async def shop(kafka_bootstrap: str, tmp_path: Path) -> AsyncGenerator[Shop]:
    async with opened(kafka_bootstrap, tmp_path, f"d{uuid4().hex[:8]}", serve=False) as shop:
        yield shop


@asynccontextmanager
async def opened(bootstrap: str, directory: Path, prefix: str, *, serve: bool) -> AsyncGenerator[Shop]:
    log = log_on(bootstrap, directory, prefix)
    settings = Settings(serve=serve, workers=serve)
    async with EventStore(log, aggregates=[Task], projections=[TaskBoard], settings=settings) as store:
        yield Shop(store, log)


async def test_groups_whose_members_have_everything_are_fine(kafka_bootstrap: str, tmp_path: Path) -> None:
    async with opened(kafka_bootstrap, tmp_path, f"d{uuid4().hex[:8]}", serve=True) as shop:
        await shop.log.serving()
        found = await shop.findings()
        while {finding.result for finding in found.values()} != {"ok"}:  # workers join a moment later
            found = await shop.findings()
    assert found["owners"] == Finding(
        "ok", "owners", f"1 members of {shop.log.names.owners_group} have all 2 partitions"
    )
    assert found["task_board.v2"].result == "ok"


async def test_commands_that_nobody_owns_are_told(shop: Shop) -> None:
    assert (await shop.findings())["owners"].result == "warn"
    shop.command()
    owners = (await shop.findings())["owners"]
    assert owners.result == "fail"
    assert "and 1 commands wait: start the application, or eventstore worker" in owners.found


async def test_commands_that_their_owner_does_not_answer_are_told(shop: Shop) -> None:
    shop.command()
    with shop.member(shop.log.names.owners_group, shop.log.names.commands("task")) as has:
        await until(lambda: len(has) == 2)
        owners = (await shop.findings())["owners"]
    assert (owners.result, "1 commands wait" in owners.found) == ("warn", True)
    assert "none was answered for 2 s" in owners.found


async def test_partitions_that_no_member_has_are_told(shop: Shop) -> None:
    with shop.member(shop.log.names.owners_group, shop.log.names.replies) as has:
        await until(lambda: bool(has))
        owners = (await shop.findings())["owners"]
    assert (owners.result, f"{shop.log.names.commands('task')}/0" in owners.found) == ("fail", True)
    assert "runs another version of the application: restart it" in owners.found


async def test_a_group_that_a_member_holds_up_is_told(shop: Shop) -> None:
    group, topic = shop.log.names.owners_group, shop.log.names.commands("task")
    with shop.member(group, topic, polls=False, strategy="range") as still:
        await until(lambda: bool(still))
        with shop.member(group, topic, strategy="range"):
            while (await shop.log.groups.describe([group]))[group].state == "stable":  # noqa: ASYNC110 - of a group
                await asyncio.sleep(0.05)  # the newcomer is on its way
            owners = (await shop.findings())["owners"]
    assert owners.result == "fail"
    assert "preparing rebalancing for 2 s" in owners.found


async def test_processes_that_work_on_a_version_of_the_past_are_told(shop: Shop) -> None:
    old = shop.log.names.workers_group("task_board.v1")
    with shop.member(old, shop.log.names.events("task")) as has:
        await until(lambda: bool(has))
        found = (await shop.findings())[old]
    assert (found.result, "stop the processes of the older code" in found.found) == ("warn", True)
