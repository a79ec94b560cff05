"""The Kafka that tests start for themselves: usable, durable over a kill, and gone without a trace."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from eventstore.testing.kafka import KafkaCluster

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.kafka


def new_topic(client: Mapping[str, str], replicas: int = 1) -> str:
    """Create a topic with one partition."""
    name = f"t-{uuid4().hex}"
    admin = AdminClient(dict(client))
    admin.create_topics([NewTopic(name, 1, replicas)])[name].result(15)
    return name


def produce(client: Mapping[str, str], topic: str, *values: bytes) -> None:
    """Write the values durably, or raise."""
    failures: list[object] = []
    producer = Producer({**client, "acks": "all", "message.timeout.ms": 15000})
    for value in values:
        producer.produce(topic, value, partition=0, on_delivery=lambda error, _: failures.append(error))
    producer.flush(15)
    assert failures == [None] * len(values)


def consume(client: Mapping[str, str], topic: str, count: int) -> list[bytes | None]:
    """Read the first values of a topic."""
    consumer = Consumer({**client, "group.id": uuid4().hex, "auto.offset.reset": "earliest"})
    try:
        consumer.subscribe([topic])
        return [message.value() for message in consumer.consume(count, timeout=15)]
    finally:
        consumer.close()


def test_a_record_written_with_confluent_kafka_is_read_back(kafka_bootstrap: str) -> None:
    client = {"bootstrap.servers": kafka_bootstrap}
    topic = new_topic(client)
    produce(client, topic, b"7")
    assert consume(client, topic, 1) == [b"7"]


async def test_a_record_written_with_aiokafka_is_read_back(kafka_bootstrap: str) -> None:
    topic = new_topic({"bootstrap.servers": kafka_bootstrap})
    async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap) as producer:
        await producer.send_and_wait(topic, b"7")
    async with AIOKafkaConsumer(topic, bootstrap_servers=kafka_bootstrap, auto_offset_reset="earliest") as consumer:
        assert (await consumer.getone()).value == b"7"


async def test_acknowledged_records_survive_a_kill_and_a_restart() -> None:
    async with KafkaCluster() as cluster:
        client = {"bootstrap.servers": cluster.bootstrap}
        topic = new_topic(client)
        produce(client, topic, b"7")
        await cluster.nodes[0].kill()
        assert cluster.nodes[0].pid is None
        await cluster.nodes[0].start()
        assert consume(client, topic, 1) == [b"7"]
