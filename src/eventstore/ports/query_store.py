"""The query store: transactions of workers, versions of read models, positions, dead letters."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from eventstore.core.checkpoints import Checkpoint, DeadLetter, Failure, SubscriptionStatus
from eventstore.core.definitions import SubscriptionDefinition
from eventstore.core.reactions import Deadline
from eventstore.core.rebuilds import RebuildStatus
from eventstore.core.records import Partition
from eventstore.core.rows import Key, Row


class Move(NamedTuple):
    """A position that was moved, by a worker of whatever process: from now on readers see its rows."""

    name: str
    version: int
    partition: Partition
    next_offset: int


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

    async def set_deadlines(self, definition: SubscriptionDefinition, changes: Mapping[Key, Deadline | None]) -> None:
        """Keep a deadline per state, replacing the one there was; None for a state that has none any more."""
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

    async def deadlines(
        self, definition: SubscriptionDefinition, partition: Partition, until: datetime, limit: int
    ) -> Sequence[Deadline]:
        """Give the deadlines that were set in a partition and have passed, the oldest first, at most `limit`.

        Args:
            definition: Of which process manager.
            partition: Where the events are that set them.
            until: The time.
            limit: At most so many.
        """
        ...

    def changes(self) -> AsyncGenerator[Move | None, None]:
        """Tell what all processes do to positions soon after it is committed; what is rolled back is not told.

        Yields:
            A move, or the newest of several of one position. None at first, every few seconds, and whenever anything
            else may have happened, such as a failure, a switch or moves that were missed: look at `statuses`.

        Raises:
            StoreUnavailableError: The database was lost; what happens now is not told. Begin anew.
        """
        ...

    async def claim(
        self, definition: SubscriptionDefinition, partition: Partition, owner: str, lease: float, *, force: bool = False
    ) -> Checkpoint | None:
        """Become the owner of a position unless another owner's lease still runs; cancelled, it is claimed by nobody.

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

    async def hold_rebuild(self, definition: SubscriptionDefinition, rebuild: RebuildStatus, lease: float) -> None:
        """Be the only one who rebuilds a version, or stay it, and tell how it stands.

        Args:
            definition: The version to build.
            rebuild: What everybody sees of it.
            lease: Seconds until others may begin, unless this is called again.

        Raises:
            OwnershipLostError: Somebody else rebuilds it; the message says who and since when.
        """
        ...

    async def let_go_rebuild(self, definition: SubscriptionDefinition, runner: str) -> None:
        """Let others rebuild a version at once; what was told stays to be seen."""
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
