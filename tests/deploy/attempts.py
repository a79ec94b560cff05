"""Everything that somebody could try on a cluster, each tried as a user: what is refused, and what is not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any

from aiokafka.conn import create_conn
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import InitProducerIdRequest
from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from eventstore.kafka import Connection
from eventstore.kafka.reconnecting import login_of
from eventstore.kafka.records import Record
from eventstore.kafka.wire import ProducerIdentity, encode_batch

REFUSED = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError._NOENT,
}
PASSING = {KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.NOT_COORDINATOR, KafkaError.CONCURRENT_TRANSACTIONS}
SECONDS = 15
TOPICS = {
    "events": "tasks.task.events",
    "other events": "tasks.calendar.events",
    "commands": "tasks.task.commands",
    "replies": "tasks.replies",
    "public": "tasks.public.tasks",
    "foreign": "billing.events",
}
GROUPS = {
    "owners": "tasks.owners",
    "read model": "tasks.task_board.v1",
    "relay": "tasks.relay.task_announcements",
    "foreign": "billing.app",
}
TRANSACTIONS = {
    "events": "tasks.task.events.0",
    "relay": "tasks.relay.task_announcements.tasks.task.events.0",
    "fence": "tasks.fence-0.events.0",
    "foreign": "billing.1",
}
UNMADE = {"unknown category": "tasks.stranger.events", "scratch": "tasks.fence-0.events", "new foreign": "billing.new"}


async def everything_tried(connection: Connection) -> dict[str, bool]:
    """Try everything as the user of a connection to a single node; gives what was tried, and whether it was allowed."""
    tried = await _requests(connection)
    admin = AdminClient(connection.confluent())
    for name, attempt in {**_on_topics(admin), **_on_groups(admin), **_on_the_cluster(admin)}.items():
        code = await asyncio.to_thread(_code_of, partial(_finished, attempt))
        # What a user may not even see, its client does not ask for.
        assert code >= -1 or code == KafkaError._NOENT, (name, code)
        tried[name] = code not in REFUSED
    return tried


async def _requests(connection: Connection) -> dict[str, bool]:
    """Try what the clients would only do after other requests, which may be refused, too."""
    host, _, port = connection.bootstrap.partition(":")
    node: Any = await create_conn(host, int(port), request_timeout_ms=10_000, **login_of(connection))
    codes: dict[str, int] = {}
    try:
        for name, topic in TOPICS.items():
            answer = await node.send(FetchRequest(0, 0, 1_000_000, 0, [(topic, [(0, 0, 1_000_000)])]))
            codes[f"read {name}"] = answer.topics[0][1][0][1]
            batch = encode_batch([Record(b"x", b"x", [])], ProducerIdentity(-1, -1), -1)
            answer = await node.send(ProduceRequest(None, -1, 5_000, [(topic, [(0, batch)])]))
            codes[f"write {name}"] = answer.topics[0][1][0][1]
        for name, group in GROUPS.items():
            # Who may be a member is only told that it is none.
            codes[f"be in the group of {name}"] = (await node.send(HeartbeatRequest(group, 0, "x"))).error_code
        for name, identifier in TRANSACTIONS.items():
            answer = await node.send(InitProducerIdRequest(identifier, 10_000))
            codes[f"take the transactional id of {name}"] = answer.error_code
    finally:
        await node.close()
    for name, code in codes.items():
        assert code in {0, KafkaError.UNKNOWN_MEMBER_ID, *PASSING, *REFUSED}, (name, code)
    return {name: code not in REFUSED for name, code in codes.items()}


def _finished(attempt: Callable[[], Future[Any]]) -> None:
    attempt().result(SECONDS)


def _code_of(attempt: Callable[[], object]) -> int:
    try:
        attempt()
    except KafkaException as error:
        return int(error.args[0].code())
    return 0


def _on_topics(admin: Any) -> dict[str, Callable[[], Future[Any]]]:
    def altered(topic: str) -> ConfigResource:
        change = ConfigEntry("retention.ms", "1", incremental_operation=AlterConfigOpType.SET)
        return ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[change])

    def only(futures: Mapping[Any, Future[Any]]) -> Future[Any]:
        (future,) = futures.values()
        return future

    attempts: dict[str, Callable[[], Future[Any]]] = {}
    for name, topic in TOPICS.items():
        attempts |= {
            f"describe {name}": lambda topic=topic: only(admin.describe_topics(TopicCollection([topic]))),
            f"see the settings of {name}": lambda topic=topic: only(
                admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)])
            ),
            f"change the settings of {name}": lambda topic=topic: only(
                admin.incremental_alter_configs([altered(topic)], validate_only=True)
            ),
            f"add partitions to {name}": lambda topic=topic: only(
                admin.create_partitions([NewPartitions(topic, 50)], validate_only=True)
            ),
            f"empty {name}": lambda topic=topic: only(admin.delete_records([TopicPartition(topic, 0, 0)])),
        }
    for name, topic in {**TOPICS, **UNMADE}.items():
        attempts |= {
            f"create {name}": lambda topic=topic: only(
                admin.create_topics([NewTopic(topic, 1, 1)], validate_only=True)
            ),
            f"delete {name}": lambda topic=topic: only(admin.delete_topics([topic])),
        }
    return attempts


def _on_groups(admin: Any) -> dict[str, Callable[[], Future[Any]]]:
    attempts: dict[str, Callable[[], Future[Any]]] = {}
    for name, group in GROUPS.items():
        attempts |= {
            f"look at the group of {name}": lambda group=group: admin.describe_consumer_groups([group])[group],
            f"delete the group of {name}": lambda group=group: admin.delete_consumer_groups([group])[group],
        }
    return attempts


def _on_the_cluster(admin: Any) -> dict[str, Callable[[], Future[Any]]]:
    binding = "topic", "tasks.", "prefixed", "User:tasks-relay", "*", "all", "allow"
    broker = ConfigResource(ResourceType.BROKER, "1")
    change = ConfigEntry("log.retention.ms", "1", incremental_operation=AlterConfigOpType.SET)
    altered = ConfigResource(ResourceType.BROKER, "1", incremental_configs=[change])
    credentials = UserScramCredentialUpsertion("x", ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096), b"x")

    def only(futures: Mapping[Any, Future[Any]]) -> Future[Any]:
        (future,) = futures.values()
        return future

    return {
        "grant rights": lambda: only(admin.create_acls([AclBinding(*binding)])),
        "take rights": lambda: only(admin.delete_acls([AclBindingFilter(*binding)])),
        "see the brokers' settings": lambda: only(admin.describe_configs([broker])),
        "change the brokers' settings": lambda: only(admin.incremental_alter_configs([altered], validate_only=True)),
        "make users": lambda: only(admin.alter_user_scram_credentials([credentials])),
    }
