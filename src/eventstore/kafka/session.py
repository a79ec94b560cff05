"""A Kafka log while it is open: which partitions there are, and reads that are complete up to a known moment."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from eventstore.core.errors import ConfigurationError, CorruptLogError
from eventstore.core.records import Partition, StoredEvent
from eventstore.core.streams import parse_stream
from eventstore.environment import Environment
from eventstore.kafka.answers import Reaction, answer_for
from eventstore.kafka.channel import Channel
from eventstore.kafka.erasing import ReadKey, erase
from eventstore.kafka.errors import unusable
from eventstore.kafka.index import Index
from eventstore.kafka.names import Names, PartitionName
from eventstore.kafka.ownership import Ownership
from eventstore.kafka.present import E, ReadIndex
from eventstore.kafka.sharing import Sharing
from eventstore.kafka.wire import Wire
from eventstore.ports import Clock, StreamQuery

_END_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 0.05
_KNOWN_STREAMS: Final = 50_000
_SERVED_MEANWHILE_SECONDS: Final = 1.0


class Partitions:
    """Which partitions there are, and where streams live.

    Args:
        names: Names of partitions.
        counts: How many each category has.
    """

    def __init__(self, names: Names, counts: Mapping[str, int]) -> None:
        self._names: Final = names
        self._counts: Final = counts
        self.all: Final = tuple(
            names.partition(category, n) for category, count in counts.items() for n in range(count)
        )
        self.of: Final = lru_cache(_KNOWN_STREAMS)(self._of)

    def _of(self, stream: str) -> PartitionName:
        category, aggregate_id = parse_stream(stream)
        count = self._counts.get(category)
        if count is None:
            message = (
                f"{stream}: this log was opened without the category {category!r}: register its aggregate, or name it "
                "in KafkaLog(categories=[...])"
            )
            raise ConfigurationError(message)
        return self._names.partition_of(category, aggregate_id, count)

    def parse(self, partition: Partition) -> PartitionName:
        """Read a partition's name back."""
        return self._names.parse(partition)


@dataclass(frozen=True, slots=True)
class Session:
    """What an open log consists of.

    Attributes:
        log_id: Identifies the log.
        partitions: Which there are.
        wire: Speaks to the brokers.
        index: The local index.
        ownership: What this process owns.
        channel: The way to other owners.
        sharing: Deals partitions out to workers.
        read_key: Reads the key of an event from its topic.
        environment: Clock and randomness.
        restored: The partitions that the index was once complete for since it was opened.
    """

    log_id: str
    partitions: Partitions
    wire: Wire
    index: Index
    ownership: Ownership
    channel: Channel
    sharing: Sharing
    read_key: ReadKey
    environment: Environment
    restored: set[Partition] = field(default_factory=set[Partition])

    async def erase(self, stream: str, version: int) -> bool:
        """Erase an event of a partition that this process owns."""
        partition = self.ownership.owned(self.partitions.of(stream).text)
        return await erase(partition, self.index, self.read_key, stream, version)

    async def read(self, queries: Sequence[StreamQuery], read: ReadIndex[E]) -> Sequence[Sequence[E]]:
        """Read streams from the index, complete up to some moment not before the call.

        Partitions that are served here need no question: nobody else writes to them. For the others the brokers are
        asked where they end, and the index has to get there.

        Args:
            queries: What to read.
            read: Reads it from the index.
        """
        self.ownership.check()
        names = {self.partitions.of(query.stream).text for query in queries}
        if len(names) == 1 and (served := self.ownership.served(next(iter(names)))):
            return await served.present.read(queries, read)
        for name in names:
            await self.settled(name)
        behind = [name for name in names if not self.ownership.serves(name)]
        await self._up_to_date([self.partitions.parse(name) for name in behind])
        return await read(queries)

    async def all_current(self) -> None:
        """Return when the index is complete for every stream, up to some moment not before the call."""
        self.ownership.check()
        for name in self.partitions.all:
            await self.settled(name.text)
        await self._up_to_date([name for name in self.partitions.all if not self.ownership.serves(name.text)])

    async def settled(self, partition: Partition) -> None:
        """Return when the index has every event that this process acknowledged, and all from before it was opened."""
        self.ownership.check()
        if served := self.ownership.served(partition):
            await served.present.settled()
        elif partition not in self.restored:
            # An erased event that the brokers have removed is missing until the record of its place is read.
            await self._up_to_date([self.partitions.parse(partition)])
            self.restored.add(partition)

    async def find_commands_in(
        self, partition: Partition, command_ids: Sequence[bytes]
    ) -> Mapping[bytes, Sequence[StoredEvent]]:
        """Find the events of commands of one partition."""
        self.ownership.check()
        if served := self.ownership.served(partition):
            return await served.present.find_commands(command_ids)
        await self._up_to_date([self.partitions.parse(partition)])
        return await self.index.find_commands(command_ids)

    async def _up_to_date(self, names: Collection[PartitionName]) -> None:
        if names:
            ends = await asyncio.gather(*(self._end_of(name) for name in names))
            await asyncio.gather(*(self._reached(name, end) for name, end in zip(names, ends, strict=True)))

    async def _reached(self, name: PartitionName, end: int) -> None:
        while self.index.positions[name.text] < end:
            # The partition may be served meanwhile, and is not followed then.
            if served := self.ownership.served(name.text):
                await served.catch_up(end)
            with suppress(TimeoutError):
                async with asyncio.timeout(_SERVED_MEANWHILE_SECONDS):
                    await self.index.reached(name.text, end)

    async def ends(self) -> Mapping[Partition, int]:
        """Ask the brokers where every partition ends, and make sure that the index gets there.

        Raises:
            LogUnavailableError: They cannot be asked.
        """
        self.ownership.check()
        names = self.partitions.all
        ends = await asyncio.gather(*(self._end_of(name) for name in names))
        for name, end in zip(names, ends, strict=True):
            if served := self.ownership.served(name.text):
                await served.catch_up(end)
        return {name.text: end for name, end in zip(names, ends, strict=True)}

    async def _end_of(self, name: PartitionName) -> int:
        return await end_of(self.wire, self.environment.clock, name.topic, name.number)

    async def refuse_lost_ends(self) -> None:
        """Make sure that the log still holds everything that the index was read from.

        Raises:
            CorruptLogError: It does not.
        """
        for partition, end in (await self.ends()).items():
            read = self.index.positions[partition]
            if read > end:
                message = (
                    f"{partition} ends at offset {end}, but {self.index.path} was read up to {read}: the brokers have "
                    "lost what they acknowledged. Restore the topic, or accept the loss by deleting the index"
                )
                raise CorruptLogError(message)


async def end_of(wire: Wire, clock: Clock, topic: str, number: int) -> int:
    """Ask where a partition of a topic ends, until its leader answers or a while has passed.

    Raises:
        ConfigurationError: This user may not ask.
        LogUnavailableError: It could not be asked.
    """
    deadline = clock.monotonic() + _END_SECONDS
    while True:
        reply = await wire.end_offset(topic, number)
        answer = answer_for(reply.code)
        if answer.reaction is Reaction.DONE:
            return reply.value
        if answer.reaction is Reaction.REFUSED or clock.monotonic() > deadline:
            message = f"{topic} {number} cannot be read ({answer.name}): {answer.remedy}"
            raise unusable(reply.code, message)
        await clock.sleep(_RETRY_SECONDS)
        await wire.refresh()
