"""Proves on the very cluster that it keeps former owners out: not everything that speaks Kafka's protocol does."""

from __future__ import annotations

from typing import Final

from eventstore.background import finished
from eventstore.core.errors import ConfigurationError, OwnershipLostError
from eventstore.environment import Environment
from eventstore.kafka.administration import Administration
from eventstore.kafka.fence import FencedWriter
from eventstore.kafka.names import Names
from eventstore.kafka.topics import scratch_topic
from eventstore.kafka.wire import Wire

_SECONDS: Final = 10.0
_OWNER: Final = "eventstore topics check"


async def prove_fence(wire: Wire, administration: Administration, names: Names, environment: Environment) -> None:
    """Return if the brokers refuse the older one of two leases, tried on a scratch topic that is deleted again.

    Args:
        wire: Speaks to the brokers.
        administration: Creates and deletes the topic.
        names: Of topics.
        environment: Clock and randomness.

    Raises:
        ConfigurationError: They do not, or this user may not try it.
        LogUnavailableError: They cannot be reached.
    """
    partition = names.scratch(environment.entropy.bits(32))
    cluster = await administration.cluster()
    await administration.create([scratch_topic(partition.topic, cluster.brokers)])
    try:
        await wire.know([partition.topic])
        deadline = environment.clock.monotonic() + _SECONDS
        older = FencedWriter(wire, partition, _OWNER, environment)
        newer = FencedWriter(wire, partition, _OWNER, environment)
        await older.claim([], deadline)
        await older.barrier(deadline)
        await newer.claim([], deadline)
        if not await _is_refused(older, deadline):
            message = (
                f"{cluster.id} accepted a batch of an owner after a newer one had begun: two owners could write at the "
                "same time. Use Apache Kafka 4.0 or newer"
            )
            raise ConfigurationError(message)
        await newer.barrier(deadline)
    finally:
        await finished(administration.delete(partition.topic))


async def _is_refused(writer: FencedWriter, deadline: float) -> bool:
    try:
        await writer.barrier(deadline)
    except OwnershipLostError:
        return True
    return False
