"""Public topics: chosen events leave the log as integration events, each exactly once and in order per aggregate.

`Publication` and `publishes` say what leaves; `relaying` does it, and so does the command `eventstore relay`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from eventstore.core.checkpoints import Failure
from eventstore.core.errors import ConfigurationError
from eventstore.core.publications import Announcer, Publication, publishes
from eventstore.core.records import Partition
from eventstore.ports import EventCodec
from eventstore.prepared import unprepared
from eventstore.store import EventStore

if TYPE_CHECKING:
    from eventstore.kafka import KafkaLog
    from eventstore.kafka.relay import Relay

__all__ = ["Publication", "publishes", "relaying"]


def _ignored(partition: Partition, failure: Failure) -> None:
    """Do nothing: the log and the status tell."""


@asynccontextmanager
async def relaying(
    store: EventStore,
    publication: type[Publication] | str,
    *,
    begin: bool | None = None,
    on_halt: Callable[[Partition, Failure], None] = _ignored,
) -> AsyncGenerator[Relay]:
    """Publish a share of a publication for as long as the block lasts; leaving it finishes the open transactions.

    Processes that do so at the same time share the partitions; each event is published once, whichever of them dies.

    Args:
        store: The application, with a log on Kafka; it need not be open.
        publication: Which of its publications, as the class or its name.
        begin: Publish partitions of which no position is known from their beginning, instead of refusing to; by
            default only in development.
        on_halt: Called on the loop when a handler has raised and its partition stands still.

    Yields:
        The relay; `await relay.failed()` raises when nothing can go on.

    Raises:
        ConfigurationError: There is no such publication, the log is not on Kafka, topics are missing or unsafe, or
            a schema is not registered.
        StoreUnavailableError: The brokers, or the schema registry, cannot be reached.
    """
    from eventstore.kafka.relay_work import RelayWork  # noqa: PLC0415 - its clients are optional

    log = kafka_log(store)
    name = publication if isinstance(publication, str) else publication.definition.name
    instance, definition = store.application.publication(name)
    chosen = not log.options.production if begin is None else begin
    registry, batch_size, codec = store.application.registry, store.settings.batch_size, store.codec
    async with AsyncExitStack() as resources:
        public: dict[str, EventCodec] = {}
        if codec is not None:
            await resources.enter_async_context(codec)
            for topic in definition.topics:
                public[topic] = codec.for_topic(topic)
                public[topic].declare([contract.event for contract in definition.contracts if contract.topic == topic])
                await resources.enter_async_context(public[topic])
        work = RelayWork(definition, Announcer(instance), registry, batch_size, chosen, codec, public)
        yield await resources.enter_async_context(log.relay(work, on_halt))


def kafka_log(store: EventStore) -> KafkaLog:
    """Give the log that relays read from.

    Raises:
        ConfigurationError: It is not on Kafka.
    """
    try:
        from eventstore.kafka import KafkaLog  # noqa: PLC0415 - its clients are optional
    except ImportError:
        found = False
    else:
        log = unprepared(store.log)
        if isinstance(log, KafkaLog):
            return log
        found = True
    message = f"{type(store.log).__name__} has nothing to publish to: relays are for applications with a KafkaLog" + (
        "" if found else ', which needs pip install "eventstore[kafka]"'
    )
    raise ConfigurationError(message)
