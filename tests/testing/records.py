"""Records written to and read from a broker, by client settings."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import uuid4

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic


def new_topic(client: Mapping[str, str], replicas: int = 1) -> str:
    """Create a topic with one partition."""
    name = f"t-{uuid4().hex}"
    admin = AdminClient(dict(client))
    admin.create_topics([NewTopic(name, 1, replicas)])[name].result(15)
    return name


def produce(client: Mapping[str, str], topic: str, *values: bytes, seconds: float = 15.0) -> list[int | None]:
    """Write the values with acks=all and give for each the code of its error, or None."""
    outcomes: list[int | None] = []
    producer = Producer({**client, "acks": "all", "message.timeout.ms": int(seconds * 1000)})
    for value in values:
        producer.produce(
            topic, value, partition=0, on_delivery=lambda error, _: outcomes.append(error.code() if error else None)
        )
    producer.flush()
    return outcomes


def consume(client: Mapping[str, str], topic: str, count: int) -> list[bytes | None]:
    """Read the first values of a topic."""
    consumer = Consumer({**client, "group.id": "none", "enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        messages = consumer.consume(count, timeout=15)
        assert not [message.error() for message in messages if message.error()]
        return [message.value() for message in messages]
    finally:
        consumer.close()


def known_nodes(client: Mapping[str, str], *, seconds: float = 5.0) -> set[int]:
    """Ask for the living nodes."""
    admin = AdminClient(dict(client))
    return set(admin.list_topics(timeout=seconds).brokers)


def known_topics(client: Mapping[str, str]) -> set[str]:
    """Ask for the names of all topics."""
    admin = AdminClient(dict(client))
    return set(admin.list_topics(timeout=5).topics)
