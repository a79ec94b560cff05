"""One transaction of a worker: rows, dead letters and the position move together or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from eventstore.core.checkpoints import Checkpoint, DeadLetter
from eventstore.core.definitions import SubscriptionDefinition
from eventstore.core.errors import OwnershipLostError
from eventstore.core.reactions import Deadline
from eventstore.core.records import Partition, from_micros, to_micros
from eventstore.core.rows import Key, Row
from eventstore.ports import Clock
from eventstore.sql import catalog, deadlines, positions
from eventstore.sql.codecs import RowCodec
from eventstore.sql.columns import POSTGRESQL
from eventstore.sql.errors import translated
from eventstore.sql.schema import dead_letters
from eventstore.sql.statements import RowStatements, quoted, statements


class Rows:
    """A version's codec and statements for one database."""

    def __init__(self, definition: SubscriptionDefinition, dialect: str) -> None:
        self.codec: Final = RowCodec(definition, dialect)
        self.statements: Final[RowStatements] = statements(self.codec, dialect)


class RowsByVersion:
    """Compiles each version's codec and statements once."""

    def __init__(self, dialect: str) -> None:
        self._dialect: Final = dialect
        self._known: Final[dict[tuple[str, int, str], Rows]] = {}

    def of(self, definition: SubscriptionDefinition) -> Rows:
        """Give a version's codec and statements.

        Raises:
            ConfigurationError: It has no rows, or they cannot be stored.
        """
        key = (definition.name, definition.version, definition.fingerprint)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = Rows(definition, self._dialect)
        return found


class SqlTransaction:
    """Implements `QueryTransaction` on an open database transaction."""

    def __init__(self, connection: AsyncConnection, rows: RowsByVersion, clock: Clock, label: str) -> None:
        self.connection: Final = connection
        self._rows: Final = rows
        self._clock: Final = clock
        self._label: Final = label
        self._found: Final[set[tuple[str, Key]]] = set()

    async def rows(self, definition: SubscriptionDefinition, keys: Sequence[Key]) -> dict[Key, Row]:
        """Read and lock rows; see `QueryTransaction.rows`."""
        rows = self._rows.of(definition)
        if not keys:
            return {}
        with translated(self._label, f"reading rows of {definition.label}"):
            stored = await rows.statements.select(self.connection, rows.codec.encode_keys(keys))
        found = {rows.codec.key_of(row): row for row in map(rows.codec.decode, stored)}
        self._found.update((definition.label, key) for key in found)
        return found

    async def write(self, definition: SubscriptionDefinition, changes: Mapping[Key, Row | None]) -> None:
        """Insert, replace and delete rows; see `QueryTransaction.write`."""
        rows, label = self._rows.of(definition), definition.label
        found = {key for key in changes if (label, key) in self._found}
        new = [row for key, row in changes.items() if row is not None and key not in found]
        changed = [row for key, row in changes.items() if row is not None and key in found]
        gone = [key for key, row in changes.items() if row is None and key in found]
        with translated(self._label, f"writing rows of {label}"):
            if new:
                await rows.statements.insert(self.connection, rows.codec.encode(new))
            if changed:
                await rows.statements.update(self.connection, rows.codec.encode(changed))
            if gone:
                await rows.statements.delete(self.connection, rows.codec.encode_keys(gone))

    async def advance(self, before: Checkpoint, after: Checkpoint) -> None:
        """Move the position; see `QueryTransaction.advance`."""
        with translated(self._label, "moving a position"):
            await positions.advance(self.connection, self._clock, before, after)

    async def set_deadlines(self, definition: SubscriptionDefinition, changes: Mapping[Key, Deadline | None]) -> None:
        """Keep deadlines; see `QueryTransaction.set_deadlines`."""
        with translated(self._label, f"setting deadlines of {definition.label}"):
            await deadlines.set_deadlines(self.connection, definition, changes)

    async def park(self, letter: DeadLetter) -> None:
        """Keep a dead letter; see `QueryTransaction.park`."""
        dialect = postgresql if self.connection.dialect.name == POSTGRESQL else sqlite
        values = {
            "name": letter.name, "version": letter.version, "partition": letter.partition, "offset": letter.offset,
            "stream": letter.stream, "event_version": letter.event_version, "event_type": letter.event_type,
            "cause": letter.cause, "parked_at": to_micros(letter.parked_at),
        }  # fmt: skip
        with translated(self._label, "parking an event"):
            await self.connection.execute(dialect.insert(dead_letters).values(values).on_conflict_do_nothing())

    async def discard(self, letter_id: int) -> None:
        """Remove a dead letter; see `QueryTransaction.discard`."""
        with translated(self._label, "removing a dead letter"):
            gone = await self.connection.execute(delete(dead_letters).where(dead_letters.c.id == letter_id))
        if gone.rowcount != 1:
            message = f"dead letter {letter_id} is gone: somebody else has retried or discarded it"
            raise OwnershipLostError(message)


class SqlRowReader:
    """Implements `RowReader` on a transaction that sees one moment."""

    def __init__(self, connection: AsyncConnection, clock: Clock, label: str) -> None:
        self._connection: Final = connection
        self._clock: Final = clock
        self._label: Final = label

    async def checkpoints(self, name: str, version: int) -> dict[Partition, Checkpoint]:
        """Give the positions; see `RowReader.checkpoints`."""
        with translated(self._label, "reading positions"):
            known = await catalog.statuses(self._connection, self._clock, name)
        return {
            position.checkpoint.partition: position.checkpoint
            for status in known
            if status.version == version
            for position in status.positions
        }

    async def relations(self, name: str, version: int) -> dict[str, tuple[str, ...]]:
        """Give the tables; see `RowReader.relations`."""
        with translated(self._label, "reading the catalogue"):
            known = await catalog.relations(self._connection, name, version)
        return {relation: found.key for relation, found in known.items()}

    async def raw_page(
        self, name: str, version: int, relation: str, after: Key | None, limit: int
    ) -> list[Mapping[str, object]]:
        """Give rows as values by column; see `RowReader.raw_page`."""
        with translated(self._label, f"reading {relation}"):
            found = (await catalog.relations(self._connection, name, version))[relation]
            return await _page(self._connection, found, after, limit)


async def _page(
    connection: AsyncConnection, relation: catalog.Relation, after: Key | None, limit: int
) -> list[Mapping[str, object]]:
    on_postgres = connection.dialect.name == POSTGRESQL
    # Texts sort by code point everywhere, as in Python and SQLite, so that both sides of a comparison agree.
    ordered = [
        quoted(name) + (' COLLATE "C"' if on_postgres and name in relation.texts else "") for name in relation.key
    ]
    places = [f"${n}" if on_postgres else "?" for n, _ in enumerate(after or (), 1)]
    condition = f"WHERE ({', '.join(ordered)}) > ({', '.join(places)})" if after else ""
    query = f"SELECT * FROM {quoted(relation.table)} {condition} ORDER BY {', '.join(ordered)} LIMIT {int(limit)}"  # noqa: S608
    result = await connection.exec_driver_sql(query, tuple(after or ()))
    return [dict(row) for row in result.mappings()]


async def dead_letters_of(connection: AsyncConnection, name: str | None) -> list[DeadLetter]:
    """List dead letters, oldest first."""
    query = select(dead_letters).order_by(dead_letters.c.id)
    if name is not None:
        query = query.where(dead_letters.c.name == name)
    return [
        replace(DeadLetter(**row), parked_at=from_micros(row["parked_at"]))
        for row in (await connection.execute(query)).mappings()
    ]
