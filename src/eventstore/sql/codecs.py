"""Rows to column values and back, compiled once per projection version."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, cast

from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from eventstore.core.definitions import SubscriptionDefinition
from eventstore.core.errors import ConfigurationError, UnstorableRowError
from eventstore.core.rows import Key, Row
from eventstore.sql.columns import Convert, Storage
from eventstore.sql.tables import physical_tables, storages

Values = tuple[Any, ...]


class RowCodec:
    """Encodes and decodes the rows of one version for one database.

    Args:
        definition: A version with rows.
        dialect: SQLAlchemy's name of the database.

    Raises:
        ConfigurationError: A field cannot be stored.
    """

    def __init__(self, definition: SubscriptionDefinition, dialect: str) -> None:
        if definition.row is None:
            message = f"{definition.label} has no rows"
            raise ConfigurationError(message)
        self.table: Final = f"{definition.name}_v{definition.version}"
        self.key: Final = definition.key
        (self._table,) = physical_tables(definition).values()
        self.fields: Final[dict[str, Storage]] = {
            name: storage for name, (storage, _) in storages(definition.row, definition.key).items()
        }
        forms = [storage.form(dialect) for storage in self.fields.values()]
        self._row: Final = definition.row
        self._validate: Final[Callable[[dict[str, Any]], Row]] = definition.row.__pydantic_validator__.validate_python
        self._names: Final = tuple(self.fields)
        self._get: Final[Callable[[Mapping[str, Any]], Values]] = _getter(self._names)
        self._encoders: Final = [(i, form.encode) for i, form in enumerate(forms) if form.encode]
        self._decoders: Final = [(i, form.decode) for i, form in enumerate(forms) if form.decode]
        self._key_places: Final = [self._names.index(name) for name in self.key]
        self._key_encoders: Final = [forms[place].encode for place in self._key_places]

    def encode(self, rows: Iterable[Row]) -> list[Values]:
        """Give each row's values in the order of the fields.

        Raises:
            UnstorableRowError: A value does not fit its field's type.
        """
        get = self._get
        if not self._encoders:
            return [get(row.__dict__) for row in rows]
        return [self._encode_one(row) for row in rows]

    def _encode_one(self, row: Row) -> Values:
        values = list(self._get(row.__dict__))
        for place, encode in self._encoders:
            value = values[place]
            if value is not None:
                values[place] = self._encoded(encode, value, self._names[place])
        return tuple(values)

    def _encoded(self, encode: Convert, value: object, name: str) -> object:
        try:
            return encode(value)
        except Exception as cause:
            message = f"{self._row.__name__}.{name}: {value!r} cannot be stored ({cause}): fix the handler"
            raise UnstorableRowError(message) from cause

    def decode(self, values: Sequence[Any]) -> Row:
        """Make a row of column values."""
        if self._decoders:
            changed = list(values)
            for place, decode in self._decoders:
                if changed[place] is not None:
                    changed[place] = decode(changed[place])
            values = changed
        return self._validate(dict(zip(self._names, values, strict=True)))

    async def fetch(self, connection: AsyncConnection, key: Key) -> Row | None:
        """Read one row without locking it."""
        columns = [self._table.c[name] == value for name, value in zip(self.key, key, strict=True)]
        found = (await connection.execute(select(self._table).where(*columns))).mappings().one_or_none()
        return None if found is None else self._row(**found)

    async def fetch_page(self, connection: AsyncConnection, after: Key | None, limit: int) -> list[Row]:
        """Read rows in key order behind a key."""
        columns = [self._table.c[name] for name in self.key]
        query = select(self._table).order_by(*columns).limit(limit)
        if after is not None:
            query = query.where(tuple_(*columns) > tuple_(*after, types=[column.type for column in columns]))
        return [self._row(**row) for row in (await connection.execute(query)).mappings()]

    def key_of(self, row: Row) -> Key:
        """Give a row's key."""
        return tuple(getattr(row, name) for name in self.key)

    def encode_keys(self, keys: Iterable[Key]) -> list[Values]:
        """Give keys as column values."""
        if not any(self._key_encoders):
            return list(keys)
        return [
            tuple(
                value if encode is None else self._encoded(encode, value, name)
                for value, encode, name in zip(key, self._key_encoders, self.key, strict=True)
            )
            for key in keys
        ]


def _getter(names: tuple[str, ...]) -> Callable[[Mapping[str, Any]], Values]:
    if len(names) == 1:
        (name,) = names
        return lambda values: (values[name],)
    return cast("Callable[[Mapping[str, Any]], Values]", itemgetter(*names))
