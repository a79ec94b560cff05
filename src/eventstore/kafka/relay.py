"""Relays: processes that share the partitions of a publication's sources, and publish every event exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from eventstore.core.checkpoints import Failure
from eventstore.core.errors import EventStoreError
from eventstore.core.records import Partition
from eventstore.kafka.administration import Administration
from eventstore.kafka.membership import GroupSettings
from eventstore.kafka.opening import Place
from eventstore.kafka.provision import open_topics
from eventstore.kafka.relay_member import RelayMember
from eventstore.kafka.relay_positions import Positions
from eventstore.kafka.relay_work import RelayWork, Surroundings
from eventstore.kafka.watching import TopicWatch


class Relay:
    """Publishes this process's share of the partitions for as long as it is open.

    Args:
        place: Where the log is.
        surroundings: What the lanes share.
        on_halt: Called when a partition stands still.
    """

    def __init__(self, place: Place, surroundings: Surroundings, on_halt: Callable[[Partition, Failure], None]) -> None:
        options, categories = place.options, surroundings.work.definition.categories
        settings = GroupSettings(
            surroundings.group,
            [place.names.events(category) for category in categories],
            options.session_seconds,
            options.drain_seconds,
            options.member,
        )
        self._ended: Final[asyncio.Future[None]] = asyncio.get_running_loop().create_future()
        self.member: Final = RelayMember(place.names, settings, surroundings, on_halt, self.fail)

    @property
    def published(self) -> int:
        """How many events this process has published since it was opened."""
        return self.member.published

    async def failed(self) -> None:
        """Return never; raise when nothing can go on.

        Raises:
            EventStoreError: Why.
        """
        await asyncio.shield(self._ended)

    def fail(self, error: EventStoreError) -> None:
        """Take note that nothing can go on."""
        if not self._ended.done():
            self._ended.set_exception(error)
            self._ended.exception()  # whoever does not ask need not hear it when this is thrown away


@asynccontextmanager
async def open_relay(
    place: Place, work: RelayWork, on_halt: Callable[[Partition, Failure], None]
) -> AsyncGenerator[Relay]:
    """Take part in publishing; leaving finishes the open transactions.

    Args:
        place: Where the log is.
        work: What to do.
        on_halt: Called when a partition stands still.

    Yields:
        The relay.

    Raises:
        ConfigurationError: Topics are missing or unsafe; the message says what to change.
        LogUnavailableError: The brokers cannot be reached.
    """
    administration, definition = Administration(place.connection), work.definition
    topics = await open_topics(administration, place.names, definition.categories, place.options, {}, definition.topics)
    group = place.names.relay_group(definition.name)
    topic_ids = {name: identity.id for name, identity in topics.sources.items()}
    positions = Positions(place.connection, group)
    surroundings = Surroundings(place.connection, group, work, positions, topic_ids, place.environment)
    relay = Relay(place, surroundings, on_halt)
    async with AsyncExitStack() as resources:
        watch = TopicWatch(administration, topics.sources, relay.fail, place.environment)
        await resources.enter_async_context(watch)
        resources.push_async_callback(relay.member.close)
        relay.member.join()
        yield relay
