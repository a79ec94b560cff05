"""Reading a projection's rows: typed by key and in pages, or with any SQL."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, Generic, TypeAlias, TypeVar, cast

from sqlalchemy import MetaData, Table
from sqlalchemy.ext.asyncio import AsyncConnection

from eventstore.core.projections import Projection
from eventstore.core.rows import Key, Row
from eventstore.sql.store import SqlQueryStore
from eventstore.sql.tables import physical_tables

R = TypeVar("R", bound=Row)
UnbuiltRow: TypeAlias = Callable[[Key], Awaitable[tuple[bool, Row | None]]]
"""Tells whether a version is being built, and then gives the row that it will have."""


class ReadModel(Generic[R]):
    """The rows of this code's version of a projection; other code's versions stay as they are beside it.

    Args:
        store: The query store.
        projection: Whose rows.
        unbuilt: Gives a row of a version that is still being built, and whether it is.
    """

    def __init__(
        self, store: SqlQueryStore, projection: type[Projection[R]], unbuilt: UnbuiltRow | None = None
    ) -> None:
        self._store: Final = store
        self._unbuilt: Final = unbuilt
        self._definition: Final = projection.definition
        self.table: Final[Table] = _table(projection)

    async def get(self, *key: object) -> R | None:
        """Give the row with a key, or None; one of a version that is being built comes from the log, complete.

        That is so if rows have the id of their stream as key. Others, and `all`, give what has been built so far.

        Args:
            key: One value per key field.

        Raises:
            StoreUnavailableError: The database cannot be reached now.
            ProjectionFailedError: A handler raised while the row was folded from the log.
            EventSchemaError: An event in the log does not fit the code.
            LogUnavailableError: The log cannot be read now.
        """
        if self._unbuilt is not None:
            applies, row = await self._unbuilt(key)
            if applies:
                return cast("R | None", row)
        return cast("R | None", await self._store.row(self._definition, key))

    async def all(self, *, after: Key | None = None, limit: int = 1_000) -> list[R]:
        """Give rows in key order.

        Args:
            after: Start behind this key, for the next page.
            limit: At most so many.

        Raises:
            StoreUnavailableError: The database cannot be reached now.
        """
        return cast("list[R]", [*await self._store.rows(self._definition, after, limit)])

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[AsyncConnection, None]:
        """Give a connection for queries of your own on `table`; all of them see one moment.

        Raises:
            StoreUnavailableError: The database cannot be reached now.
        """
        async with self._store.reading(f"querying {self._definition.label}") as connection:
            yield connection


def _table(projection: type[Projection[R]]) -> Table:
    (table,) = physical_tables(projection.definition).values()
    return table.to_metadata(MetaData())
