"""Looks at consumer groups as the brokers know them; looking needs no part in them."""

# The client's annotations leave out what its futures hold.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConsumerGroupDescription, ListConsumerGroupsResult

from eventstore.kafka.connection import Connection
from eventstore.kafka.errors import refusal_of
from eventstore.kafka.membership import Place
from eventstore.kafka.relay_positions import Positions

T = TypeVar("T")
_LOGGER: Final = logging.getLogger(__name__)
_REQUEST_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class GroupState:
    """How a consumer group is doing.

    Attributes:
        name: Its name.
        state: `stable`, `empty`, `dead` for one that nobody has joined, or how its members are being dealt
            partitions: `preparing rebalancing`, `completing rebalancing`.
        members: Who takes part, each as client and host, with the partitions that it has been given.
    """

    name: str
    state: str
    members: Sequence[tuple[str, frozenset[Place]]]

    @property
    def given(self) -> frozenset[Place]:
        """The partitions that some member has."""
        return frozenset[Place]().union(*(places for _, places in self.members))


class Groups:
    """Asks the brokers for groups; calls block a thread of the pool.

    Args:
        connection: How to reach the brokers.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection: Final = connection
        # Kept as long as this object: the client must outlive its futures.
        self._admin: Final = AdminClient(connection.confluent(), logger=_LOGGER)

    async def names(self) -> list[str]:
        """Give the names of all groups that this user may see.

        Raises:
            ConfigurationError: This user may see none.
            LogUnavailableError: They cannot be had now.
        """
        asked: Future[ListConsumerGroupsResult] = self._admin.list_consumer_groups(request_timeout=_REQUEST_SECONDS)
        found = await self._answer(asked, "the consumer groups cannot be listed")
        return sorted(each.group_id for each in found.valid or [])

    async def describe(self, names: Sequence[str]) -> Mapping[str, GroupState]:
        """Tell how groups are doing; one that nobody ever joined is dead.

        Raises:
            ConfigurationError: This user may not see them: it takes the right to Describe or Read them.
            LogUnavailableError: They cannot be had now.
        """
        found: dict[str, GroupState] = {}
        if not names:
            return found
        asked: Mapping[str, Future[ConsumerGroupDescription]] = self._admin.describe_consumer_groups(
            list(names), request_timeout=_REQUEST_SECONDS
        )
        for name, future in asked.items():
            try:
                found[name] = _state(await self._answer(future, f"the consumer group {name} cannot be seen"))
            except _UnknownGroupError:
                found[name] = GroupState(name, "dead", ())
        return found

    async def waiting(self, group: str, places: Sequence[Place]) -> Mapping[Place, int]:
        """Count the records in each partition that a group has not acknowledged; what was deleted does not count.

        Raises:
            ConfigurationError: This user may not see it.
            LogUnavailableError: It cannot be had now.
        """
        positions = Positions(self._connection, group)
        done = await asyncio.to_thread(positions.read, places)
        held = await asyncio.to_thread(positions.held, places)
        return {
            place: end - min(max(start, done[place].offset if place in done else 0), end)
            for place, (start, end) in held.items()
        }

    @staticmethod
    async def _answer(future: Future[T], doing: str) -> T:
        try:
            return await asyncio.wrap_future(future)
        except KafkaException as error:
            reason: KafkaError = error.args[0]
            if reason.code() == KafkaError.GROUP_ID_NOT_FOUND:
                raise _UnknownGroupError from error
            raise refusal_of(reason, doing) from error


class _UnknownGroupError(Exception):
    """Nobody has ever joined it."""


def _state(group: ConsumerGroupDescription) -> GroupState:
    members = [
        (
            f"{member.client_id} at {member.host.lstrip('/')}",
            frozenset((place.topic, place.partition) for place in member.assignment.topic_partitions),
        )
        for member in group.members
    ]
    return GroupState(group.group_id, group.state.name.lower().replace("_", " "), members)
