"""What must stand in public topics after anything at all happened: read and judged without the product's code."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from confluent_kafka import Consumer, TopicPartition

from tests.campaigns.kafka_judge import Record


class Published(NamedTuple):
    """A record of a public topic."""

    partition: int
    offset: int
    key: str
    version: int
    event_id: str


@dataclass
class Topic:
    """What a reader sees of a topic, by key in the order of offsets."""

    by_key: dict[str, list[Published]] = field(default_factory=lambda: defaultdict(list))

    @property
    def count(self) -> int:
        return sum(map(len, self.by_key.values()))


def read_public(bootstrap: str, topic: str, isolation: str = "read_committed") -> Topic:
    """Read every partition from its beginning to its end, as the isolation level shows it."""
    consumer = Consumer({
        "bootstrap.servers": bootstrap, "group.id": "judge", "enable.auto.commit": False,
        "enable.partition.eof": True, "isolation.level": isolation, "auto.offset.reset": "error",
    })  # fmt: skip
    found = Topic()
    try:
        numbers = sorted(consumer.list_topics(topic, timeout=30).topics[topic].partitions)
        assert numbers, f"{topic} has no partitions"
        consumer.assign([TopicPartition(topic, number, 0) for number in numbers])
        unread = set(numbers)
        while unread:
            message = consumer.poll(30)
            assert message is not None, f"{topic} could not be read to its end"
            number = message.partition()
            if message.error() is not None:
                if message.error().name() == "_PARTITION_EOF":
                    unread.discard(number)
                continue
            envelope, key = json.loads(message.value()), message.key().decode()
            headers = dict(message.headers() or [])
            assert headers["event_id"].decode() == envelope["event_id"]
            record = Published(number, message.offset(), key, envelope["data"]["version"], envelope["event_id"])
            found.by_key[key].append(record)
    finally:
        consumer.close()
    return found


def expected_versions(valid: Sequence[Record], every: int = 1) -> dict[str, list[int]]:
    """Give, by key, the versions that have to be published in order; `every` n-th."""
    versions: dict[str, list[int]] = defaultdict(list)
    for record in valid:
        if record.version % every == 0:
            versions[record.stream].append(record.version)
    return versions


def violations(expected: Mapping[str, Sequence[int]], topic: Topic) -> Iterator[str]:
    """Name every record that is missing, doubled or out of order, and every id that is not a record's own."""
    for key in expected.keys() | topic.by_key.keys():
        records, wanted = topic.by_key.get(key, []), list(expected.get(key, []))
        found = [record.version for record in records]
        if found != wanted:
            missing, extra = sorted(set(wanted) - set(found)), len(found) - len(set(found))
            yield f"{key}: {len(found)} for {len(wanted)}, missing {missing[:5]}, {extra} doubled, order {found[:8]} ..."
        if len({record.event_id for record in records}) != len(set(found)):
            yield f"{key}: event ids are not one to one with versions"
        if len({record.partition for record in records}) > 1:
            yield f"{key}: in several partitions"
