"""A Kafka log while it is open: what runs, who owns what, and how everything is handed over at the end."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from eventstore.background import Background
from eventstore.core.errors import (
    ConfigurationError,
    CorruptLogError,
    EventStoreError,
    LogUnavailableError,
    OwnershipLostError,
    StoreClosedError,
)
from eventstore.core.records import Partition, StoredEvent
from eventstore.core.streams import parse_stream
from eventstore.environment import Environment
from eventstore.kafka.channel import Channel
from eventstore.kafka.connection import Connection
from eventstore.kafka.errors import Reaction, answer_for
from eventstore.kafka.fence import FencedWriter
from eventstore.kafka.following import Follower
from eventstore.kafka.index import Index
from eventstore.kafka.names import Names, PartitionName
from eventstore.kafka.options import KafkaOptions
from eventstore.kafka.ownership import Delivery, Election, GroupSettings, Place
from eventstore.kafka.partition import Means, OwnedPartition, Stage
from eventstore.kafka.topics import open_topics
from eventstore.kafka.wire import Wire
from eventstore.kafka.workplace import claim_index_file
from eventstore.ports import CommitOutcome, StreamCommit

_LOGGER: Final = logging.getLogger(__name__)
_END_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 0.05


class _Owned(NamedTuple):
    """A partition that this process owns, and the tasks that live as long as it does."""

    partition: OwnedPartition
    work: Background


class Session:
    """Owns everything that a log needs while it is open.

    Args:
        connection: The brokers.
        names: Names of topics and groups.
        categories: Which categories there are.
        options: Times, sizes, directories.
        environment: Clock and randomness.
    """

    def __init__(
        self,
        connection: Connection,
        names: Names,
        categories: Sequence[str],
        options: KafkaOptions,
        environment: Environment,
    ) -> None:
        self._connection: Final = connection
        self._names: Final = names
        self._categories: Final = categories
        self._options: Final = options
        self._environment: Final = environment
        self._me: Final = f"{socket.gethostname()}:{os.getpid()}:{environment.entropy.bits(32):08x}"
        self._resources = AsyncExitStack()
        self._background: Final = Background()
        self._counts: dict[str, int] = {}
        self._owned: Final[dict[Partition, _Owned]] = {}
        self._changed = asyncio.Event()
        self._failure: EventStoreError | None = None
        self.partitions: Sequence[Partition] = ()
        self.log_id = ""

    async def __aenter__(self) -> Self:
        """Open everything; if something cannot be opened, nothing stays open."""
        async with AsyncExitStack() as resources:
            await self._open(resources)
            self._resources = resources.pop_all()
        return self

    async def _open(self, resources: AsyncExitStack) -> None:
        path = resources.enter_context(claim_index_file(Path(self._options.directory), self._names.prefix))
        topics = await open_topics(self._connection, self._names, self._categories, self._options)
        self.log_id, self._counts = topics.log_id, dict(topics.partitions)
        self.partitions = [str(name) for name in self._all_partitions()]
        self._wire: Final = await resources.enter_async_context(Wire(self._connection))
        await self._wire.know([self._names.events(category) for category in self._categories])
        self.index: Final = await resources.enter_async_context(Index(path, self.log_id))
        await self.index.add_partitions(self.partitions)
        await self._check_ends(path)
        settings = self._connection.confluent()
        self._follower: Final = await resources.enter_async_context(Follower(settings, self.index, self._failed))
        for name in self._all_partitions():
            await self._follower.follow(name)
        self._means: Final = Means(self.index, self._follower, self._environment, self._options.commit_seconds)
        replies = self._names.replies, topics.replies
        channel = Channel(self._connection, replies, self._is_served, self._names.parse, self._environment)
        self.channel: Final = await resources.enter_async_context(channel)
        resources.push_async_callback(self._background.close)
        group = GroupSettings(
            self._names.owners_group,
            [self._names.commands(category) for category in self._categories],
            self._options.session_seconds,
            self._options.drain_seconds,
            self._options.member,
        )
        self._election: Final = await resources.enter_async_context(Election(settings, group, self))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish what is being written, hand the partitions over, close everything."""
        await self._resources.__aexit__(kind, error, trace)

    async def _check_ends(self, path: Path) -> None:
        for partition, end in (await self.ends()).items():
            read = self.index.positions[partition]
            if read > end:
                message = (
                    f"{partition} ends at offset {end}, but {path} was read up to {read}: the brokers have lost what "
                    "they acknowledged. Restore the topic; or accept the loss by deleting the index"
                )
                raise CorruptLogError(message)

    def _all_partitions(self) -> list[PartitionName]:
        return [
            self._names.partition(category, number)
            for category, count in self._counts.items()
            for number in range(count)
        ]

    def partition_of(self, stream: str) -> PartitionName:
        """Give a stream's partition.

        Raises:
            ConfigurationError: The log was opened without its category.
        """
        category, aggregate_id = parse_stream(stream)
        count = self._counts.get(category)
        if count is None:
            message = (
                f"{stream}: this log was opened without the category {category!r}: register its aggregate, or name it "
                "in KafkaLog(categories=[...])"
            )
            raise ConfigurationError(message)
        return self._names.partition_of(category, aggregate_id, count)

    # The election's callbacks.

    def assigned(self, places: Sequence[Place]) -> None:
        """Begin to own partitions."""
        for place in places:
            name = self._names.partition_at(*place)
            writer = FencedWriter(self._wire, name, self._me, self._environment)
            owned = _Owned(OwnedPartition(name, writer, self._means), Background())
            self._owned[str(name)] = owned
            owned.work.start(self._own(owned.partition), f"eventstore-own-{name}")
        self._wake()

    async def _own(self, partition: OwnedPartition) -> None:
        try:
            await partition.run()
        except EventStoreError as error:
            self._failed(error)

    async def revoked(self, places: Sequence[Place]) -> None:
        """Hand partitions over: finish what is under way, take nothing new."""
        await asyncio.gather(*(self._give_up(place, self._options.drain_seconds) for place in places))

    def lost(self, places: Sequence[Place]) -> None:
        """Stop owning partitions that another process has had for a while."""
        for place in places:
            self._background.start(self._give_up(place, 0), f"eventstore-lost-{place}")

    async def _give_up(self, place: Place, drain_seconds: float) -> None:
        name = self._names.partition_at(*place)
        owned = self._owned.pop(str(name), None)
        if owned is None:
            return
        await owned.partition.release(drain_seconds)
        await owned.work.close()
        await self.index.flush()
        await self._follower.follow(name)
        self._wake()

    def delivered(self, deliveries: Sequence[Delivery]) -> None:
        """Answer other processes' messages, each when its partition is served."""
        for delivery in deliveries:
            owned = self._owned.get(str(self._names.partition_at(*delivery.place)))
            if owned is None:
                self._election.drop()
            else:
                owned.work.start(self._answer(owned.partition, delivery), "eventstore-answer")

    async def _answer(self, partition: OwnedPartition, delivery: Delivery) -> None:
        try:
            await partition.serving()
            await self.channel.answer(str(partition.name), delivery)
        except BaseException:
            self._election.drop()
            raise
        self._election.acknowledge(delivery)

    def failed(self, error: EventStoreError) -> None:
        """Remember why this process is no longer part of the election."""
        self._failed(error)

    def _failed(self, error: EventStoreError) -> None:
        _LOGGER.error("the log can no longer be used by this process: %s", error)
        self._failure = self._failure or error
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    # What the log offers.

    def _is_served(self, partition: Partition) -> bool:
        owned = self._owned.get(partition)
        return owned is not None and owned.partition.stage is Stage.SERVING

    async def serving(self, partitions: Collection[Partition]) -> None:
        """Return when this process owns and serves all of some partitions."""
        while not all(map(self._is_served, partitions)):
            changed = self._changed
            self._raise_failure()
            waiting = [self._owned[name].partition for name in partitions if name in self._owned]
            if len(waiting) == len(partitions):
                await asyncio.gather(*(partition.serving() for partition in waiting))
            else:
                await changed.wait()

    async def commit(self, partition: Partition, commits: Sequence[StreamCommit]) -> Sequence[CommitOutcome]:
        """Write a group of commits if this process owns the partition."""
        self._raise_failure()
        owned = self._owned.get(partition)
        if owned is None:
            message = f"{partition} is not owned by this process; nothing was written"
            raise OwnershipLostError(message)
        return await owned.partition.commit(commits)

    async def settled(self, partition: Partition) -> None:
        """Return when the index has every event that this process acknowledged."""
        self._raise_failure()
        owned = self._owned.get(partition)
        if owned is not None and owned.partition.stage is Stage.SERVING:
            await owned.partition.all_settled()

    async def current(self, streams: Collection[str]) -> None:
        """Return when the index is complete for some streams, up to some moment not before the call.

        Streams of partitions that are served here cost nothing: nobody else writes to them. For the others the
        brokers are asked where they end.
        """
        self._raise_failure()
        elsewhere: set[PartitionName] = set()
        here: dict[Partition, list[str]] = {}
        for stream in streams:
            name = self.partition_of(stream)
            if self._is_served(str(name)):
                here.setdefault(str(name), []).append(stream)
            else:
                elsewhere.add(name)
        for partition, own in here.items():
            await self._owned[partition].partition.settled(own)
        await self._up_to_date(elsewhere)

    async def find_commands_in(
        self, partition: Partition, command_ids: Sequence[bytes]
    ) -> Mapping[bytes, Sequence[StoredEvent]]:
        """Find the events of commands of one partition."""
        self._raise_failure()
        if self._is_served(partition):
            return await self._owned[partition].partition.find_commands(command_ids)
        await self._up_to_date([self._names.parse(partition)])
        return await self.index.find_commands(command_ids)

    async def all_current(self) -> None:
        """Return when the index is complete for every stream, up to some moment not before the call."""
        self._raise_failure()
        elsewhere: set[PartitionName] = set()
        for name in self._all_partitions():
            if self._is_served(str(name)):
                await self._owned[str(name)].partition.all_settled()
            else:
                elsewhere.add(name)
        await self._up_to_date(elsewhere)

    async def _up_to_date(self, names: Collection[PartitionName]) -> None:
        if names:
            ends = await asyncio.gather(*map(self._end_of, names))
            await asyncio.gather(*(self.index.reached(str(n), end) for n, end in zip(names, ends, strict=True)))

    async def ends(self) -> Mapping[Partition, int]:
        """Ask the brokers where every partition ends."""
        self._raise_failure()
        names = self._all_partitions()
        ends = await asyncio.gather(*map(self._end_of, names))
        return {str(name): end for name, end in zip(names, ends, strict=True)}

    async def _end_of(self, name: PartitionName) -> int:
        clock = self._environment.clock
        deadline = clock.monotonic() + _END_SECONDS
        while True:
            reply = await self._wire.end_offset(name.topic, name.number)
            answer = answer_for(reply.code)
            if answer.reaction is Reaction.DONE:
                return reply.value
            if answer.reaction is Reaction.REFUSED or clock.monotonic() > deadline:
                message = f"{name} cannot be read ({answer.name}): {answer.remedy}"
                raise LogUnavailableError(message)
            await clock.sleep(_RETRY_SECONDS)
            await self._wire.refresh()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            message = f"the log can no longer be used by this process: {self._failure}"
            raise StoreClosedError(message) from self._failure
