"""Names on the cluster: topics, groups, partitions and transactional ids, all derived from one prefix."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from aiokafka.partitioner import murmur2  # pyright: ignore[reportUnknownVariableType]

from eventstore.core.errors import ConfigurationError
from eventstore.core.records import Partition

_PREFIX: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,98}[a-z0-9])?")


@dataclass(frozen=True)
class PartitionName:
    """One partition of a category's events topic; written `category/number`."""

    prefix: str
    category: str
    number: int

    @property
    def topic(self) -> str:
        """The events topic."""
        return f"{self.prefix}.{self.category}.events"

    @property
    def commands_topic(self) -> str:
        """The commands topic, whose partition of the same number brings this partition's commands."""
        return f"{self.prefix}.{self.category}.commands"

    @property
    def transactional_id(self) -> str:
        """Whose epochs fence the partition's writers."""
        return f"{self.topic}.{self.number}"

    @cached_property
    def text(self) -> Partition:
        """The name that positions and tokens use."""
        return f"{self.category}/{self.number}"

    def __str__(self) -> str:
        """Give the name that positions and tokens use."""
        return self.text


class Names:
    """Derives every name from the prefix.

    Args:
        prefix: 1 to 100 of `a-z 0-9 . _ -`, letters or digits at both ends.

    Raises:
        ConfigurationError: The prefix is not allowed.
    """

    def __init__(self, prefix: str) -> None:
        if not _PREFIX.fullmatch(prefix):
            message = f"prefix={prefix!r}: use 1 to 100 of a-z 0-9 . _ - with letters or digits at both ends"
            raise ConfigurationError(message)
        self.prefix: Final = prefix

    @property
    def replies(self) -> str:
        """The replies topic."""
        return f"{self.prefix}.replies"

    @property
    def owners_group(self) -> str:
        """The consumer group that elects the owners."""
        return f"{self.prefix}.owners"

    def workers_group(self, work: str) -> str:
        """The consumer group of the processes that share some work, such as `task_board.v1`."""
        return f"{self.prefix}.{work}"

    def inbox_group(self, inbox: str) -> str:
        """The consumer group of the processes that share an inbox."""
        return f"{self.prefix}.inbox.{inbox}"

    def inbox_dead(self, inbox: str) -> str:
        """The dead letter topic of an inbox."""
        return f"{self.prefix}.inbox.{inbox}.dead"

    def relay_group(self, publication: str) -> str:
        """The consumer group of the processes that share the work on a publication; it also holds the positions."""
        return f"{self.prefix}.relay.{publication}"

    def is_own(self, topic: str) -> bool:
        """Tell whether a topic's name is one of this log's own, which nobody else may write to."""
        kinds = ("events", "commands", "dead")
        return topic == self.replies or (topic.startswith(self.all_topics) and topic.rpartition(".")[2] in kinds)

    @property
    def all_topics(self) -> str:
        """What the name of every topic and group begins with."""
        return f"{self.prefix}."

    @property
    def all_scratch(self) -> str:
        """What the names of topics begin with on which the fence is proved; no category's name has a dash."""
        return f"{self.prefix}.fence-"

    def scratch(self, bits: int) -> PartitionName:
        """Name a partition to prove the fence on.

        Args:
            bits: 32 random ones, so that two proofs at a time are no two owners.
        """
        return self.partition(f"fence-{bits:08x}", 0)

    def events(self, category: str) -> str:
        """The events topic of a category."""
        return f"{self.prefix}.{category}.events"

    def commands(self, category: str) -> str:
        """The commands topic of a category."""
        return f"{self.prefix}.{category}.commands"

    def partition(self, category: str, number: int) -> PartitionName:
        """Name a partition."""
        return PartitionName(self.prefix, category, number)

    def partition_of(self, category: str, aggregate_id: str, count: int) -> PartitionName:
        """Name the partition an aggregate lives in."""
        return self.partition(category, partition_number(aggregate_id, count))

    def partition_at(self, topic: str, number: int) -> PartitionName:
        """Name the partition that a partition of an events or commands topic belongs to."""
        category, _, _ = topic[len(self.prefix) + 1 :].rpartition(".")
        return self.partition(category, number)

    def parse(self, partition: Partition) -> PartitionName:
        """Read `category/number` back.

        Raises:
            ConfigurationError: It is no such name.
        """
        category, slash, number = partition.partition("/")
        if not slash or not number.isascii() or not number.isdigit():
            message = f"{partition!r} is no partition of this log: they are named category/number"
            raise ConfigurationError(message)
        return self.partition(category, int(number))


def partition_number(aggregate_id: str, count: int) -> int:
    """Give the partition that Kafka's default partitioner gives to a key.

    Args:
        aggregate_id: The key.
        count: How many partitions there are.
    """
    hashed: int = murmur2(aggregate_id.encode())
    return (hashed & 0x7FFFFFFF) % count
