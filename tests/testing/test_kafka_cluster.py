"""Three secure nodes: known users do what they were allowed, whichever node is there to answer."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from eventstore.core.errors import ConfigurationError
from eventstore.testing.kafka import KafkaCluster
from eventstore.testing.kafka_config import Permission
from tests.testing.records import consume, known_nodes, new_topic, produce

if TYPE_CHECKING:
    from collections.abc import Generator

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("kafka_installation"), pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def cluster() -> Generator[KafkaCluster]:
    with KafkaCluster(nodes=3, secure=True) as started:
        yield started


@pytest.fixture
async def user(cluster: KafkaCluster) -> str:
    """A user of the test's own, who may do nothing."""
    name = f"u-{uuid4().hex}"
    await cluster.create_user(name)
    return name


async def test_a_user_does_what_was_allowed(cluster: KafkaCluster, user: str) -> None:
    topic = new_topic(cluster.client_settings())
    await cluster.allow(user, [Permission("topic", topic, operation) for operation in ("Write", "Describe", "Read")])
    assert produce(cluster.client_settings(user), topic, b"7") == [None]
    await cluster.allow(user, [Permission("group", "*", "Read")])
    assert consume(cluster.client_settings(user), topic, 1) == [b"7"]


async def test_a_permission_for_a_prefix_holds_for_names_that_begin_with_it(cluster: KafkaCluster, user: str) -> None:
    topic = new_topic(cluster.client_settings())
    await cluster.allow(user, [Permission("topic", topic[:20], "Write", "prefixed")])
    assert produce(cluster.client_settings(user), topic, b"7") == [None]


async def test_a_user_without_permission_is_refused(cluster: KafkaCluster, user: str) -> None:
    topic = new_topic(cluster.client_settings())
    await cluster.allow(user, [Permission("topic", topic, "Describe")])
    refusal = produce(cluster.client_settings(user), topic, b"7", seconds=5)
    assert refusal == [KafkaError.TOPIC_AUTHORIZATION_FAILED]


def test_a_wrong_password_is_refused(cluster: KafkaCluster) -> None:
    refused: list[KafkaError] = []
    admin = AdminClient({**cluster.client_settings(), "sasl.password": "wrong", "error_cb": refused.append})
    with pytest.raises(KafkaException):
        admin.list_topics(timeout=1)
    admin.poll(1)
    assert KafkaError._AUTHENTICATION in [error.code() for error in refused]


def test_a_client_without_tls_is_refused(cluster: KafkaCluster) -> None:
    with pytest.raises(KafkaException, match="Failed to get metadata"):
        known_nodes({"bootstrap.servers": cluster.bootstrap}, seconds=1)


async def test_a_node_that_comes_back_still_knows_users_and_what_they_were_allowed(
    cluster: KafkaCluster, user: str
) -> None:
    topic = new_topic(cluster.client_settings(), replicas=3)
    await cluster.allow(user, [Permission("topic", topic, "Write")])
    await cluster.nodes[1].stop()
    await cluster.nodes[1].start()
    client = {**cluster.client_settings(user), "bootstrap.servers": cluster.nodes[1].address}
    assert produce(client, topic, b"7") == [None]


async def test_records_are_acknowledged_and_kept_while_one_node_is_killed_and_comes_back(cluster: KafkaCluster) -> None:
    client = cluster.client_settings()
    topic = new_topic(client, replicas=3)
    before = produce(client, topic, b"1")
    await cluster.nodes[0].kill()
    during = produce(client, topic, b"2", seconds=30)
    await cluster.nodes[0].start()
    after = produce(client, topic, b"3")
    assert (before, during, after) == ([None], [None], [None])
    assert consume(client, topic, 3) == [b"1", b"2", b"3"]
    assert known_nodes(client) == {1, 2, 3}


def test_a_user_nobody_created_has_no_settings(cluster: KafkaCluster) -> None:
    with pytest.raises(ConfigurationError, match=r"create_user\('nobody'\) first"):
        cluster.client_settings("nobody")


async def test_an_open_cluster_has_no_users() -> None:
    with pytest.raises(ConfigurationError, match=r"KafkaCluster\(secure=True\)"):
        await KafkaCluster().create_user("ann")


def test_a_secure_cluster_cannot_be_kept(tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(ConfigurationError, match="leave out either"):
        KafkaCluster(secure=True, directory=tmp_path_factory.mktemp("kept"))
