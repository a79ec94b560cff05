"""The event log: streams, partitions, group commits, snapshots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import NamedTuple, Protocol, Self, TypeAlias

from eventstore.core.records import Partition, Snapshot, StoredEvent, StreamEvent
from eventstore.ports.channel import CommandChannel
from eventstore.ports.sharing import PartitionSharing


class NewEvent(NamedTuple):
    """An encoded event that has no place in the log yet; the fields are those of `StoredEvent`."""

    event_type: str
    schema_version: int
    event_id: bytes
    occurred_at: int
    envelope: bytes


class StreamCommit(NamedTuple):
    """The events of one command, written as a whole if the stream still stands where they were decided.

    Without events it is only a question: does the stream still stand at that version?

    Attributes:
        stream: The stream's name.
        expected_version: Its version when the events were decided; 0 when it did not exist.
        command_id: 16 bytes.
        events: In order.
    """

    stream: str
    expected_version: int
    command_id: bytes
    events: tuple[NewEvent, ...]


class Appended(NamedTuple):
    """Written, or for a commit without events: the stream stands where it was expected.

    Attributes:
        next_offset: One past the last event's offset; 0 for a commit without events.
    """

    next_offset: int


class Conflicted(NamedTuple):
    """Nothing of this commit was written: the stream stands elsewhere, or an earlier commit to it was not appended.

    Attributes:
        actual_version: Where it stands.
    """

    actual_version: int


class Duplicated(NamedTuple):
    """Nothing of this commit was written: the command id is in the log already."""


CommitOutcome: TypeAlias = Appended | Conflicted | Duplicated


class StreamQuery(NamedTuple):
    """Which part of a stream to read.

    Attributes:
        stream: The stream's name.
        after_version: Read from the version after this one.
        limit: At most so many events; None for all.
    """

    stream: str
    after_version: int = 0
    limit: int | None = None


class Page(NamedTuple):
    """Consecutive events of a partition.

    Attributes:
        events: Those of the wanted categories, in order of their offsets.
        next_offset: Where to go on; moves past unwanted events too.
        end: One past the partition's newest event when the page was read. The page reached the end if they are equal.
    """

    events: Sequence[StoredEvent]
    next_offset: int
    end: int


class Volume(NamedTuple):
    """How much there is to read: a count of events and the bytes of their envelopes."""

    events: int
    bytes: int


class StreamSummary(NamedTuple):
    """One line of the stream catalogue; `occurred_at` of the newest event, in microseconds since 1970."""

    stream: str
    version: int
    occurred_at: int


class LogCondition(NamedTuple):
    """How a log that gives each partition to one process is doing in this one.

    Attributes:
        owned: How many partitions this process owns, by how far it is with them.
        fenced: How often it found that another process had taken one over.
        behind: How much is committed and not in the local index yet, in events of up to a kilobyte.
        void: How many records do not count: late writes of former owners, or somebody else's.
    """

    owned: Mapping[str, int]
    fenced: int
    behind: int
    void: int


class StreamReader(Protocol):
    """Reads streams by name, from committed data only."""

    async def read_streams(self, queries: Sequence[StreamQuery]) -> Sequence[Sequence[StoredEvent]]:
        """Read each stream's events in version order, complete up to some moment not before the call.

        Args:
            queries: What to read; one round trip serves them all.

        Returns:
            The events per query, empty for a stream that does not exist.

        Raises:
            LogUnavailableError: The log cannot be read now.
            CorruptLogError: Stored data is damaged.
        """
        ...

    async def read_to_fold(self, queries: Sequence[StreamQuery]) -> Sequence[Sequence[StreamEvent]]:
        """Read like `read_streams`, but only what folding the events into states takes."""
        ...

    async def find_commands(
        self, command_ids: Sequence[bytes], partition: Partition | None = None
    ) -> Mapping[bytes, Sequence[StoredEvent]]:
        """Find the events of commands that were committed, whenever that was.

        Args:
            command_ids: 16 bytes each.
            partition: Where to look at least, which may be cheaper; None for everywhere.

        Returns:
            For each id that is in the log: all its events, in order.

        Raises:
            LogUnavailableError: The log cannot be read now.
        """
        ...

    async def list_streams(self, prefix: str, after: str, limit: int) -> Sequence[StreamSummary]:
        """List streams whose name starts with `prefix` and sorts after `after`, in name order, at most `limit`."""
        ...


class StreamWriter(Protocol):
    """Appends to one partition."""

    def partition_of(self, stream: str) -> Partition:
        """Give the partition a stream lives in; fixed for life."""
        ...

    async def commit(self, partition: Partition, commits: Sequence[StreamCommit]) -> Sequence[CommitOutcome]:
        """Write several commands' events durably, each command as a whole, together in one group commit.

        When this returns, what it calls appended survives a crash of the process and of the machine. Outcomes
        follow the order of the commits; an earlier commit of the batch counts for the versions of a later one.
        Once a commit of the batch was not appended, no later one of the same stream is: it was decided on the earlier.

        Args:
            partition: Where all the streams of the batch live.
            commits: At least one.

        Returns:
            What became of each.

        Raises:
            LogUnavailableError: Certainly nothing of the batch was written.
            AppendOutcomeUnknownError: It may have been written and could not be looked up.
            OwnershipLostError: Another process owns the partition; nothing of the batch was written, now or later.
            CorruptLogError: Stored data is damaged; nothing was written.
        """
        ...

    async def erase(self, stream: str, version: int) -> bool:
        """Erase the data of one event for good; when this returns, no reader of the log gets it any more.

        The event keeps its place: offset, version, type, ids and time stay, the envelope is empty (`erased`). So the
        versions stay 1..n, a repeated command is still recognised, and audits stay clean. The snapshots of the stream
        go as well, and none is kept from then on. Erasing again changes nothing.

        Args:
            stream: The stream's name.
            version: Which of its events.

        Returns:
            False if there is no such event.

        Raises:
            OwnershipLostError: Another process owns the partition; nothing was erased.
            LogUnavailableError: The log cannot be written now; repeat the call.
            AppendOutcomeUnknownError: It may have been erased; repeat the call.
            CorruptLogError: Stored data is damaged.
        """
        ...


class PartitionReader(Protocol):
    """Reads the log in its order; what it gives is committed and complete up to the page's next offset."""

    @property
    def log_id(self) -> str:
        """Identify this very log: stored beside every position, so that a position is never used on another log."""
        ...

    @property
    def partitions(self) -> Sequence[Partition]:
        """Name the partitions; the set is fixed for life."""
        ...

    async def read(
        self, partition: Partition, offset: int, limit: int, categories: Sequence[str] | None = None
    ) -> Page:
        """Read events in offset order from `offset` on.

        Args:
            partition: Which partition.
            offset: The first offset of interest.
            limit: At most so many events.
            categories: Only events of these categories; None for all.

        Returns:
            A page; no event between `offset` and its `next_offset` is missing.

        Raises:
            LogUnavailableError: The log cannot be read now.
            CorruptLogError: Stored data is damaged.
        """
        ...

    async def ends(self) -> Mapping[Partition, int]:
        """Give one past the newest offset of every partition: a reader that gets there has seen all until now."""
        ...

    async def wait_beyond(self, partition: Partition, offset: int) -> None:
        """Return once an event at `offset` or later may be there; may return early, never sleeps through one."""
        ...

    async def measure(self, partition: Partition, offset: int, categories: Sequence[str] | None) -> Volume:
        """Count what `read` would give from `offset` to the end, for plans; a log may estimate."""
        ...


class SnapshotStore(Protocol):
    """Keeps one disposable snapshot per stream. A log that cannot does not implement it."""

    async def read_snapshots(self, streams: Sequence[str]) -> Mapping[str, Snapshot]:
        """Give the snapshots there are, by stream."""
        ...

    async def write_snapshots(self, snapshots: Mapping[str, Snapshot]) -> None:
        """Keep snapshots, replacing older ones, but none of a stream with an erased event: it may hold the data."""
        ...


class EventLog(StreamReader, StreamWriter, PartitionReader, SnapshotStore, Protocol):
    """All streams as one durable, partitioned order: what `EventStore` needs from a log.

    `async with` opens it and closes it; both are safe to cancel.
    """

    def declare(self, categories: Sequence[str]) -> None:
        """Name the categories that will be written and read: a log that keeps them apart needs them to open.

        Args:
            categories: Added to those named before.
        """
        ...

    @property
    def channel(self) -> CommandChannel | None:
        """The way to the process that may write a partition; None where every process may write every partition."""
        ...

    @property
    def sharing(self) -> PartitionSharing | None:
        """Who deals partitions out to workers; None where every worker may try all, and leases decide."""
        ...

    @property
    def condition(self) -> LogCondition | None:
        """How it is doing, for those who watch it; None where every process may write every partition."""
        ...

    def exists(self) -> bool:
        """Tell whether there is a log already, so that tools that only read need not create one."""
        ...

    async def check(self) -> str:
        """Verify what is stored and give the verdict, `"ok"` if it is sound; takes time on a large log."""
        ...

    @property
    def suggested_query_store(self) -> str | None:
        """Name a place for read models that suits this log, or None if the user has to choose."""
        ...

    async def __aenter__(self) -> Self:
        """Open the log.

        Raises:
            ConfigurationError: The address or settings are wrong.
            CorruptLogError: What is there is damaged or no log of ours.
            LogUnavailableError: It cannot be opened now.
        """
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish what is being written and release everything."""
        ...
