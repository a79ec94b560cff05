"""Tables of read models: `<name>_v<version>` holds the rows of a version, the view `<name>` shows the live one's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final, cast

from sqlalchemy import Column, Constraint, ForeignKeyConstraint, Index, MetaData, PrimaryKeyConstraint, Table, Text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import CreateTable
from sqlalchemy.sql.elements import quoted_name
from sqlalchemy.types import TypeEngine

from eventstore.core.definitions import SubscriptionDefinition
from eventstore.core.errors import ConfigurationError
from eventstore.core.rows import Row
from eventstore.sql.columns import Storage, StoredType, column_storage
from eventstore.sql.schema import PREFIX

RELATION: Final = "eventstore.relation"
"""The key in `Table.info` of the name that readers query."""

_LONGEST_NAME: Final = 63
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Keys sort by code point, as in SQLite and Python, whatever the database's locale.
_TEXT_KEY: Final = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
# A row that is updated finds room for its new version on the same page, so its index entry can stay.
_FILL_FACTOR: Final = 80
_DIALECTS: Final[Mapping[str, Dialect]] = {
    "sqlite": sqlite.dialect(),
    "postgresql": postgresql.dialect(),  # type: ignore[no-untyped-call]
}


def storages(row: type[Row], key: tuple[str, ...]) -> dict[str, tuple[Storage, bool]]:
    """Find how each field of a row class is stored, and whether it can be NULL.

    Raises:
        ConfigurationError: A field cannot be stored, or cannot be part of a key.
    """
    found: dict[str, tuple[Storage, bool]] = {}
    for name, info in row.model_fields.items():
        where = f"{row.__name__}.{name}"
        if len(name) > _LONGEST_NAME:
            message = f"{where}: a column's name can have {_LONGEST_NAME} characters at most"
            raise ConfigurationError(message)
        storage, nullable = column_storage(info.annotation, where)
        if name in key and (nullable or not storage.key):
            message = f"{where} cannot be part of a key: use str, int, bool, bytes, date, datetime, UUID or an Enum, without None"
            raise ConfigurationError(message)
        found[name] = (storage, nullable)
    return found


def physical_tables(definition: SubscriptionDefinition) -> dict[str, Table]:
    """Give a version's own tables by the name that readers query.

    Raises:
        ConfigurationError: Rows or tables cannot be stored.
    """
    if definition.row is not None:
        name = f"{definition.name}_v{definition.version}"
        return {definition.name: row_table(definition.row, definition.key, name)}
    tables = cast("tuple[Table, ...]", definition.tables)
    return {table.info[RELATION]: table for table in tables}


def row_table(row: type[Row], key: tuple[str, ...], name: str) -> Table:
    """Build the table of a row class.

    Raises:
        ConfigurationError: A field cannot be stored, or cannot be part of a key.
    """
    found = storages(row, key)
    large = any(storage.large for storage, _ in found.values())
    return Table(
        name,
        MetaData(),
        *(
            Column(field, column_type(storage, key=field in key), nullable=nullable)
            for field, (storage, nullable) in found.items()
        ),
        PrimaryKeyConstraint(*key),
        sqlite_strict=True,
        sqlite_with_rowid=large,
        postgresql_with={"fillfactor": _FILL_FACTOR},
    )


def column_type(storage: Storage, *, key: bool) -> TypeEngine[Any]:
    """Give SQLAlchemy's type of a column."""
    if key and isinstance(storage.postgresql.type, Text) and storage.postgresql.encode is None:
        return _TEXT_KEY
    return StoredType(storage)


def versioned_table(table: Table, version: int, owner: str) -> Table:
    """Copy a user's table under the name of a version, with its indexes and constraints.

    Args:
        table: As readers query it.
        version: The projection's version.
        owner: The projection's class, for messages.

    Raises:
        ConfigurationError: It refers to other tables, or its name cannot be used.
    """
    if any(isinstance(constraint, ForeignKeyConstraint) for constraint in table.constraints):
        message = f"{owner}: table {table.name!r} has a foreign key; every version has its own tables, so remove it"
        raise ConfigurationError(message)
    if table.schema is not None or not _NAME.fullmatch(table.name) or table.name.startswith(PREFIX):
        message = (
            f"{owner}: name table {table.fullname!r} with letters, digits and underscores, without schema or {PREFIX!r}"
        )
        raise ConfigurationError(message)
    suffix = f"_v{version}"
    copy = table.to_metadata(MetaData(), name=f"{table.name}{suffix}")
    named: list[Index | Constraint] = [*copy.indexes, *copy.constraints]
    for one in named:
        if isinstance(one.name, str):
            one.name = quoted_name(f"{one.name}{suffix}", quote=None)
    copy.info = {**table.info, RELATION: table.name}
    return copy


def digest(table: Table, dialect: str) -> str:
    """Summarise a table's definition in a database, to notice that code expects another one."""
    text = str(CreateTable(table).compile(dialect=_DIALECTS[dialect]))
    return blake2b(text.encode(), digest_size=8).hexdigest()
