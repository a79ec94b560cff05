"""Each role does what it is for with its own rights, on a cluster that refuses everything else."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from eventstore import ConfigurationError
from eventstore.inbox import receiving, source_of
from eventstore.kafka.inbox import letters_of
from eventstore.kafka.names import Names
from eventstore.kafka.rights import Role, rights_of
from eventstore.publishing import relaying
from eventstore.testing.kafka import KafkaCluster
from tests.kafka.billing import produce, record
from tests.kafka.connections import connection_to, new_user
from tests.kafka.relaying import published
from tests.kafka.roles import FOREIGN, PREFIX, Echo, Payments, Totals, opened, store_of
from tests.kafka.securing import SecureKafka
from tests.write.domain import Count, Counter

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]


@pytest.fixture(scope="module")
def cluster(secure_kafka: SecureKafka) -> KafkaCluster:
    """With the topics of the application, which its operator made, and one of somebody else."""
    asyncio.run(prepare(secure_kafka.cluster))
    return secure_kafka.cluster


async def prepare(cluster: KafkaCluster) -> None:
    admin = AdminClient(cluster.client_settings())
    admin.create_topics([NewTopic(FOREIGN, 1, 1)])[FOREIGN].result(15)
    operator = await user_as(cluster, "operator")
    letters = Names(PREFIX).inbox_dead("payments")
    creator = AdminClient(cluster.client_settings(operator))
    creator.create_topics([NewTopic(letters, 1, 1)])[letters].result(15)
    store = store_of(connection_to(cluster, operator), Path())
    topics = store.log.topics.of(store.application.inventory(inboxes=True))
    plan = await topics.apply()
    assert not plan.missing
    assert await topics.prove_fence()


async def user_as(cluster: KafkaCluster, role: Role, without: str = "", *, sends: bool = False) -> str:
    inventory = store_of(connection_to(cluster, "admin"), Path()).application.inventory(inboxes=True)
    return await new_user(cluster, rights_of(role, Names(PREFIX), inventory, sends=sends), without)


async def test_a_writer_executes_keeps_read_models_and_hears_of_others(cluster: KafkaCluster, tmp_path: Path) -> None:
    writer, stream = connection_to(cluster, await user_as(cluster, "writer")), uuid4().hex
    async with opened(writer, tmp_path / "a") as store:
        done = await store.execute(Counter, stream, Count(note="echo"))
        await store.wait_for(Totals, done.token, timeout=20)
        await store.wait_for(Echo, done.token, timeout=20)
        assert (await store.load(Counter, f"{stream}-echo")).total == 1


async def test_a_projection_keeps_read_models_and_may_not_send(cluster: KafkaCluster, tmp_path: Path) -> None:
    writer = connection_to(cluster, await user_as(cluster, "writer"))
    projection = connection_to(cluster, await user_as(cluster, "projection"))
    async with (
        opened(writer, tmp_path / "a", workers=False) as owner,
        opened(projection, tmp_path / "b", serve=False, workers=False) as reader,
    ):
        reader.query_side.start_workers(["totals"])
        done = await owner.execute(Counter, uuid4().hex, Count())
        await reader.wait_for(Totals, done.token, timeout=20)
        with pytest.raises(ConfigurationError, match=r"shop\.replies cannot be read.*TOPIC_AUTHORIZATION_FAILED"):
            await reader.execute(Counter, uuid4().hex, Count())


async def test_a_projection_that_sends_runs_process_managers(cluster: KafkaCluster, tmp_path: Path) -> None:
    writer, stream = connection_to(cluster, await user_as(cluster, "writer")), uuid4().hex
    sender = connection_to(cluster, await user_as(cluster, "projection", sends=True))
    async with (
        opened(writer, tmp_path / "a", workers=False) as owner,
        opened(sender, tmp_path / "b", serve=False) as store,
    ):
        done = await store.execute(Counter, stream, Count(note="echo"))
        await store.wait_for(Echo, done.token, timeout=20)
        assert (await owner.load(Counter, f"{stream}-echo")).total == 1


async def test_a_projection_without_the_right_to_its_group_says_so(cluster: KafkaCluster, tmp_path: Path) -> None:
    user = connection_to(cluster, await user_as(cluster, "projection", "group"))
    with pytest.raises(ConfigurationError, match=r"GROUP_AUTHORIZATION_FAILED.*grant Read on the group"):
        async with opened(user, tmp_path, serve=False, workers=False) as store:
            await asyncio.gather(*store.query_side.start_workers(["totals"]))


async def test_a_relay_publishes(cluster: KafkaCluster, tmp_path: Path) -> None:
    writer = connection_to(cluster, await user_as(cluster, "writer"))
    relay = store_of(connection_to(cluster, await user_as(cluster, "relay")), tmp_path / "b")
    async with opened(writer, tmp_path / "a", workers=False) as owner, relaying(relay, "feed", begin=True) as run:
        await owner.execute(Counter, uuid4().hex, Count())
        await published(run, 1)
    (status, *_) = await store_of(
        connection_to(cluster, await user_as(cluster, "operator")), tmp_path
    ).log.relay_status(relay.application.publication("feed")[1], 5)
    assert status.state == "idle"


async def test_a_writer_runs_an_inbox_and_keeps_its_dead_letters(cluster: KafkaCluster, tmp_path: Path) -> None:
    writer, account = connection_to(cluster, await user_as(cluster, "writer")), uuid4().hex
    async with opened(writer, tmp_path, workers=False) as store, receiving(store):
        produce(
            cluster.bootstrap, FOREIGN, [record(account, 1, 2), record(account, 2, 13)], **cluster.client_settings()
        )
        letters = letters_of(source_of(store), Payments.definition)
        async with asyncio.timeout(20):
            while not (waiting := await letters.waiting()):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)
        assert [letter.message.offset for letter in waiting] == [1]
        assert (await store.load(Counter, account)).total == 2
