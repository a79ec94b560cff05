"""What must stand in public topics after anything at all happened: read and judged without the product's code."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.campaigns.kafka_judge import Record
from tests.topics import read_topic


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
    found = Topic()
    for message in read_topic(bootstrap, topic, isolation):
        envelope, key = json.loads(message.value()), message.key().decode()
        headers = dict(message.headers() or [])
        assert headers["event_id"].decode() == envelope["event_id"]
        version, event_id = envelope["data"]["version"], envelope["event_id"]
        found.by_key[key].append(Published(message.partition(), message.offset(), key, version, event_id))
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
