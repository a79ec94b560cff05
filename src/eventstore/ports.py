"""The seams: what the command side, the query side and tools may rely on, whatever log or database is behind.

Adapters implement these protocols and prove it with the contract suites in `eventstore.testing`. Every method
may raise `StoreClosedError` outside `async with`. Cancellation is never wrapped: a cancelled read has no effect,
a cancelled write happens or does not happen as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import NamedTuple, Protocol, Self, TypeAlias

from eventstore.core.checkpoints import Checkpoint, DeadLetter, Failure, SubscriptionStatus
from eventstore.core.definitions import SubscriptionDefinition
from eventstore.core.records import Partition, Snapshot, StoredEvent
from eventstore.core.rows import Key, Row


class Clock(Protocol):
    """Time as an argument, so that a simulator can own it."""

    def now(self) -> datetime:
        """Give the wall clock's time in UTC."""
        ...

    def monotonic(self) -> float:
        """Give seconds that never go backwards, for deadlines and rates."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""
        ...


class Entropy(Protocol):
    """Randomness as an argument, so that a simulator can own it."""

    def bits(self, count: int) -> int:
        """Give `count` random bits."""
        ...


class NewEvent(NamedTuple):
    """An encoded event that has no place in the log yet; the fields are those of `StoredEvent`."""

    event_type: str
    schema_version: int
    event_id: bytes
    occurred_at: int
    envelope: bytes


@dataclass(frozen=True, slots=True)
class StreamCommit:
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

    async def find_commands(self, command_ids: Sequence[bytes]) -> Mapping[bytes, Sequence[StoredEvent]]:
        """Find the events of commands that were committed, whenever that was.

        Args:
            command_ids: 16 bytes each.

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
            OwnershipLostError: Another process owns the partition; nothing was written.
            CorruptLogError: Stored data is damaged; nothing was written.
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
        """Keep snapshots, replacing older ones; losing one costs time only."""
        ...


class EventLog(StreamReader, StreamWriter, PartitionReader, SnapshotStore, Protocol):
    """All streams as one durable, partitioned order: what `EventStore` needs from a log.

    `async with` opens it and closes it; both are safe to cancel.
    """

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


class QueryTransaction(Protocol):
    """One database transaction of a worker: everything in it happens together with the move of the position."""

    @property
    def connection(self) -> object:
        """Give the database connection, for handlers of `SqlProjection`."""
        ...

    async def rows(self, definition: SubscriptionDefinition, keys: Sequence[Key]) -> dict[Key, Row]:
        """Read and lock rows, in key order; nobody else changes them before the transaction ends."""
        ...

    async def write(self, definition: SubscriptionDefinition, changes: Mapping[Key, Row | None]) -> None:
        """Insert or replace rows, and delete those whose change is None.

        Raises:
            RowConflictError: A row that `rows` did not find was inserted by somebody else; roll back and fold again.
        """
        ...

    async def advance(self, before: Checkpoint, after: Checkpoint) -> None:
        """Move the position by compare-and-set.

        Raises:
            OwnershipLostError: Position or owner are no longer `before`'s; the transaction must roll back.
        """
        ...

    async def park(self, letter: DeadLetter) -> None:
        """Keep a dead letter."""
        ...

    async def discard(self, letter_id: int) -> None:
        """Remove a dead letter.

        Raises:
            OwnershipLostError: It is gone already; the transaction must roll back.
        """
        ...


class RowReader(Protocol):
    """Reads whole read models at one moment, for comparison."""

    async def checkpoints(self, name: str, version: int) -> Mapping[Partition, Checkpoint]:
        """Give the positions at that moment."""
        ...

    async def relations(self, name: str, version: int) -> Mapping[str, tuple[str, ...]]:
        """Give the tables of a version by the name that readers query, each with its key columns."""
        ...

    async def raw_page(
        self, name: str, version: int, relation: str, after: Key | None, limit: int
    ) -> Sequence[Mapping[str, object]]:
        """Give rows in key order after a key as values by column, all from the same moment.

        It needs no class, so that it also reads versions whose code is gone. Equal values of two versions compare
        equal if their columns have the same type.
        """
        ...


class QueryStore(Protocol):
    """A database for read models, positions, dead letters and the registry of projection versions."""

    async def __aenter__(self) -> Self:
        """Connect and create the bookkeeping tables if they are missing.

        Raises:
            ConfigurationError: The address or settings are wrong.
            StoreUnavailableError: The database cannot be reached now.
        """
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        ...

    async def register(self, definition: SubscriptionDefinition, log_id: str) -> SubscriptionStatus:
        """Make a version known: create its tables if missing; the first version of a name goes live at once.

        Raises:
            ConfigurationError: The same version is known with another fingerprint or another log.
        """
        ...

    async def row(self, definition: SubscriptionDefinition, key: Key) -> Row | None:
        """Give one row of that version, or None."""
        ...

    async def rows(self, definition: SubscriptionDefinition, after: Key | None, limit: int) -> Sequence[Row]:
        """Give rows of that version in key order after a key, at most `limit`."""
        ...

    async def accept(self, definition: SubscriptionDefinition) -> None:
        """Take the definition's fingerprint as that of its version: its author says the outcome is the same."""
        ...

    async def statuses(self, name: str | None = None) -> Sequence[SubscriptionStatus]:
        """Give every known version with its positions, by name and version."""
        ...

    async def claim(
        self, definition: SubscriptionDefinition, partition: Partition, owner: str, lease: float, *, force: bool = False
    ) -> Checkpoint | None:
        """Become the owner of a position unless another owner's lease still runs.

        Args:
            definition: Which projection version.
            partition: Which partition.
            owner: A name that no other worker has.
            lease: Seconds until others may claim it, renewed by `claim` and `advance`. It affects who works, never
                what is right: `advance` keeps a former owner out.
            force: Claim even though the lease runs, for owners assigned by other means.

        Returns:
            The position to go on from, or None when another owner has it.
        """
        ...

    async def release(self, checkpoint: Checkpoint) -> None:
        """Let others claim at once."""
        ...

    async def report(self, checkpoint: Checkpoint, failure: Failure | None) -> None:
        """Show why a position stands still, or that it moves again."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[QueryTransaction]:
        """Begin; commits when the block ends, rolls back when it raises.

        Raises:
            StoreUnavailableError: The database refused or was lost; nothing of the block happened, unless it was
                lost during the commit: then the position tells.
        """
        ...

    def snapshot(self) -> AbstractAsyncContextManager[RowReader]:
        """Give a view of one moment that does not hold up writers."""
        ...

    async def switch(self, definition: SubscriptionDefinition, not_behind: Mapping[Partition, int] | None) -> None:
        """Make a version live for readers, in one transaction; the former live version is retired, not removed.

        Args:
            definition: The version to serve.
            not_behind: The live version's positions that the new one has reached; None to switch regardless.

        Raises:
            OwnershipLostError: The live version has moved beyond `not_behind`: catch up and try again.
            ConfigurationError: The version is unknown.
        """
        ...

    async def drop(self, name: str, version: int) -> None:
        """Remove a version that is not live, with its tables, positions and dead letters.

        Raises:
            ConfigurationError: The version is live or unknown.
        """
        ...

    async def dead_letters(self, name: str | None = None) -> Sequence[DeadLetter]:
        """List dead letters, oldest first."""
        ...
