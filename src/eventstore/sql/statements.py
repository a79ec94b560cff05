"""The SQL of row tables: one statement to read the touched rows, one to write them, one to delete."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from eventstore.core.errors import RowConflictError
from eventstore.sql.codecs import RowCodec, Values
from eventstore.sql.columns import POSTGRESQL, SQLITE
from eventstore.sql.errors import is_unique_violation

# Keys per SELECT in SQLite; one text for all batches, so that it is prepared once.
_KEYS_AT_ONCE: Final = 1000
_MAX_VARIABLES: Final = 30_000


class RowStatements(Protocol):
    """Reads and writes the rows of one version in one database."""

    async def select(self, connection: AsyncConnection, keys: Sequence[Values]) -> Sequence[Sequence[Any]]:
        """Read the rows of some keys and lock them, in key order."""
        ...

    async def insert(self, connection: AsyncConnection, rows: Sequence[Values]) -> None:
        """Insert rows that were not there.

        Raises:
            RowConflictError: One is there by now.
        """
        ...

    async def update(self, connection: AsyncConnection, rows: Sequence[Values]) -> None:
        """Replace rows that were there."""
        ...

    async def delete(self, connection: AsyncConnection, keys: Sequence[Values]) -> None:
        """Delete rows."""
        ...


def statements(codec: RowCodec, dialect: str) -> RowStatements:
    """Make the statements for a database."""
    return SqliteRows(codec) if dialect == SQLITE else PostgresRows(codec)


def quoted(name: str) -> str:
    """Write a name so that it is no keyword and keeps its case."""
    return '"' + name.replace('"', '""') + '"'


def _listed(names: Sequence[str], prefix: str = "") -> str:
    return ", ".join(prefix + quoted(name) for name in names)


class SqliteRows:
    """Row statements of SQLite, whose one writer needs no row locks."""

    def __init__(self, codec: RowCodec) -> None:
        table, names, key = quoted(codec.table), [*codec.fields], codec.key
        places = ", ".join("?" * len(names))
        one_key = "(" + ", ".join("?" * len(key)) + ")"
        self._width: Final = len(key)
        self._at_once: Final = min(_KEYS_AT_ONCE, _MAX_VARIABLES // len(key))
        wanted = ", ".join([one_key] * self._at_once)
        self._select: Final = (
            f"SELECT {_listed(names)} FROM {table} WHERE ({_listed(key)}) IN (VALUES {wanted})"  # noqa: S608
            if self._width > 1
            else f"SELECT {_listed(names)} FROM {table} WHERE {_listed(key)} IN ({wanted})"  # noqa: S608
        )
        rest = [name for name in names if name not in key]
        changes = ", ".join(f"{quoted(name)} = excluded.{quoted(name)}" for name in rest)
        self._upsert: Final = (
            f"INSERT INTO {table} ({_listed(names)}) VALUES ({places}) ON CONFLICT ({_listed(key)}) "  # noqa: S608
            + (f"DO UPDATE SET {changes}" if rest else "DO NOTHING")
        )
        self._delete: Final = f"DELETE FROM {table} WHERE ({_listed(key)}) = {one_key}"  # noqa: S608

    async def select(self, connection: AsyncConnection, keys: Sequence[Values]) -> Sequence[Sequence[Any]]:
        """Read rows; see `RowStatements.select`."""
        found: list[Sequence[Any]] = []
        for start in range(0, len(keys), self._at_once):
            some = [*keys[start : start + self._at_once]]
            some += some[-1:] * (self._at_once - len(some))
            result = await connection.exec_driver_sql(self._select, tuple(value for key in some for value in key))
            found.extend(result.all())
        return found

    async def insert(self, connection: AsyncConnection, rows: Sequence[Values]) -> None:
        """Insert rows; see `RowStatements.insert`."""
        await connection.exec_driver_sql(self._upsert, [*rows])

    async def update(self, connection: AsyncConnection, rows: Sequence[Values]) -> None:
        """Replace rows; see `RowStatements.update`."""
        await connection.exec_driver_sql(self._upsert, [*rows])

    async def delete(self, connection: AsyncConnection, keys: Sequence[Values]) -> None:
        """Delete rows; see `RowStatements.delete`."""
        await connection.exec_driver_sql(self._delete, [*keys])


class PostgresRows:
    """Row statements of PostgreSQL: arrays carry a whole batch, rows are locked in key order so that none deadlock."""

    def __init__(self, codec: RowCodec) -> None:
        table, names, key = quoted(codec.table), [*codec.fields], codec.key
        forms = {name: storage.form(POSTGRESQL) for name, storage in codec.fields.items()}
        dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
        types = {name: form.type.compile(dialect=dialect) for name, form in forms.items()}
        carried = {name: form.parameter or types[name] for name, form in forms.items()}
        values = {name: f"new.{quoted(name)}::{types[name]}" for name in names}
        arrays = ", ".join(f"${n}::{carried[name]}[]" for n, name in enumerate(names, 1))
        new_rows = f"unnest({arrays}) AS new({_listed(names)})"
        key_arrays = ", ".join(f"${n}::{carried[name]}[]" for n, name in enumerate(key, 1))
        keys = f"unnest({key_arrays}) AS wanted({_listed(key)})"
        same_key = " AND ".join(f"old.{quoted(name)} = wanted.{quoted(name)}" for name in key)
        same_row = " AND ".join(f"old.{quoted(name)} = new.{quoted(name)}" for name in key)
        read = ", ".join(f"old.{quoted(name)}" + ("::text" if forms[name].parameter else "") for name in names)
        changes = ", ".join(f"{quoted(name)} = {values[name]}" for name in names if name not in key)
        self._select: Final = (
            f"SELECT {read} FROM {table} AS old JOIN {keys} ON {same_key} "  # noqa: S608
            f"ORDER BY {_listed(key, 'old.')} FOR UPDATE OF old"
        )
        self._insert: Final = (
            f"INSERT INTO {table} ({_listed(names)}) SELECT {', '.join(values.values())} FROM {new_rows} "  # noqa: S608
            f"ORDER BY {_listed(key, 'new.')}"
        )
        self._update: Final = f"UPDATE {table} AS old SET {changes} FROM {new_rows} WHERE {same_row}" if changes else ""  # noqa: S608
        self._delete: Final = f"DELETE FROM {table} AS old USING {keys} WHERE {same_key}"  # noqa: S608

    async def select(self, connection: AsyncConnection, keys: Sequence[Values]) -> Sequence[Sequence[Any]]:
        """Read rows; see `RowStatements.select`."""
        return (await connection.exec_driver_sql(self._select, _columns(keys))).all()

    async def insert(self, connection: AsyncConnection, rows: Sequence[Values]) -> None:
        """Insert rows; see `RowStatements.insert`."""
        try:
            await connection.exec_driver_sql(self._insert, _columns(rows))
        except IntegrityError as error:
            if not is_unique_violation(error):
                raise
            message = "a row was inserted by another worker since it was looked for"
            raise RowConflictError(message) from error

    async def update(self, connection: AsyncConnection, rows: Sequence[Values]) -> None:
        """Replace rows; see `RowStatements.update`."""
        if self._update:
            await connection.exec_driver_sql(self._update, _columns(rows))

    async def delete(self, connection: AsyncConnection, keys: Sequence[Values]) -> None:
        """Delete rows; see `RowStatements.delete`."""
        await connection.exec_driver_sql(self._delete, _columns(keys))


def _columns(rows: Sequence[Values]) -> tuple[list[Any], ...]:
    return tuple([*column] for column in zip(*rows, strict=True))
