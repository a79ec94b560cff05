"""Asks every broker by itself: does it answer, what does it speak, and what time does it think it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from eventstore.background import finished
from eventstore.environment import Environment
from eventstore.kafka.administration import Administration
from eventstore.kafka.connection import Connection
from eventstore.kafka.errors import ForbiddenError
from eventstore.kafka.names import Names
from eventstore.kafka.records import Record
from eventstore.kafka.topics import trial_topic
from eventstore.kafka.wire import ProducerIdentity, Wire, encode_batch

_SECONDS: Final = 5.0
_TRIES: Final = 3
_NOBODY: Final = ProducerIdentity(-1, -1)
_NO_SEQUENCE: Final = -1


@dataclass(frozen=True, slots=True)
class BrokerState:
    """How one broker is doing, seen from here.

    Attributes:
        id: Its id.
        address: Where it says that it can be reached.
        speaks: Its oldest and newest version of each request, by the request's number; None if it does not answer.
        ahead: Seconds that its clock is ahead of this machine's, negative if behind, as far as that is certain; None
            if that was not compared.
    """

    id: int
    address: str
    speaks: Mapping[int, tuple[int, int]] | None
    ahead: float | None = None


class Brokers:
    """Looks at the brokers of a cluster one by one.

    Args:
        connection: How to reach them.
        names: Of the log, for the name of a topic to try things on.
        environment: The clock to compare theirs with.
    """

    def __init__(self, connection: Connection, names: Names, environment: Environment) -> None:
        self._connection: Final = connection
        self._names: Final = names
        self._environment: Final = environment

    async def all(self) -> list[BrokerState]:
        """Give all brokers that the cluster knows to be there, by id.

        To compare clocks wants the right to create a topic, on which each broker stamps a record; it is deleted again.

        Raises:
            ConfigurationError: The brokers refuse this user or this connection.
            LogUnavailableError: None can be reached.
        """
        administration = Administration(self._connection)
        addresses = (await administration.cluster()).addresses
        async with Wire(self._connection) as wire:
            spoken = {broker: await wire.spoken_by(broker, _SECONDS) for broker in sorted(addresses)}
            answering = [broker for broker, speaks in spoken.items() if speaks is not None]
            # A topic cannot be created as long as one of those that are to hold it does not answer.
            ahead = dict[int, float]()
            if len(answering) == len(addresses):
                ahead = await self._clocks(wire, administration)
        return [BrokerState(broker, addresses[broker], speaks, ahead.get(broker)) for broker, speaks in spoken.items()]

    async def _clocks(self, wire: Wire, administration: Administration) -> dict[int, float]:
        name = self._names.partition(f"clock-{self._environment.entropy.bits(32):08x}", 0).topic
        topic = trial_topic(name, (await administration.cluster()).brokers)
        try:
            await administration.create([topic])
        except ForbiddenError:
            return {}
        try:
            await wire.know([name])
            found: dict[int, float] = {}
            for number in range(topic.partitions):
                ahead, leader = await self._ahead(wire, name, number), wire.leader(name, number)
                if ahead is not None and leader is not None:
                    found[leader] = ahead
            return found
        finally:
            await finished(administration.delete(name))

    async def _ahead(self, wire: Wire, topic: str, number: int) -> float | None:
        """Have a record stamped: the stamp was made between sending it and the answer."""
        batch = encode_batch([Record(b"clock", b"", [])], _NOBODY, _NO_SEQUENCE)
        for _ in range(_TRIES):  # a leader may not know yet that it is one
            before = self._environment.clock.now()
            reply = await wire.produce(topic, number, batch, _SECONDS)
            after = self._environment.clock.now()
            if reply.code == 0 and reply.stored_at >= 0:
                return _outside(before, reply.stored_at / 1000, after)
            await wire.refresh()
        return None


def _outside(before: datetime, stamp: float, after: datetime) -> float:
    """Tell how far a time lies outside an interval; the stamp is a whole number of milliseconds, cut off."""
    earliest, latest = before.timestamp() - 0.001, after.timestamp()
    return stamp - min(max(stamp, earliest), latest)
