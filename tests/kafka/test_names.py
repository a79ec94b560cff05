"""Names on the cluster."""

from __future__ import annotations

from uuid import uuid4

import pytest
from confluent_kafka import Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from eventstore.core.errors import ConfigurationError
from eventstore.kafka.names import Names, partition_number

PARTITIONS = 12


@pytest.mark.parametrize("prefix", ["", "Shop", "-shop", "shop.", "s h", "s" * 101, "shöp", "shop/1"])
def test_a_prefix_that_kafka_or_a_file_system_would_not_take_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigurationError, match="use 1 to 100 of a-z 0-9"):
        Names(prefix)


def test_the_longest_names_are_no_longer_than_kafka_allows() -> None:
    names, category = Names("p" * 100), "c" * 64
    assert max(len(topic) for topic in (names.events(category), names.commands(category))) <= 249


def test_a_partition_reads_back_from_its_name_and_from_its_topics() -> None:
    names = Names("shop.eu")
    partition = names.partition("task", 7)
    assert names.parse(partition.text) == partition
    assert names.partition_at(partition.commands_topic, 7) == partition
    assert names.partition_at(partition.topic, 7) == partition


@pytest.mark.parametrize("text", ["task", "task/", "task/x", "task/-1", "task/²"])
def test_what_names_no_partition_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="no partition of this log"):
        Names("shop").parse(text)


@pytest.mark.kafka
def test_ids_go_to_the_partitions_that_kafkas_own_partitioner_gives_them(kafka_bootstrap: str) -> None:
    keys = [f"{number}-{'x' * (number % 7)}" for number in range(200)]
    topic = f"test-names-{uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": kafka_bootstrap})
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(10)
    given: dict[str, int] = {}

    def note(_: object, message: Message) -> None:
        given[(message.key() or b"").decode()] = message.partition() or 0

    producer = Producer({"bootstrap.servers": kafka_bootstrap, "partitioner": "murmur2_random"})
    for key in keys:
        producer.produce(topic, b"", key=key, on_delivery=note)
    assert producer.flush(15) == 0
    admin.delete_topics([topic])[topic].result(10)
    assert given == {key: partition_number(key, PARTITIONS) for key in keys}
