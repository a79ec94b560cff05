"""A secure cluster: TLS, logins and the least rights, from `KafkaLog` to the brokers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from eventstore.core.errors import ConfigurationError, StoreClosedError
from eventstore.core.inventory import Inventory
from eventstore.kafka import Connection, KafkaLog, KafkaOptions
from eventstore.kafka.administration import Administration
from eventstore.kafka.names import Names
from eventstore.kafka.rights import Role, grant_commands, rights_of
from eventstore.ports import StreamQuery
from eventstore.testing.kafka import KafkaCluster
from eventstore.testing.log_contract import commit_of
from tests.kafka.connections import connection_to, new_user
from tests.kafka.securing import SecureKafka
from tests.listening import listening

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]
PREFIX = "rights"
INVENTORY = Inventory(("task",))
CANARY = "canary-8d1f"


@pytest.fixture(scope="module")
def cluster(secure_kafka: SecureKafka) -> KafkaCluster:
    """With the topics of a log, which its operator made."""
    asyncio.run(prepare(secure_kafka.cluster))
    return secure_kafka.cluster


async def prepare(cluster: KafkaCluster) -> None:
    user = await user_as(cluster, "operator")
    options = KafkaOptions(partitions=1)
    log = KafkaLog(connection_to(cluster, user), prefix=PREFIX, categories=["task"], options=options)
    plan = await log.topics.apply()
    assert not plan.missing
    assert await log.topics.prove_fence()


async def user_as(cluster: KafkaCluster, role: Role, without: str = "") -> str:
    return await new_user(cluster, rights_of(role, Names(PREFIX), INVENTORY), without)


async def refuse(partition: str, message: bytes) -> bytes:
    raise AssertionError(partition, message)


@asynccontextmanager
async def opened(connection: Connection, directory: Path, *, production: bool = False) -> AsyncGenerator[KafkaLog]:
    options = KafkaOptions(partitions=1, directory=directory, commit_seconds=3, production=production)
    async with KafkaLog(connection, prefix=PREFIX, categories=["task"], options=options) as log:
        log.channel.serve(refuse)
        yield log


async def test_a_writer_with_the_least_rights_writes_and_reads(cluster: KafkaCluster, tmp_path: Path) -> None:
    user, stream = await user_as(cluster, "writer"), f"task-{uuid4().hex}"
    async with opened(connection_to(cluster, user), tmp_path) as log:
        await log.serving()
        await log.commit(log.partition_of(stream), [commit_of(stream, 0, 2)])
        (events,) = await log.read_streams([StreamQuery(stream)])
    assert [event.version for event in events] == [1, 2]


@pytest.mark.parametrize(
    ("without", "complaint"),
    [
        (
            "transactional_id",
            "TRANSACTIONAL_ID_AUTHORIZATION_FAILED.*grant Describe and Write on the transactional ids",
        ),
        ("group", "the group rights.owners cannot be joined .GROUP_AUTHORIZATION_FAILED.*grant Read"),
    ],
)
async def test_a_writer_that_lacks_a_right_is_told_which(
    cluster: KafkaCluster, tmp_path: Path, without: str, complaint: str
) -> None:
    user = await user_as(cluster, "writer", without)
    async with opened(connection_to(cluster, user), tmp_path) as log:
        with pytest.raises(StoreClosedError, match=complaint):
            await log.serving()


async def test_a_user_without_rights_is_told_where_it_lacks_them(cluster: KafkaCluster, tmp_path: Path) -> None:
    user = f"u-{uuid4().hex[:8]}"
    await cluster.create_user(user)
    with pytest.raises(ConfigurationError, match=r"rights\.replies cannot be seen \(TOPIC_AUTHORIZATION_FAILED"):
        async with opened(connection_to(cluster, user), tmp_path):
            pass


async def test_a_writer_cannot_change_topics(cluster: KafkaCluster) -> None:
    user = await user_as(cluster, "writer")
    administration = Administration(connection_to(cluster, user))
    log = KafkaLog(connection_to(cluster, user), prefix=PREFIX, categories=["task"])
    assert not await log.topics.prove_fence()
    events = Names(PREFIX).events("task")
    for forbidden in (administration.change(events, {"cleanup.policy": "delete"}), administration.delete(events)):
        with pytest.raises(ConfigurationError, match=r"could not be .* \(TOPIC_AUTHORIZATION_FAILED"):
            await forbidden


async def test_in_production_settings_that_may_not_be_seen_are_not_trusted(
    cluster: KafkaCluster, tmp_path: Path
) -> None:
    user = await user_as(cluster, "writer", "DescribeConfigs")
    with pytest.raises(ConfigurationError, match="not verified.*--operation DescribeConfigs"):
        async with opened(connection_to(cluster, user), tmp_path, production=True):
            pass


async def test_a_wrong_password_ends_it_at_once_and_is_not_logged(
    cluster: KafkaCluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    started = time.monotonic()
    with pytest.raises(ConfigurationError, match=r"login refused.*check user, password") as refused:
        async with opened(connection_to(cluster, "admin", password=CANARY), tmp_path):
            pass
    assert time.monotonic() - started < 3
    attempts = [record for record in caplog.records if "SASL" in record.getMessage()]
    assert len(attempts) <= 2
    assert CANARY not in f"{caplog.text} {refused.getrepr(showlocals=True)}"


async def test_a_certificate_of_an_unknown_authority_is_refused(cluster: KafkaCluster) -> None:
    with pytest.raises(ConfigurationError, match="TLS failed.*certificate"):
        await Administration(connection_to(cluster, "admin", authority=None)).cluster()


async def test_a_certificate_of_another_host_is_refused(cluster: KafkaCluster) -> None:
    host, _, port = cluster.bootstrap.partition(":")

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        try:
            await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))
        finally:
            far_writer.close()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async with listening(forward, "127.0.0.2") as own:
        address = f"127.0.0.2:{own}"
        with pytest.raises(ConfigurationError, match="TLS failed.*certificate"):
            await Administration(connection_to(cluster, "admin", bootstrap=address)).cluster()


def test_the_commands_that_grant_rights_name_every_operation() -> None:
    commands = grant_commands(rights_of("writer", Names(PREFIX), INVENTORY), "app", "broker:9092")
    begin = "kafka-acls.sh --bootstrap-server broker:9092 --add --allow-principal User:app --operation"
    look, fence = "Describe --operation DescribeConfigs", "Describe --operation Write"
    both, topics = (
        f"{look} --operation Read --operation Write",
        ("rights.replies", "rights.task.commands", "rights.task.events"),
    )
    assert [command.removeprefix(begin).strip() for command in commands] == [
        "Read --resource-pattern-type literal --group rights.owners",
        f"{both} --resource-pattern-type literal {' '.join(f'--topic {topic}' for topic in topics)}",
        f"{fence} --resource-pattern-type prefixed --transactional-id rights.task.events.",
    ]
