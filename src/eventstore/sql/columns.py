"""How a value of each Python type is stored in a column, so that the very same value comes back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, TypeAlias, Union, get_args, get_origin, is_typeddict
from uuid import UUID

from pydantic import BaseModel, TypeAdapter
from sqlalchemy import REAL, BigInteger, Boolean, Date, DateTime, Double, Integer, LargeBinary, Numeric, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from eventstore.core.errors import ConfigurationError

Convert: TypeAlias = Callable[[Any], Any]
"""Turns one value that is not None into another."""

SQLITE: Final = "sqlite"
POSTGRESQL: Final = "postgresql"


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """How one database holds a type.

    Attributes:
        type: The column's type in a table definition.
        encode: What the driver is given for a value; None for the value itself.
        decode: What a value is made of again; None when the driver gives the value itself.
        parameter: PostgreSQL's type of a parameter that carries it, where that is not the column's.
    """

    type: TypeEngine[Any]
    encode: Convert | None = None
    decode: Convert | None = None
    parameter: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Storage:
    """How a Python type is stored.

    Attributes:
        sqlite: In SQLite.
        postgresql: In PostgreSQL.
        key: Whether it can identify a row: equal values have one stored form, which sorts as the values do.
        large: Whether it may be long, so that rows are better kept out of the key's index.
    """

    sqlite: Form
    postgresql: Form
    key: bool = True
    large: bool = False

    def form(self, dialect: str) -> Form:
        """Give the form for a database, by SQLAlchemy's name of it."""
        return self.sqlite if dialect == SQLITE else self.postgresql


class StoredType(TypeDecorator[Any]):
    """Lets ordinary SQLAlchemy statements read and compare the Python values of a `Storage`."""

    impl = Text
    cache_ok = True

    def __init__(self, storage: Storage) -> None:
        """Stand for a storage; equal only to another of the same storage."""
        super().__init__()
        self.storage = storage

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the column's type."""
        return dialect.type_descriptor(self.storage.form(dialect.name).type)

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Encode a value that statements compare with."""
        form = self.storage.form(dialect.name)
        if value is None or form.encode is None:
            return value
        encoded = form.encode(value)
        return json.loads(encoded) if isinstance(form.type, JSONB) else encoded

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Decode a value that was read."""
        form = self.storage.form(dialect.name)
        if value is None or form.decode is None:
            return value
        return form.decode(json.dumps(value) if isinstance(form.type, JSONB) else value)


def column_storage(annotation: object, where: str) -> tuple[Storage, bool]:
    """Find how a field is stored.

    Args:
        annotation: The field's annotation.
        where: The field's name, for messages.

    Returns:
        The storage, and whether the column can be NULL.

    Raises:
        ConfigurationError: Values of this type cannot be stored so that they come back the same.
    """
    plain = _unwrapped(annotation)
    members = [_unwrapped(member) for member in get_args(plain)] if _is_union(plain) else [plain]
    kinds = [member for member in members if member is not NoneType]
    nullable = len(kinds) < len(members)
    storage = _storage_of(kinds[0]) if len(kinds) == 1 else None
    if storage is None and kinds and all(_is_json(kind) for kind in kinds):
        storage = _json(plain)
    if storage is None:
        shown = getattr(annotation, "__name__", annotation) if get_origin(annotation) is None else annotation
        message = (
            f"{where}: a {shown} cannot be stored in a column. Use str, int, float, bool, bytes, date, datetime, Decimal, "
            "UUID, an Enum of texts or of ints, a list, dict or model of those, or one of them `| None`"
        )
        raise ConfigurationError(message)
    return storage, nullable


def value_type(annotation: object) -> Any:
    """Give the type of a field's values that are not None; a union of several types if there are several."""
    plain = _unwrapped(annotation)
    members = [_unwrapped(member) for member in get_args(plain)] if _is_union(plain) else [plain]
    kinds = [member for member in members if member is not NoneType]
    return kinds[0] if len(kinds) == 1 else plain


def _unwrapped(annotation: Any) -> Any:
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        elif hasattr(annotation, "__value__"):
            annotation = annotation.__value__
        else:
            return annotation


def _is_union(annotation: object) -> bool:
    return get_origin(annotation) in (Union, UnionType)


def _storage_of(kind: Any) -> Storage | None:
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _enumeration(kind)
    if get_origin(kind) is Literal:
        return _plain_of([type(value) for value in get_args(kind)])
    if _is_json(kind):
        return _json(kind)
    return _PLAIN.get(kind) if isinstance(kind, type) else None


def _plain_of(types: list[type]) -> Storage | None:
    for base in (str, int):
        if types and all(issubclass(kind, base) and kind is not bool for kind in types):
            return _PLAIN[base]
    return None


def _is_json(kind: Any) -> bool:
    container: Any = get_origin(kind) or kind
    if not isinstance(container, type):
        return False
    known = (list, dict, tuple, set, frozenset, BaseModel, Mapping)
    shaped: bool = is_dataclass(kind) or is_typeddict(kind)
    return shaped or issubclass(container, known)


def _enumeration(kind: type[Enum]) -> Storage | None:
    stored = _plain_of([type(member.value) for member in kind])
    if stored is None:
        return None
    values = {member: member.value for member in kind}
    members = {member.value: member for member in kind}
    return Storage(
        Form(stored.sqlite.type, values.__getitem__, members.__getitem__),
        Form(stored.postgresql.type, values.__getitem__, members.__getitem__),
    )


def _json(kind: Any) -> Storage:
    adapter: TypeAdapter[Any] = TypeAdapter(kind)

    def encode(value: Any) -> str:
        return adapter.dump_json(value, warnings="error").decode()

    def decode(stored: str) -> Any:
        return adapter.validate_json(stored, strict=False)

    return Storage(Form(Text(), encode, decode), Form(JSONB(), encode, decode, "text"), key=False, large=True)


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        message = f"{value!r} has no time zone: use datetime.now(UTC) or the event's own time"
        raise ValueError(message)
    return value


def _datetime_text(value: datetime) -> str:
    return _aware(value).astimezone(UTC).isoformat(" ", "microseconds")


def _native(sqlite: TypeEngine[Any], postgresql: TypeEngine[Any]) -> Storage:
    return Storage(Form(sqlite), Form(postgresql))


_PLAIN: Final[dict[type, Storage]] = {
    str: _native(Text(), Text()),
    int: _native(Integer(), BigInteger()),
    float: Storage(Form(REAL()), Form(Double()), key=False),
    bool: Storage(Form(Integer(), None, bool), Form(Boolean())),
    bytes: Storage(Form(LargeBinary()), Form(LargeBinary()), large=True),
    date: Storage(Form(Text(), date.isoformat, date.fromisoformat), Form(Date())),
    datetime: Storage(Form(Text(), _datetime_text, datetime.fromisoformat), Form(DateTime(timezone=True), _aware)),
    # Numbers with trailing zeros are equal but have several texts, so they identify no row.
    Decimal: Storage(Form(Text(), str, Decimal), Form(Numeric()), key=False),
    UUID: Storage(Form(Text(), str, UUID), Form(Uuid())),
}
