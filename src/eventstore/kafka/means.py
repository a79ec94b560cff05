"""What it takes to own a partition, but for the partition itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from eventstore.environment import Environment
from eventstore.kafka.following import Follower
from eventstore.kafka.index import Index
from eventstore.kafka.names import PartitionName


@dataclass(frozen=True, slots=True)
class Means:
    """What every owned partition of a process shares.

    Attributes:
        index: The local index.
        follower: Feeds the index what others write.
        commands_end: Asks where a partition of the commands topic ends.
        environment: Clock and randomness.
        commit_seconds: How long a commit may take before its outcome is looked up or given up.
    """

    index: Index
    follower: Follower
    commands_end: Callable[[PartitionName], Awaitable[int]]
    environment: Environment
    commit_seconds: float
