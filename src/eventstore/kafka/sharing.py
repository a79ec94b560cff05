"""Sharing partitions among processes: a consumer group that only assigns; the events come from the local index."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from confluent_kafka import OFFSET_END, Consumer, TopicPartition

from eventstore.background import Background
from eventstore.core.errors import EventStoreError
from eventstore.core.records import Partition
from eventstore.kafka.connection import Connection
from eventstore.kafka.membership import GroupSettings, Membership, Place
from eventstore.kafka.names import Names
from eventstore.ports import Sharer

_LOGGER: Final = logging.getLogger(__name__)
_POLL_SECONDS: Final = 0.1


class Sharing:
    """Implements `PartitionSharing` with a consumer group of each work, over the events topics.

    Args:
        connection: Where and how.
        names: Names of partitions and groups.
        settings: Of every group, but for its name.
    """

    def __init__(self, connection: Connection, names: Names, settings: GroupSettings) -> None:
        self._connection: Final = connection
        self._names: Final = names
        self._settings: Final = settings

    @asynccontextmanager
    async def share(self, work: str, sharer: Sharer, *, guest: bool = False) -> AsyncGenerator[None]:
        """Be a member of the work's group; see `PartitionSharing.share`."""
        group, member = self._names.workers_group(work), None if guest else self._settings.member
        settings = replace(self._settings, group=group, member=member)
        share = Share(self._connection, self._names, settings, sharer)
        share.join()
        try:
            yield
        finally:
            await share.close()


class Share:
    """What one process has of a work: implements `Role` for its membership, and fetches nothing.

    Args:
        connection: Where and how.
        names: Names of partitions.
        settings: The group.
        sharer: Is told.
    """

    def __init__(self, connection: Connection, names: Names, settings: GroupSettings, sharer: Sharer) -> None:
        self._membership: Final = Membership(connection, settings, self)
        self._names: Final = names
        self._settings: Final = settings
        self._sharer: Final = sharer
        self._handing_over: Final = Background()

    def join(self) -> None:
        """Take part from now on."""
        self._membership.join()

    async def close(self) -> None:
        """Hand everything over and leave the group."""
        await self._membership.close()
        await self._handing_over.close()

    def attend(self, consumer: Consumer) -> None:
        """Let the client take part in the group; see `Role.attend`."""
        message = consumer.poll(_POLL_SECONDS)
        if message is not None and (error := message.error()) is not None:
            self._membership.judge(error, message.topic())

    def take(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Begin with partitions, of which nothing is fetched; see `Role.take`."""
        for partition in partitions:
            partition.offset = OFFSET_END
        consumer.incremental_assign(partitions)
        consumer.pause(partitions)
        if partitions:
            places = [(partition.topic, partition.partition) for partition in partitions]
            self._membership.tell(self._sharer.assigned, self._named(places))

    def hand_over(self, consumer: Consumer, places: Sequence[Place]) -> None:  # noqa: ARG002 - see Role
        """Wait until the sharer has stopped, or for as long as a hand-over may take; see `Role.hand_over`."""
        self._membership.ask(self._revoke(self._named(places)))

    async def _revoke(self, partitions: Sequence[Partition]) -> None:
        stopping = self._handing_over.start(self._sharer.revoked(partitions), "eventstore-hand-over")
        _, late = await asyncio.wait({stopping}, timeout=self._settings.drain_seconds)
        if late:
            _LOGGER.warning(
                "%s: %s are given to others although the work on them has not stopped after %g s; what it does "
                "from now on is rolled back", self._settings.group, ", ".join(partitions), self._settings.drain_seconds
            )  # fmt: skip

    def lose(self, places: Sequence[Place]) -> None:
        """Tell the sharer; see `Role.lose`."""
        self._membership.tell(self._sharer.lost, self._named(places))

    def fail(self, error: EventStoreError) -> None:
        """Tell the sharer; see `Role.fail`."""
        self._membership.tell(self._sharer.failed, error)

    def _named(self, places: Sequence[Place]) -> list[Partition]:
        return [self._names.partition_at(*place).text for place in places]
