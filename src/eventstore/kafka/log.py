"""`KafkaLog`: the event log on Apache Kafka, many processes, each partition written by exactly one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from eventstore.core.checkpoints import Failure
from eventstore.core.errors import StoreClosedError
from eventstore.core.inventory import Inventory
from eventstore.core.publications import PublicationDefinition
from eventstore.core.records import Partition, Snapshot, StoredEvent, StreamEvent
from eventstore.core.streams import check_category
from eventstore.environment import Environment
from eventstore.kafka.brokers import Brokers
from eventstore.kafka.connection import Connection
from eventstore.kafka.groups import Groups
from eventstore.kafka.names import Names
from eventstore.kafka.opening import Place, open_session
from eventstore.kafka.options import KafkaOptions
from eventstore.kafka.relay import Relay, open_relay
from eventstore.kafka.relay_status import RelayStatus, relay_status
from eventstore.kafka.relay_work import RelayWork
from eventstore.kafka.session import Session
from eventstore.kafka.upkeep import TopicUpkeep
from eventstore.ports import (
    CommandChannel,
    CommitOutcome,
    LogCondition,
    Page,
    PartitionSharing,
    StreamCommit,
    StreamQuery,
    StreamSummary,
    Volume,
)


class KafkaLog:
    """All streams on a Kafka cluster; what is acknowledged is on every in-sync replica, written by a fenced owner.

    Each category has a compacted topic. One process owns a partition at a time and writes to it; the broker itself
    refuses every former owner. Every process follows all partitions into a local index, so it reads any stream, and
    takes over quickly.

    Args:
        connection: The brokers: `"localhost:9092"` for this machine's, else a `Connection` with user and password,
            or certificates.
        prefix: Names everything on the cluster: topics, groups, transactional ids.
        categories: Which categories there are; `EventStore` adds those of its aggregates.
        options: Times, sizes, directories.
        environment: Clock and randomness.
    """

    def __init__(
        self,
        connection: str | Connection,
        *,
        prefix: str,
        categories: Sequence[str] = (),
        options: KafkaOptions | None = None,
        environment: Environment | None = None,
    ) -> None:
        self.connection: Final = Connection(connection) if isinstance(connection, str) else connection
        self.names: Final = Names(prefix)
        self.options: Final = options or KafkaOptions()
        self._environment: Final = environment or Environment()
        self._categories: Final[dict[str, None]] = {}
        self._resources = AsyncExitStack()
        self._session: Session | None = None
        self.declare(categories)

    def declare(self, categories: Sequence[str]) -> None:
        """Name the categories that will be written and read; before opening.

        Raises:
            ConfigurationError: A name is not allowed.
        """
        for category in categories:
            check_category(category)
        self._categories.update(dict.fromkeys(categories))

    async def __aenter__(self) -> Self:
        """Create or verify the topics, restore the index, and take part in the election of owners.

        Raises:
            ConfigurationError: Settings or topics are unsafe; the message says what to change.
            LogUnavailableError: The brokers cannot be reached.
        """
        async with AsyncExitStack() as resources:
            self._session = await resources.enter_async_context(open_session(self._place(list(self._categories))))
            self._resources = resources.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish what is being written, hand the partitions over, close everything."""
        try:
            # The log stays open to commands that other processes sent until the partitions are handed over.
            await self._resources.__aexit__(kind, error, trace)
        finally:
            self._session = None

    @property
    def _opened(self) -> Session:
        if self._session is None:
            message = "the log is not open: use it inside `async with`"
            raise StoreClosedError(message)
        return self._session

    def _place(self, categories: Sequence[str]) -> Place:
        return Place(self.connection, self.names, categories, self.options, self._environment)

    @property
    def topics(self) -> TopicUpkeep:
        """Plan, apply and check the topics; the log need not be open."""
        inventory = Inventory(tuple(self._categories))
        return TopicUpkeep(self.connection, self.names, inventory, self.options, self._environment)

    @property
    def brokers(self) -> Brokers:
        """Look at the brokers one by one; the log need not be open."""
        return Brokers(self.connection, self.names, self._environment)

    @property
    def groups(self) -> Groups:
        """Look at consumer groups; the log need not be open."""
        return Groups(self.connection)

    def relay(
        self, work: RelayWork, on_halt: Callable[[Partition, Failure], None]
    ) -> AbstractAsyncContextManager[Relay]:
        """Publish a share of the log for as long as the block lasts; the log need not be open.

        Args:
            work: What to do.
            on_halt: Called when a partition stands still.
        """
        return open_relay(self._place(work.definition.categories), work, on_halt)

    async def relay_status(self, definition: PublicationDefinition, stalled_after: float) -> Sequence[RelayStatus]:
        """Tell how far a publication is published; the log need not be open.

        Args:
            definition: The publication's, with the categories it reads.
            stalled_after: Seconds without a move after which what is behind counts as stalled.

        Raises:
            ConfigurationError: This user may not see it.
            LogUnavailableError: The brokers cannot be reached.
        """
        return await relay_status(self._place(definition.categories), definition, stalled_after)

    def exists(self) -> bool:
        """Tell that it is there: opening creates what is missing, or refuses to."""
        return True

    @property
    def suggested_query_store(self) -> str:
        """Suggest a file beside the index, which the processes of this machine share."""
        return str(Path(self.options.directory) / f"{self.names.prefix}.read.db")

    @property
    def log_id(self) -> str:
        """Identify the log by its cluster and prefix."""
        return self._opened.log_id

    @property
    def channel(self) -> CommandChannel:
        """The way to the owners of partitions."""
        return self._opened.channel

    @property
    def sharing(self) -> PartitionSharing:
        """Consumer groups deal the partitions out to workers."""
        return self._opened.sharing

    @property
    def condition(self) -> LogCondition:
        """How this process is doing with the partitions it owns, and its index with the others'."""
        return self._opened.ownership.condition

    @property
    def partitions(self) -> Sequence[Partition]:
        """Name the partitions of all categories."""
        return [name.text for name in self._opened.partitions.all]

    def partition_of(self, stream: str) -> Partition:
        """Give the partition that the stream's id hashes to."""
        return self._opened.partitions.of(stream).text

    async def serving(self, partitions: Sequence[Partition] | None = None) -> None:
        """Return when this process owns some partitions, or all if none are named, and executes their commands."""
        await self._opened.ownership.serving(self.partitions if partitions is None else partitions)

    def takeover_seconds(self, partition: Partition) -> float:
        """Tell how long after its claim this process served a partition that it owns."""
        return self._opened.ownership.owned(partition).takeover_seconds

    async def commit(self, partition: Partition, commits: Sequence[StreamCommit]) -> Sequence[CommitOutcome]:
        """Write a group of commits durably as one record batch; see `StreamWriter.commit`."""
        return await self._opened.ownership.owned(partition).commit(commits)

    async def erase(self, stream: str, version: int) -> bool:
        """Erase an event's data; see `StreamWriter.erase`.

        Every index is rid of it as soon as it has read so. The brokers keep the bytes until they compact the topic:
        not before `min.compaction.lag.ms`, and `max.compaction.lag.ms` after the next record at the latest.
        """
        return await self._opened.erase(stream, version)

    async def read_streams(self, queries: Sequence[StreamQuery]) -> Sequence[Sequence[StoredEvent]]:
        """Read streams by name; see `StreamReader.read_streams`."""
        session = self._opened
        return await session.read(queries, session.index.read_streams)

    async def read_to_fold(self, queries: Sequence[StreamQuery]) -> Sequence[Sequence[StreamEvent]]:
        """Read what folding takes; see `StreamReader.read_to_fold`."""
        session = self._opened
        return await session.read(queries, session.index.read_to_fold)

    async def find_commands(
        self, command_ids: Sequence[bytes], partition: Partition | None = None
    ) -> Mapping[bytes, Sequence[StoredEvent]]:
        """Find the events of commands; see `StreamReader.find_commands`."""
        session = self._opened
        if partition is not None:
            return await session.find_commands_in(partition, command_ids)
        await session.all_current()
        return await session.index.find_commands(command_ids)

    async def list_streams(self, prefix: str, after: str, limit: int) -> Sequence[StreamSummary]:
        """List streams in name order; see `StreamReader.list_streams`."""
        session = self._opened
        await session.all_current()
        return await session.index.list_streams(prefix, after, limit)

    async def read(
        self, partition: Partition, offset: int, limit: int, categories: Sequence[str] | None = None
    ) -> Page:
        """Read events in order from the local index; see `PartitionReader.read`."""
        session = self._opened
        await session.settled(partition)
        return await session.index.read(partition, offset, limit, categories)

    async def ends(self) -> Mapping[Partition, int]:
        """Ask the brokers for one past the newest offset of every partition."""
        return await self._opened.ends()

    async def wait_beyond(self, partition: Partition, offset: int) -> None:
        """Return once the index has an offset."""
        await self._opened.index.reached(partition, offset + 1)

    async def measure(self, partition: Partition, offset: int, categories: Sequence[str] | None) -> Volume:
        """Count events and bytes from an offset to the end of the index."""
        session = self._opened
        await session.settled(partition)
        return await session.index.measure(partition, offset, categories)

    async def read_snapshots(self, streams: Sequence[str]) -> Mapping[str, Snapshot]:
        """Give the snapshots in the local index."""
        return await self._opened.index.read_snapshots(streams)

    async def write_snapshots(self, snapshots: Mapping[str, Snapshot]) -> None:
        """Keep snapshots in the local index; they are disposable."""
        await self._opened.index.write_snapshots(snapshots)

    async def check(self) -> str:
        """Verify the local index and give the verdict, `"ok"` if it is sound."""
        return await self._opened.index.check()
