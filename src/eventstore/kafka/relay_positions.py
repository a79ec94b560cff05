"""Where relays stand: offsets of their consumer group, and beside each what else has to be true there.

The brokers keep a text with every offset that a group commits. It holds the lease in force at the offset, without which
nobody could tell which of the next records count, the topic's id, when it was committed, and why it stands still.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from pydantic import BaseModel, ValidationError

from eventstore.core.checkpoints import Failure
from eventstore.kafka.connection import Connection
from eventstore.kafka.errors import refusal_of

_LOGGER: Final = logging.getLogger(__name__)
_REQUEST_SECONDS: Final = 10.0
_MOST_CAUSE: Final = 600
"""Characters of each text of a failure: the brokers take 4 KiB beside an offset by default."""

Place: TypeAlias = tuple[str, int]


class _Halted(BaseModel):
    place: str
    cause: str
    remedy: str
    since: datetime


class _Beside(BaseModel):
    lease: str
    topic: str
    at: datetime
    halted: _Halted | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """How far a publication has published a partition.

    Attributes:
        offset: The first one that is not published.
        lease: In force there; None if whoever set the offset did not know, so that it has to be found.
        topic_id: Of the topic that was read; empty if nobody said.
        moved_at: When it was last moved; None if nobody said.
        failure: Why it stands still, if it does.
    """

    offset: int
    lease: str | None
    topic_id: str = ""
    moved_at: datetime | None = None
    failure: Failure | None = None

    def committed(self, place: Place) -> TopicPartition:
        """Give what the group commits."""
        assert self.lease is not None  # noqa: S101 - what was read is known
        assert self.moved_at is not None  # noqa: S101 - who moves it says so
        beside = _Beside(lease=self.lease, topic=self.topic_id, at=self.moved_at)
        if self.failure is not None:
            texts = {
                name: getattr(self.failure, name)[:_MOST_CAUSE].encode(errors="replace").decode()
                for name in ("place", "cause", "remedy")
            }
            beside.halted = _Halted(**texts, since=self.failure.since)
        return TopicPartition(*place, self.offset, beside.model_dump_json(exclude_none=True))


def _position(committed: TopicPartition) -> Position:
    try:
        beside = _Beside.model_validate_json(committed.metadata or "")
    except ValidationError:  # set by hand, with Kafka's own tools
        return Position(committed.offset, "" if committed.offset == 0 else None)
    halted = beside.halted
    failure = Failure(halted.place, halted.cause, halted.remedy, halted.since) if halted else None
    return Position(committed.offset, beside.lease, beside.topic, beside.at, failure)


class Positions:
    """Asks the brokers for the positions of one group; may be used by any thread.

    Args:
        connection: Where and how.
        group: The consumer group.
    """

    def __init__(self, connection: Connection, group: str) -> None:
        self._connection: Final = connection
        self._group: Final = group

    def read(self, places: Sequence[Place]) -> Mapping[Place, Position]:
        """Give the positions there are, once no transaction that would move them is open any more.

        Raises:
            ConfigurationError: This user may not see them.
            LogUnavailableError: They cannot be had now.
        """
        wanted = ConsumerGroupTopicPartitions(self._group, [TopicPartition(*place) for place in places])
        # Seldom asked for, so that each time is a good time to log in anew.
        admin: Any = AdminClient(self._connection.confluent(), logger=_LOGGER)  # its own types are incomplete
        asked = admin.list_consumer_group_offsets([wanted], require_stable=True, request_timeout=_REQUEST_SECONDS)
        doing = f"the positions of the group {self._group} cannot be seen"
        future: Future[ConsumerGroupTopicPartitions] = asked[self._group]
        try:
            found = future.result().topic_partitions or []
        except KafkaException as error:
            raise refusal_of(error.args[0], doing) from error
        for partition in found:
            if partition.error is not None:
                raise refusal_of(partition.error, doing)
        return {(each.topic, each.partition): _position(each) for each in found if each.offset >= 0}

    def ends(self, places: Sequence[Place]) -> Mapping[Place, int]:
        """Give one past the newest offset of partitions; see `held`."""
        return {place: end for place, (_, end) in self.held(places).items()}

    def held(self, places: Sequence[Place]) -> Mapping[Place, tuple[int, int]]:
        """Give the oldest offset that partitions still hold, and one past the newest.

        Raises:
            ConfigurationError: This user may not see them.
            LogUnavailableError: They cannot be had now.
        """
        group = "eventstore-relay-status-never-joins"
        settings: dict[str, Any] = {**self._connection.confluent(), "group.id": group, "enable.auto.commit": False}
        consumer = Consumer(settings, logger=_LOGGER)
        try:
            return {
                place: consumer.get_watermark_offsets(TopicPartition(*place), _REQUEST_SECONDS, cached=False)
                for place in places
            }
        except KafkaException as error:
            raise refusal_of(error.args[0], "the ends of the topics cannot be seen") from error
        finally:
            consumer.close()
