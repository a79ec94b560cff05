"""`SqlQueryStore`: read models, positions and dead letters in one SQLite file or PostgreSQL database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import datetime
from types import TracebackType
from typing import Final, Self

from sqlalchemy.ext.asyncio import AsyncConnection

from eventstore.background import finished
from eventstore.core.checkpoints import Checkpoint, DeadLetter, Failure, SubscriptionStatus
from eventstore.core.definitions import SubscriptionDefinition
from eventstore.core.errors import EventStoreError, StoreClosedError
from eventstore.core.reactions import Deadline
from eventstore.core.rebuilds import RebuildStatus
from eventstore.core.records import Partition
from eventstore.core.rows import Key, Row
from eventstore.ports import Clock, Move
from eventstore.sql import catalog, changes, deadlines, positions, rebuilds
from eventstore.sql.engines import Engines
from eventstore.sql.errors import translated
from eventstore.sql.schema import metadata
from eventstore.sql.transactions import RowsByVersion, SqlRowReader, SqlTransaction, dead_letters_of


class SqlQueryStore:
    """Implements `QueryStore` with SQLAlchemy; rows and position of a batch are committed together.

    Args:
        where: A file, or a `postgresql://` URL.
        clock: For leases and times.
        name: Of the process, with which the names of its owners begin: on PostgreSQL whoever takes a position over from
            it by force ends its transactions that stand still.
        standstill: Seconds after which PostgreSQL ends a batch's transaction in which nothing happens, so that a
            process that stands still does not hold up the one that takes over. A process manager's commands are
            executed meanwhile.

    Attributes:
        label: The database's address without secrets.

    Raises:
        ConfigurationError: The address names no supported database, or its driver is missing.
    """

    def __init__(self, where: str, *, clock: Clock, name: str = "", standstill: float = 15.0) -> None:
        self._engines: Final = Engines(where, standstill, name)
        self._clock: Final = clock
        self.label: Final = self._engines.label
        self._rows: Final = RowsByVersion(self._engines.dialect)
        self._open = False

    async def __aenter__(self) -> Self:
        """Connect and create the bookkeeping tables; see `QueryStore.__aenter__`."""
        try:
            with translated(self.label, "opening the query store"):
                async with self._engines.writing() as connection:
                    await catalog.lock(connection)
                    await connection.run_sync(metadata.create_all)
        except BaseException:
            await self._engines.close()
            raise
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        self._open = False
        await self._engines.close()

    @asynccontextmanager
    async def _writing(self, doing: str) -> AsyncGenerator[AsyncConnection, None]:
        self._check_open()
        with translated(self.label, doing):
            async with self._engines.writing() as connection:
                yield connection

    @asynccontextmanager
    async def reading(self, doing: str) -> AsyncGenerator[AsyncConnection, None]:
        """Begin a transaction that sees one moment, for queries.

        Raises:
            StoreUnavailableError: The database cannot be reached now.
        """
        self._check_open()
        with translated(self.label, doing):
            async with self._engines.reading() as connection:
                yield connection

    def _check_open(self) -> None:
        if not self._open:
            message = "the query store is not open: use it inside `async with`"
            raise StoreClosedError(message)

    async def register(self, definition: SubscriptionDefinition, log_id: str) -> SubscriptionStatus:
        """Make a version known; see `QueryStore.register`."""
        async with self._writing(f"registering {definition.label}") as connection:
            await catalog.register(connection, self._clock, definition, log_id)
            known = await catalog.statuses(connection, self._clock, definition.name)
        return next(status for status in known if status.version == definition.version)

    async def accept(self, definition: SubscriptionDefinition) -> None:
        """Take the definition's fingerprint; see `QueryStore.accept`."""
        async with self._writing(f"accepting {definition.label}") as connection:
            await catalog.accept(connection, definition)

    async def statuses(self, name: str | None = None) -> Sequence[SubscriptionStatus]:
        """Give every known version; see `QueryStore.statuses`."""
        return await finished(self._statuses(name))

    async def _statuses(self, name: str | None) -> Sequence[SubscriptionStatus]:
        async with self.reading("reading positions") as connection:
            return await catalog.statuses(connection, self._clock, name)

    async def deadlines(
        self, definition: SubscriptionDefinition, partition: Partition, until: datetime, limit: int
    ) -> Sequence[Deadline]:
        """Give deadlines that have passed; see `QueryStore.deadlines`."""
        return await finished(self._deadlines(definition, partition, until, limit))

    async def _deadlines(
        self, definition: SubscriptionDefinition, partition: Partition, until: datetime, limit: int
    ) -> Sequence[Deadline]:
        async with self.reading(f"reading deadlines of {definition.label}") as connection:
            return await deadlines.passed(connection, definition, partition, until, limit)

    async def changes(self) -> AsyncGenerator[Move | None, None]:
        """Tell what is done to positions; see `QueryStore.changes`."""
        self._check_open()
        with translated(self.label, "following positions"):
            async with aclosing(changes.changes(self._engines)) as told:
                async for move in told:
                    yield move

    async def claim(
        self, definition: SubscriptionDefinition, partition: Partition, owner: str, lease: float, *, force: bool = False
    ) -> Checkpoint | None:
        """Become the owner of a position; see `QueryStore.claim`."""
        wanted = Checkpoint(definition.name, definition.version, partition, owner=owner)
        try:
            return await finished(self._claim(wanted, lease, force=force))
        except asyncio.CancelledError:
            # It may have gone through, and the caller does not learn that there is something to release.
            with suppress(EventStoreError):
                await self.release(wanted)
            raise

    async def _claim(self, wanted: Checkpoint, lease: float, *, force: bool) -> Checkpoint | None:
        async with self._writing("claiming a position") as connection:
            return await positions.claim(connection, self._clock, wanted, lease, force=force)

    async def release(self, checkpoint: Checkpoint) -> None:
        """Let others claim at once; see `QueryStore.release`."""
        await finished(self._release(checkpoint))

    async def _release(self, checkpoint: Checkpoint) -> None:
        async with self._writing("releasing a position") as connection:
            await positions.release(connection, checkpoint)

    async def report(self, checkpoint: Checkpoint, failure: Failure | None) -> None:
        """Keep why a position stands still; see `QueryStore.report`."""
        await finished(self._report(checkpoint, failure))

    async def _report(self, checkpoint: Checkpoint, failure: Failure | None) -> None:
        async with self._writing("reporting a failure") as connection:
            await positions.report(connection, checkpoint, failure)

    async def hold_rebuild(self, definition: SubscriptionDefinition, rebuild: RebuildStatus, lease: float) -> None:
        """Be the one who rebuilds a version; see `QueryStore.hold_rebuild`."""
        async with self._writing(f"rebuilding {definition.label}") as connection:
            await rebuilds.hold(connection, self._clock, definition, rebuild, lease)

    async def let_go_rebuild(self, definition: SubscriptionDefinition, runner: str) -> None:
        """Let others rebuild it; see `QueryStore.let_go_rebuild`."""
        async with self._writing(f"no longer rebuilding {definition.label}") as connection:
            await rebuilds.let_go(connection, definition, runner)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[SqlTransaction, None]:
        """Begin a worker's transaction; see `QueryStore.transaction`."""
        async with self._writing("writing a batch") as connection:
            yield SqlTransaction(connection, self._rows, self._clock, self.label)

    @asynccontextmanager
    async def snapshot(self) -> AsyncGenerator[SqlRowReader, None]:
        """Give a view of one moment; see `QueryStore.snapshot`."""
        async with self.reading("comparing rows") as connection:
            # The moment is that of the first query: have it now.
            await catalog.statuses(connection, self._clock, "")
            yield SqlRowReader(connection, self._clock, self.label)

    async def row(self, definition: SubscriptionDefinition, key: Key) -> Row | None:
        """Give one row; see `QueryStore.row`."""
        codec = self._rows.of(definition).codec
        async with self.reading(f"reading {definition.label}") as connection:
            return await codec.fetch(connection, key)

    async def rows(self, definition: SubscriptionDefinition, after: Key | None, limit: int) -> Sequence[Row]:
        """Give rows in key order; see `QueryStore.rows`."""
        codec = self._rows.of(definition).codec
        async with self.reading(f"reading {definition.label}") as connection:
            return await codec.fetch_page(connection, after, limit)

    async def switch(self, definition: SubscriptionDefinition, not_behind: Mapping[Partition, int] | None) -> None:
        """Make a version live; see `QueryStore.switch`."""
        async with self._writing(f"switching to {definition.label}") as connection:
            await catalog.switch(connection, self._clock, definition, not_behind)

    async def drop(self, name: str, version: int) -> None:
        """Remove a version; see `QueryStore.drop`."""
        async with self._writing(f"removing {name} v{version}") as connection:
            await catalog.drop(connection, name, version)

    async def dead_letters(self, name: str | None = None) -> Sequence[DeadLetter]:
        """List dead letters; see `QueryStore.dead_letters`."""
        async with self.reading("reading dead letters") as connection:
            return await dead_letters_of(connection, name)
