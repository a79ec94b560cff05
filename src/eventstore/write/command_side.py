"""The command side as a whole: routing, one group commit per partition, and loading."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Final, Protocol, TypeVar

from eventstore.background import Background
from eventstore.core.aggregates import Aggregate
from eventstore.core.commands import Command
from eventstore.core.errors import (
    AppendOutcomeUnknownError,
    ConfigurationError,
    InvalidIdError,
    LogUnavailableError,
    StoreClosedError,
)
from eventstore.core.records import Partition
from eventstore.core.registry import TypeRegistry
from eventstore.core.streams import StreamId, stream_id
from eventstore.environment import Environment
from eventstore.ports import CommandChannel, EncodeEvent, SnapshotStore
from eventstore.write.deciding import Decider, Look, Request
from eventstore.write.erasing import Erasure
from eventstore.write.group_commit import CommitsStreams, GroupCommit
from eventstore.write.messages import Messages
from eventstore.write.origin import Origin
from eventstore.write.pending import Committed, Pending
from eventstore.write.rehydration import Rehydrator
from eventstore.write.routing import CommandRouter
from eventstore.write.snapshots import Snapshotter

A = TypeVar("A", bound=Aggregate)


class CommandLog(CommitsStreams, SnapshotStore, Protocol):
    """What the command side needs from a log."""

    @property
    def channel(self) -> CommandChannel | None:
        """The way to the process that may write a partition."""
        ...


class CommandSide:
    """Executes commands and loads aggregates.

    Args:
        log: An open log.
        aggregates: The aggregate classes by category.
        registry: Decodes events.
        environment: Clock and randomness.
        cache_size: How many aggregates are kept in memory.
        encode: Gives the envelopes of events.
    """

    def __init__(
        self,
        log: CommandLog,
        aggregates: Mapping[str, type[Aggregate]],
        registry: TypeRegistry,
        environment: Environment,
        cache_size: int,
        encode: EncodeEvent,
    ) -> None:
        self._log: Final = log
        self._aggregates: Final = aggregates
        self._environment: Final = environment
        self._rehydrator: Final = Rehydrator(log, registry, cache_size)
        self._decider: Final = Decider(registry, environment.clock, encode)
        self._snapshotter: Final = Snapshotter(log)
        self._channel: Final = log.channel
        self._router: Final = CommandRouter(self, self._channel, Messages(aggregates, registry), environment)
        self._groups: Final[dict[Partition, GroupCommit]] = {}
        self._background: Final = Background()
        self._closing = False

    def start(self, *, serve: bool) -> None:
        """Begin to write snapshots; group commits start with their first command.

        Args:
            serve: Whether to answer other processes too, where the log has them.
        """
        self._background.start(self._snapshotter.run(), "eventstore-snapshots")
        if serve and self._channel is not None and self._aggregates:
            self._channel.serve(self._router.answer)

    async def close(self) -> None:
        """Answer every accepted command, then stop."""
        self._closing = True
        try:
            for group in self._groups.values():
                await group.drain()
            await self._snapshotter.flush()
        finally:
            await self._background.close()

    async def execute(
        self,
        aggregate: type[Aggregate],
        aggregate_id: str,
        command: Command,
        origin: Origin,
        *,
        expected_version: int | None,
        timeout: float,  # noqa: ASYNC109 - passed on as a deadline that group commit keeps
    ) -> Committed:
        """Execute a command; see `EventStore.execute`."""
        stream = self._stream(aggregate, aggregate_id)
        if expected_version is not None and expected_version < 0:
            message = f"expected_version={expected_version}: give a version, NEW (0) for a new stream, or leave it out"
            raise InvalidIdError(message)
        request = Request(aggregate, stream, command, origin.command_id, origin.correlation_id, expected_version)
        deadline = self._environment.clock.monotonic() + timeout
        return await self._router.execute(request, look_up=origin.chosen, deadline=deadline)

    async def erase(self, aggregate: type[Aggregate], aggregate_id: str, version: int, timeout: float) -> bool:  # noqa: ASYNC109 - passed on as a deadline
        """Erase an event; see `EventStore.erase`."""
        stream = self._stream(aggregate, aggregate_id)
        try:
            deadline = self._environment.clock.monotonic() + timeout
            return await self._router.erase(Erasure(stream, version), deadline=deadline)
        finally:
            # The owner has forgotten it, but this process may have loaded it, too.
            self._rehydrator.cache.forget(str(stream))

    async def erase_here(self, erasure: Erasure) -> bool:
        """Erase an event from this process's log; see `LocalExecution`."""
        try:
            return await self._log.erase(str(erasure.stream), erasure.version)
        finally:
            self._rehydrator.cache.forget(str(erasure.stream))

    def partition_of(self, stream: StreamId) -> Partition:
        """Give the partition of a stream."""
        return self._log.partition_of(str(stream))

    async def execute_here(
        self, request: Request, partition: Partition, *, look_up: bool, deadline: float
    ) -> Committed:
        """Execute a command by this process's group commit; see `LocalExecution`."""
        pending = Pending(request, look_up, deadline, asyncio.get_running_loop().create_future())
        await self._group(partition).submit(pending)
        return await pending.answer

    async def load(
        self,
        aggregate: type[A],
        aggregate_id: str,
        at: int | datetime | None,
        patience: float | None,
    ) -> A:
        """Load an aggregate; see `EventStore.load`.

        Args:
            aggregate: The aggregate's class.
            aggregate_id: Its id.
            at: A version, an aware time, or None for the present.
            patience: Seconds that a linearizable load may take; None for one that is not.
        """
        stream = self._stream(aggregate, aggregate_id)
        if isinstance(at, datetime) and at.tzinfo is None:
            message = f"at={at.isoformat()} has no time zone: give an aware datetime, for example in UTC"
            raise InvalidIdError(message)
        if isinstance(at, int) and at < 0:
            message = f"at={at}: versions start at 1; 0 is the state before the first event"
            raise InvalidIdError(message)
        if patience is not None and at is not None:
            message = f"at={at} asks for the past, which is the same in every process: leave linearizable out"
            raise InvalidIdError(message)
        proved = 0 if patience is None else await self._proved_version(aggregate, stream, patience)
        state = await self._rehydrator.load(aggregate, stream, at)
        if at is None and state.version < proved:  # a broker that was deposed said where the log ends
            message = f"{stream} is at version {proved}, but the brokers did not give it yet; try again"
            raise LogUnavailableError(message)
        return state

    async def _proved_version(self, aggregate: type[Aggregate], stream: StreamId, patience: float) -> int:
        """Have the owner prove where a stream stands; where every process may write, each reads what is current."""
        if self._channel is None:
            return 0
        identity = self._environment.new_id()
        question = Request(aggregate, stream, Look(), identity, identity, None)
        deadline = self._environment.clock.monotonic() + patience
        try:
            return (await self._router.execute(question, look_up=False, deadline=deadline)).version
        except AppendOutcomeUnknownError as error:  # a question writes nothing, whatever became of it
            message = f"nobody proved in time where {stream} stands; try again (last: {error.cause})"
            raise LogUnavailableError(message) from error

    def _stream(self, aggregate: type[Aggregate], aggregate_id: str) -> StreamId:
        if self._aggregates.get(aggregate.category) is not aggregate:
            message = (
                f"{aggregate.__qualname__} is not registered: add it to EventStore(..., aggregates=[...]), "
                "where its definition is checked"
            )
            raise ConfigurationError(message)
        return stream_id(aggregate.category, aggregate_id)

    def _group(self, partition: Partition) -> GroupCommit:
        if self._closing:
            message = "the store is closed or closing and takes no more commands"
            raise StoreClosedError(message)
        group = self._groups.get(partition)
        if group is None:
            clock = self._environment.clock
            group = GroupCommit(self._log, partition, self._rehydrator, self._decider, self._snapshotter, clock)
            self._groups[partition] = group
            self._background.start(group.run(), f"eventstore-group-commit-{partition}")
        return group
