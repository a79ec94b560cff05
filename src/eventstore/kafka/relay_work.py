"""What a relay does, and what the parts of one process that do it share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from eventstore.core.checkpoints import Failure
from eventstore.core.errors import EventStoreError
from eventstore.core.publications import Announcer, PublicationDefinition
from eventstore.core.registry import TypeRegistry
from eventstore.environment import Environment
from eventstore.kafka.connection import Connection
from eventstore.kafka.relay_positions import Position, Positions
from eventstore.ports import EventCodec


@dataclass(frozen=True, slots=True)
class RelayWork:
    """What a relay is to do.

    Attributes:
        definition: The publication's, with the categories to read.
        announcer: Runs its handlers.
        registry: Decodes events.
        batch_size: Events of which the outcome is published in one transaction.
        begin: Publish a partition from its beginning if no position in it is known.
        codec: Of the log, open, if it is not JSON alone.
        public: By topic, open, where it is not JSON.
    """

    definition: PublicationDefinition
    announcer: Announcer
    registry: TypeRegistry
    batch_size: int
    begin: bool
    codec: EventCodec | None = None
    public: Mapping[str, EventCodec] = field(default_factory=dict[str, EventCodec])


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the lanes of a process share.

    Attributes:
        connection: Where and how.
        group: The consumer group.
        work: What to do.
        positions: Where the group stands.
        topic_ids: Of the source topics, by name.
        environment: Clock and randomness.
    """

    connection: Connection
    group: str
    work: RelayWork
    positions: Positions
    topic_ids: Mapping[str, str]
    environment: Environment


class Reader(Protocol):
    """Reads one partition on a thread of its own, as a member of the group; its lane calls it from another one."""

    @property
    def group(self) -> object:
        """The group's metadata, as new as they can be had."""
        ...

    def prepare(self, codec: EventCodec, envelopes: Sequence[bytes]) -> None:
        """Have the codec fetch what decoding takes.

        Raises:
            StoreUnavailableError: Whoever knows is out of reach now.
        """
        ...

    def read_from(self, position: Position) -> bool:
        """Fill the lane's feed from a position on, with nothing of before; False if the partition is given up.

        Raises:
            LogUnavailableError: It cannot be read now.
        """
        ...

    def stands_still(self, failure: Failure) -> None:
        """Read no more, and tell whoever runs the relay why."""
        ...

    def fail(self, error: EventStoreError) -> None:
        """Take note that nothing can go on."""
        ...
