"""How far an inbox has come, and why it stands still, as its consumer group tells."""

from __future__ import annotations

import asyncio
import logging
from typing import Final, NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from eventstore.core.errors import ConfigurationError
from eventstore.core.inboxes import InboxDefinition
from eventstore.core.messages import Message
from eventstore.kafka.administration import Administration
from eventstore.kafka.errors import refusal_of
from eventstore.kafka.inbox_feed import message_of
from eventstore.kafka.inbox_letters import read_between
from eventstore.kafka.source import KafkaSource

_LOGGER: Final = logging.getLogger(__name__)
_SECONDS: Final = 10.0


class InboxPosition(NamedTuple):
    """Where an inbox stands in a partition.

    Attributes:
        topic: Which topic.
        partition: Which of its partitions.
        position: The next offset; None if it has not begun.
        end: One past the newest committed message.
        halted: Why it stands still; None if it does not.
    """

    topic: str
    partition: int
    position: int | None
    end: int
    halted: str | None

    @property
    def behind(self) -> int:
        """How many offsets are left; the marks of transactions count."""
        return max(self.end - (self.position or 0), 0)


class InboxPositions:
    """Looks at an inbox from outside.

    Args:
        source: Where its topics are.
        definition: Which inbox.
    """

    def __init__(self, source: KafkaSource, definition: InboxDefinition) -> None:
        self._source: Final = source
        self._definition: Final = definition

    async def all(self) -> list[InboxPosition]:
        """Give every partition of every topic, in order.

        Raises:
            ConfigurationError: A topic does not exist, or the brokers refuse this user.
            LogUnavailableError: They cannot be reached.
        """
        found = await Administration(self._source.connection).find(self._definition.topics, settings=False)
        places = [TopicPartition(name, n) for name in sorted(found) for n in range(found[name].identity.partitions)]
        return await asyncio.to_thread(self._ask, places)

    def _ask(self, places: list[TopicPartition]) -> list[InboxPosition]:
        group = self._source.names.inbox_group(self._definition.name)
        connection = self._source.connection.confluent()
        settings = {
            **connection, "group.id": group, "isolation.level": "read_committed", "enable.auto.commit": False,
        }  # fmt: skip
        consumer = Consumer(settings, logger=_LOGGER)
        try:
            positions = list[InboxPosition]()
            for known in consumer.committed(places, timeout=_SECONDS) if places else []:
                _, end = consumer.get_watermark_offsets(known, timeout=_SECONDS) or (0, 0)
                note: str | None = getattr(known, "metadata", None)
                position = known.offset if known.offset >= 0 else None
                positions.append(InboxPosition(known.topic, known.partition, position, end, note or None))
        except KafkaException as error:
            raise refusal_of(error.args[0], f"the positions of {group} cannot be seen") from error
        else:
            return positions
        finally:
            consumer.close()

    async def halted_at(self, partition: str | None = None) -> tuple[Message, str]:
        """Give the message that the inbox is halted at, and why.

        Args:
            partition: `topic/number`; None for the only one that is halted.

        Raises:
            ConfigurationError: It is not halted there, or in several partitions.
            LogUnavailableError: The brokers cannot be reached.
        """
        halted = [one for one in await self.all() if one.halted and partition in {None, f"{one.topic}/{one.partition}"}]
        name = self._definition.name
        if len(halted) != 1:
            where = f" in {partition}" if partition else ""
            message = (
                f"the inbox {name} is not halted{where}: there is nothing to park"
                if not halted
                else f"the inbox {name} is halted in {', '.join(f'{one.topic}/{one.partition}' for one in halted)}: name one with --partition"
            )
            raise ConfigurationError(message)
        (one,) = halted
        found = await asyncio.to_thread(self._message_at, one)
        if found is None:
            message = f"{one.topic} partition {one.partition} has no message at offset {one.position} any more"
            raise ConfigurationError(message)
        return found, one.halted or ""

    def _message_at(self, where: InboxPosition) -> Message | None:
        start = TopicPartition(where.topic, where.partition, where.position or 0)
        for record in read_between(self._source.connection, start, lambda _: True):
            found = message_of((where.topic, where.partition), record)
            return found if found.offset == where.position else None
        return None
