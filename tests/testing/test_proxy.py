"""The proxy before a broker does to requests what was asked for, and nothing to others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from eventstore.core.errors import ConfigurationError
from eventstore.kafka.answers import NO_ANSWER, NOT_SENT
from eventstore.kafka.connection import Connection
from eventstore.kafka.records import Record
from eventstore.kafka.wire import ProducerIdentity, Reply, Wire, encode_batch
from eventstore.testing.kafka_config import NodeAddress
from eventstore.testing.kafka_installation import KafkaInstallation
from eventstore.testing.kafka_node import KafkaNode
from eventstore.testing.proxy import FETCH, LIST_OFFSETS, PRODUCE, KafkaProxy
from tests.conftest import ProxiedKafka
from tests.testing.records import new_topic

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]
NOBODY = ProducerIdentity(-1, -1)


class Client:
    """Writes one record per call over the proxy, without retrying."""

    def __init__(self, wire: Wire, topic: str) -> None:
        self.wire, self.topic = wire, topic

    async def write(self) -> Reply:
        batch = encode_batch([Record(b"key", b"value", [])], NOBODY, -1)
        return await self.wire.produce(self.topic, 0, batch, 10)

    async def end(self) -> int:
        return (await self.wire.end_offset(self.topic, 0)).value


@pytest.fixture
async def proxy(proxied_kafka: ProxiedKafka) -> AsyncGenerator[KafkaProxy]:
    async with KafkaProxy(proxied_kafka.port) as proxy:
        proxy.lead_to(proxied_kafka.cluster.nodes[0].proxied_address)
        yield proxy


@asynccontextmanager
async def client_at(address: str, topic: str) -> AsyncGenerator[Client]:
    async with Wire(Connection(address)) as wire:
        await wire.know([topic])
        yield Client(wire, topic)


@pytest.fixture
async def client(proxy: KafkaProxy, proxied_kafka: ProxiedKafka) -> AsyncGenerator[Client]:
    topic = new_topic({"bootstrap.servers": proxied_kafka.bootstrap})
    async with client_at(proxy.address, topic) as client:
        yield client


async def test_without_a_rule_everything_passes(client: Client) -> None:
    assert await client.write() == Reply(0, 0)
    assert await client.write() == Reply(0, 1)
    assert await client.end() == 2


async def test_cut_before_keeps_the_request_from_the_broker(client: Client, proxy: KafkaProxy) -> None:
    rule = proxy.on(PRODUCE, "cut before", times=1)
    assert (await client.write()).code == NO_ANSWER
    assert rule.hits == 1
    assert await client.end() == 0


async def test_cut_after_lets_the_request_take_effect_and_loses_its_answer(client: Client, proxy: KafkaProxy) -> None:
    proxy.on(PRODUCE, "cut after", times=1)
    assert (await client.write()).code == NO_ANSWER
    assert await client.end() == 1
    assert await client.write() == Reply(0, 1)


async def test_a_lost_answer_leaves_the_connection_open_and_silent(client: Client, proxy: KafkaProxy) -> None:
    proxy.on(PRODUCE, "lose answer", times=1)
    began = time.monotonic()
    assert (await client.write()).code == NO_ANSWER
    assert time.monotonic() - began > 2.5  # the client's own patience
    assert await client.end() == 1


async def test_a_delayed_answer_arrives_later(client: Client, proxy: KafkaProxy) -> None:
    await client.write()
    proxy.on(PRODUCE, "delay", times=1, seconds=0.5)
    began = time.monotonic()
    assert await client.write() == Reply(0, 1)
    assert time.monotonic() - began >= 0.5


async def test_a_held_request_reaches_the_broker_when_it_is_released(client: Client, proxy: KafkaProxy) -> None:
    rule = proxy.on(PRODUCE, "hold", times=1)
    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(client.write())
        await rule.hit()
        assert await client.end() == 0
        rule.release()
    assert writing.result() == Reply(0, 0)


async def test_a_held_request_reaches_the_broker_after_its_client_has_gone(
    proxy: KafkaProxy, proxied_kafka: ProxiedKafka
) -> None:
    topic = new_topic({"bootstrap.servers": proxied_kafka.bootstrap})
    rule = proxy.on(PRODUCE, "hold", times=1)
    async with client_at(proxy.address, topic) as client:
        assert (await client.write()).code == NO_ANSWER
    async with client_at(proxied_kafka.bootstrap, topic) as other:
        assert await other.end() == 0
        rule.release()
        async with asyncio.timeout(10):
            while await other.end() == 0:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.02)


async def test_rules_concern_one_kind_of_request_and_as_many_as_they_say(client: Client, proxy: KafkaProxy) -> None:
    ends, fetches = proxy.on(LIST_OFFSETS, "cut before", times=1), proxy.on(FETCH, "cut before")
    assert (await client.write()).code == 0
    assert await client.end() == -1
    assert await client.end() == 1
    assert (ends.hits, fetches.hits) == (1, 0)


async def test_a_rule_asks_about_each_request(client: Client, proxy: KafkaProxy) -> None:
    answers = iter([False, True, False])
    proxy.on(PRODUCE, "cut before", when=lambda: next(answers))
    assert [(await client.write()).code for _ in range(3)] == [0, NO_ANSWER, 0]


async def test_while_it_is_cut_nobody_gets_through(client: Client, proxy: KafkaProxy) -> None:
    await client.write()
    proxy.cut()
    assert (await client.write()).code in {NO_ANSWER, NOT_SENT}
    proxy.heal()
    assert (await client.write()).code == 0
    assert await client.end() == 2


async def test_while_it_is_stalled_nothing_arrives_and_afterwards_everything(client: Client, proxy: KafkaProxy) -> None:
    for offset in range(0, 4, 2):
        assert await client.write() == Reply(0, offset)
        proxy.stall()
        writing = asyncio.ensure_future(client.write())
        await asyncio.wait([writing], timeout=0.3)
        assert not writing.done()
        proxy.heal()
        assert await writing == Reply(0, offset + 1)


def test_a_node_without_a_proxy_says_how_to_get_one(kafka_installation: KafkaInstallation, tmp_path: Path) -> None:
    node = KafkaNode(NodeAddress(1, 9092, 9093), kafka_installation, tmp_path, {}, {})
    with pytest.raises(ConfigurationError, match=r"KafkaCluster\(proxies="):
        _ = node.proxied_address
