"""Change data capture: rows of another system's tables, as Debezium's change events tell them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from typing import Any, ClassVar, Final, Generic, TypeVar, get_args, get_origin
from uuid import NAMESPACE_URL, UUID

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from eventstore.core.annotations import union_members
from eventstore.core.envelope import undecodable
from eventstore.core.errors import ConfigurationError, UndecodableEventError
from eventstore.core.events import JsonObject
from eventstore.core.ids import derived_id
from eventstore.core.messages import Arrival, Message, Received
from eventstore.core.records import from_micros
from eventstore.core.registry import TypeRegistry

_TABLE: Final = re.compile(r"[^.\s]+\.[^.\s]+")
_CHANGES: Final = derived_id(NAMESPACE_URL, "eventstore:change")


class Operation(Enum):
    """What happened to a row."""

    READ = "r"
    """It was there when the table was first read, or read again."""
    CREATE = "c"
    UPDATE = "u"
    DELETE = "d"
    TRUNCATE = "t"
    """All rows of the table are gone."""


class SourceRow(BaseModel):
    """A row of another system's table: `class LegacyTask(SourceRow, table="public.tasks")`.

    Fields are those columns that are of interest, with the types that Debezium gives them: other columns are ignored.

    Raises:
        ConfigurationError: At import, when the table is not named `schema.table`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    table: ClassVar[str] = ""

    def __init_subclass__(cls, *, table: str | None = None, **kwargs: Any) -> None:
        """Accept the table."""
        super().__init_subclass__(**kwargs)

    @classmethod
    def __pydantic_init_subclass__(cls, table: str | None = None, **kwargs: Any) -> None:
        """Pin the table."""
        super().__pydantic_init_subclass__(**kwargs)
        if table is None or not _TABLE.fullmatch(table):
            message = (
                f'{cls.__qualname__} needs its table with the schema: class {cls.__name__}(SourceRow, table="public.{cls.__name__.lower()}")'
                + (f" instead of table={table!r}" if table else "")
            )
            raise ConfigurationError(message)
        cls.table = table


R = TypeVar("R", bound=SourceRow)


@dataclass(frozen=True, slots=True)
class Change(Generic[R]):
    """What happened to one row.

    Attributes:
        operation: What.
        key: The row's primary key by column; empty if the table has none, or is truncated.
        after: The row as it is now; None when it is gone.
        before: The row as it was; None unless the format says that the database keeps whole old rows.
        transaction: The database's transaction, if it is known.
    """

    operation: Operation
    key: Mapping[str, Any]
    after: R | None
    before: R | None
    transaction: int | None


class _Source(BaseModel):
    db: str
    schema_: str | None = None
    table: str
    lsn: int | None = None
    txId: int | None = None  # noqa: N815 - Debezium's name

    model_config = ConfigDict(alias_generator=lambda name: name.rstrip("_"))


class _Envelope(BaseModel):
    op: str
    before: JsonObject | None = None
    after: JsonObject | None = None
    source: _Source
    ts_ms: int | None = None


_WITH_SCHEMA: Final = {"schema", "payload"}
_JSON: Final[TypeAdapter[JsonObject]] = TypeAdapter(JsonObject)


class DebeziumRows:
    """Change events of Debezium's PostgreSQL connector in JSON, with or without schemas; methods take `Change[SomeRow]`.

    An id is made of table, primary key and place in the database's log, so that what a connector delivers again after a
    restart is recognised. A row that a snapshot reads is identified by its content instead, since every snapshot has
    another place.

    Args:
        old_rows: Whether the tables have REPLICA IDENTITY FULL, so that `Change.before` can be trusted: the database
            otherwise writes down no more than the key.
        generation: To be raised when a snapshot is taken again because changes were lost (a dropped replication slot):
            rows that once had the same content then count as new.
    """

    def __init__(self, *, old_rows: bool = False, generation: int = 1) -> None:
        self._old_rows: Final = old_rows
        self._generation: Final = generation

    def handled(self, annotation: object, where: str, parameter: str) -> Mapping[str, type[SourceRow]]:
        """Select row classes by their tables; see `MessageFormat.handled`."""
        found: dict[str, type[SourceRow]] = {}
        for member in union_members(annotation):
            kinds = get_args(member) if get_origin(member) is Change else ()
            kind: Any = kinds[0] if kinds else None
            if not (isinstance(kind, type) and issubclass(kind, SourceRow) and kind is not SourceRow):
                message = f"{where}: annotate `{parameter}` with Change[...] of the SourceRow it handles"
                raise ConfigurationError(message)
            found[kind.table] = kind
        return found

    def type_of(self, message: Message, registry: TypeRegistry) -> str:  # noqa: ARG002 - see MessageFormat
        """Give schema and table; see `MessageFormat.type_of`."""
        source = self._envelope(message).source
        return f"{source.schema_}.{source.table}" if source.schema_ else source.table

    def read(self, message: Message, kind: type[SourceRow], registry: TypeRegistry) -> Arrival:  # noqa: ARG002 - see MessageFormat
        """Read the change; see `MessageFormat.read`."""
        envelope = self._envelope(message)
        try:
            operation = Operation(envelope.op)
        except ValueError as cause:
            text = f"{message.place} tells of {kind.table} what is unknown: op={envelope.op!r}"
            raise UndecodableEventError(text) from cause
        key = self._key(message)
        after = self._row(message, kind, envelope.after)
        before = self._row(message, kind, envelope.before) if self._old_rows else None
        event_id = self._identify(envelope, operation, key, message)
        at = Received(message, event_id, kind.table, from_micros((envelope.ts_ms or 0) * 1000), event_id)
        return Arrival(Change(operation, key, after, before, envelope.source.txId), at)

    def _envelope(self, message: Message) -> _Envelope:
        try:
            return _Envelope.model_validate(_payload(message.value or b""))
        except ValidationError as cause:
            error = cause.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, error["loc"])) or "the value"
            text = (
                f"{message.place} is no change event of Debezium: {where}: {error['msg']}. The connector needs "
                "value.converter=org.apache.kafka.connect.json.JsonConverter, and no transform that unwraps the row"
            )
            raise UndecodableEventError(text) from cause

    def _key(self, message: Message) -> Mapping[str, Any]:
        if message.key is None:
            return {}
        try:
            return _payload(message.key)
        except ValidationError as cause:
            text = (
                f"{message.place}: its key is no JSON object: the connector needs "
                "key.converter=org.apache.kafka.connect.json.JsonConverter"
            )
            raise UndecodableEventError(text) from cause

    def _row(self, message: Message, kind: type[R], data: JsonObject | None) -> R | None:
        if data is None:
            return None
        try:
            return kind.model_validate_json(_JSON.dump_json(data))
        except ValidationError as cause:
            where = f"{message.place} ({kind.table})"
            raise undecodable(where, cause) from cause

    def _identify(self, envelope: _Envelope, operation: Operation, key: Mapping[str, Any], message: Message) -> UUID:
        source, rows = envelope.source, [envelope.before, envelope.after]
        content = sha256(_canonical(rows)).hexdigest()
        if operation is Operation.READ:
            where = f"snapshot {self._generation} {content}"
        elif source.lsn is None:
            text = f"{message.place} does not tell its place in the database's log (source.lsn), so it has no id"
            raise UndecodableEventError(text)
        else:
            # Rows without a key may share a place: those of one statement.
            where = f"{source.txId} {source.lsn} {operation.value}" + ("" if key else f" {content}")
        name = _canonical([source.db, source.schema_, source.table, dict(key), where])
        return derived_id(_CHANGES, name.decode())


def _payload(raw: bytes) -> JsonObject:
    """Give the object itself, whether or not the converter wrote its schema beside it."""
    found = _JSON.validate_json(raw)
    if found.keys() == _WITH_SCHEMA and isinstance(found["payload"], dict):
        return found["payload"]
    return found


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
