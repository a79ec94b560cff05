"""`AvroCodec`: events as Avro, in the wire format of schema registries, so that every language can read them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from io import BytesIO
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, cast
from uuid import UUID

import fastavro
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from eventstore.core.envelope import BINARY, MAX_EVENT_BYTES, Envelope, Metadata, read_metadata, write_envelope
from eventstore.core.errors import ConfigurationError, UndecodableEventError, UnencodableEventError
from eventstore.core.events import Event, JsonObject
from eventstore.core.records import from_micros, to_micros
from eventstore.schema.envelope import (
    HEAD,
    TAIL,
    DerivedEvent,
    data_of,
    data_start,
    derive,
    packed,
    packed_text,
    read_head,
)
from eventstore.schema.forms import AvroSchema, Convert
from eventstore.schema.registry import SchemaRegistry

# Typed here: fastavro's own annotations are partly unknown.
_parse: Final[Callable[[Any], Any]] = fastavro.parse_schema
_write: Final[Callable[[BytesIO, Any, Any], None]] = cast("Any", fastavro).schemaless_writer
_read_one: Final[Callable[[BytesIO, Any, None], object]] = cast("Any", fastavro).schemaless_reader
_NAME: Final = re.compile(r"\.v([1-9][0-9]*)\.Envelope$")


class _Writing(NamedTuple):
    """How one event class is written."""

    start: bytes
    event_type: bytes
    schema: Any
    encode: Convert


class _Written(NamedTuple):
    """A schema that something was written with, as fastavro has it; `data` is None if it is no envelope's."""

    name: str
    whole: Any
    data: Any


class EventName(NamedTuple):
    """Which event something is: its pinned name, and the version of its class."""

    event_type: str
    schema_version: int


class AvroCodec:
    """Encodes events with schemas that are registered already, and decodes whatever the registry knows.

    A schema is looked up when the codec is opened and is never registered by it: `eventstore schemas register` does.
    Schemas of events that others wrote are fetched once and kept for ever, since an id never changes its meaning.

    The subject of an event is the name of its record, `<namespace>.<event type>.v<version>.Envelope`, and
    `<topic>-` before it for the events of a public topic: what registries call RecordName and TopicRecordName.

    Args:
        registry: The registry, or its address.
        namespace: Goes before the names of all events, for a registry that several applications share.
        topic: The public topic that the events go to; None for a store's own log.
        writes: False to read Avro and still write JSON: the first of two steps from JSON to Avro without a stop.

    Raises:
        ConfigurationError: The namespace is malformed.
    """

    def __init__(
        self, registry: SchemaRegistry | str, *, namespace: str = "", topic: str | None = None, writes: bool = True
    ) -> None:
        self.registry: Final = registry if isinstance(registry, SchemaRegistry) else SchemaRegistry(registry)
        if namespace and not re.fullmatch(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*", namespace):
            message = f"AvroCodec(namespace={namespace!r}): use dotted lower case words, such as 'shop'"
            raise ConfigurationError(message)
        self.namespace: Final = namespace
        self.topic: Final = topic
        self._writes: Final = writes
        self._derived: Final[dict[type[Event], DerivedEvent]] = {}
        self._writing: Final[dict[type[Event], _Writing]] = {}
        self._written: Final[dict[bytes, _Written]] = {}

    @property
    def derived(self) -> Mapping[type[Event], DerivedEvent]:
        """The declared events and their schemas."""
        return self._derived

    @property
    def subjects(self) -> Mapping[str, DerivedEvent]:
        """The schemas of the declared events, by the subjects that they are registered under."""
        return {self.subject_of(cls): derived for cls, derived in self._derived.items()}

    def declare(self, events: Sequence[type[Event]]) -> None:
        """Name the events that will be written; see `EventCodec`."""
        for cls in events:
            if cls not in self._derived:
                self._derived[cls] = derive(cls, self.namespace)

    def for_topic(self, topic: str) -> AvroCodec:
        """Give the codec of a public topic, with the same registry and namespace; see `EventCodec`."""
        return AvroCodec(self.registry, namespace=self.namespace, topic=topic, writes=self._writes)

    def subject_of(self, cls: type[Event]) -> str:
        """Give the subject that a declared event's schema is registered under."""
        name = self._derived[cls].name
        return name if self.topic is None else f"{self.topic}-{name}"

    async def __aenter__(self) -> Self:
        """Look the schemas of the declared events up.

        Raises:
            ConfigurationError: One is not registered; says how to register it.
            StoreUnavailableError: The registry is out of reach.
        """
        await self.registry.__aenter__()
        try:
            if self._writes:
                await self._look_up()
        except BaseException:
            await self.registry.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the registry's client; what was fetched is kept."""
        await self.registry.__aexit__(kind, error, trace)

    async def _look_up(self) -> None:
        missing: list[str] = []
        for subject, derived in self.subjects.items():
            if derived.cls not in self._writing:
                schema_id = await self.registry.id_of(subject, schema_text(derived.schema))
                if schema_id is None:
                    missing.append(subject)
                else:
                    self.adopt(derived, schema_id)
        if missing:
            message = (
                f"the schemas of this code are not registered at {self.registry.url}: {', '.join(missing)}. "
                "Look at them with `eventstore schemas check`, then register them with `eventstore schemas register`"
            )
            raise ConfigurationError(message)

    def adopt(self, derived: DerivedEvent, schema_id: int) -> None:
        """Write an event with a schema whose id is known, and read what was written with it.

        Args:
            derived: The event and its schema.
            schema_id: The id that the registry gave it.
        """
        self.learn(schema_id, schema_text(derived.schema))
        start, event_type = _start(schema_id), packed_text(derived.cls.event_type)
        self._writing[derived.cls] = _Writing(start, event_type, _parse(derived.data), derived.encode)

    def learn(self, schema_id: int, text: str) -> None:
        """Read what was written with a schema.

        Args:
            schema_id: The id that the registry gave it.
            text: The schema as JSON text.
        """
        schema = _parse(json.loads(text))
        data = data_of(schema)
        name = schema["name"] if isinstance(schema, dict) and "name" in schema else "value"
        known = _Written(name, schema, None if data is None else _parse(without_ids(data)))
        self._written[_start(schema_id)] = known

    async def prepare(self, envelopes: Iterable[bytes]) -> None:
        """Fetch the schemas that are not known yet; see `EventCodec`."""
        known = self._written
        unknown = {raw[:HEAD] for raw in envelopes if raw[:1] == BINARY and raw[:HEAD] not in known}
        for start in unknown:
            schema_id = int.from_bytes(start[1:])
            text = await self.registry.schema(schema_id)
            if text is not None:
                self.learn(schema_id, text)

    def encode(self, event: Event, event_id: UUID, occurred_at: datetime, metadata: Metadata) -> bytes:
        """Encode a declared event; see `EventCodec`."""
        if not self._writes:
            return write_envelope(event, event_id, occurred_at, metadata)
        writing = self._writing.get(type(event))
        if writing is None:
            message = f"{event.event_type} was not declared before the codec was opened: give the aggregate an @evolves for it"
            raise ConfigurationError(message)
        head, tail = packed(str(event_id), writing.event_type, to_micros(occurred_at), metadata)
        out = BytesIO()
        out.write(writing.start + head)
        try:
            _write(out, writing.schema, writing.encode(event))
        except (ValueError, TypeError, OverflowError, ArithmeticError, AttributeError, RecursionError) as cause:
            raise _unencodable(event, writing, cause) from cause
        out.write(tail)
        envelope = out.getvalue()
        if len(envelope) > MAX_EVENT_BYTES:
            message = (
                f"{event.event_type} takes {len(envelope):,} bytes as Avro and the limit is {MAX_EVENT_BYTES:,}: "
                "store large content elsewhere and its address in the event. Nothing was written"
            )
            raise UnencodableEventError(message)
        return envelope

    def decode(self, cls: type[Event], envelope: bytes) -> Event:
        """Decode an event of today's version; see `BinaryEvents`."""
        data = self._read_data(envelope)
        try:
            event: Event = cls.__pydantic_validator__.validate_python(
                data, strict=False, extra="ignore", by_alias=True, by_name=True
            )
            return event  # noqa: TRY300 - typed by its declaration
        except ValidationError as cause:
            first = cause.errors(include_url=False, include_input=False)[0]
            where = ".".join(("data", *map(str, first["loc"])))
            message = f"{where}: {first['msg']}. If the class has changed, raise its version and add an upcaster"
            raise UndecodableEventError(message) from cause

    def read_envelope(self, envelope: bytes) -> Envelope:
        """Decode an envelope with its data as a JSON object; see `BinaryEvents`."""
        data, head = self._read_data(envelope), read_head(envelope)
        metadata = read_metadata(envelope, "it")
        return Envelope(head.event_id, head.event_type, from_micros(head.occurred_at), as_json(data), metadata)

    def name_of(self, envelope: bytes) -> EventName:
        """Tell which event an envelope holds, from the schema it was written with.

        Args:
            envelope: One that was prepared.

        Raises:
            UndecodableEventError: Its schema is unknown, or not one of an event.
        """
        written = self._schema_of(envelope)
        found = _NAME.search(written.name)
        if found is None or written.data is None:
            raise UndecodableEventError(_no_event(written.name))
        event_type = read_head(envelope).event_type
        return EventName(event_type, int(found[1]))

    def read_record(self, value: bytes) -> tuple[str, JsonObject]:
        """Decode a value of any schema, for topics of others: the name of its record, and the record as JSON.

        Args:
            value: One that was prepared.

        Raises:
            UndecodableEventError: Its schema is unknown or no record, or the bytes are damaged.
        """
        written = self._schema_of(value)
        record: object = _read(BytesIO(value[HEAD:]), written.whole, written.name)
        if not isinstance(record, dict):
            message = f"its schema {written.name} is no record"
            raise UndecodableEventError(message)
        return written.name, as_json(cast("dict[str, Any]", record))

    def _schema_of(self, envelope: bytes) -> _Written:
        written = self._written.get(envelope[:HEAD])
        if written is not None:
            return written
        if envelope[:1] != BINARY or len(envelope) < HEAD:
            message = "it does not begin with a zero byte and the id of a schema"
        else:
            number = int.from_bytes(envelope[1:HEAD])
            message = f"its schema {number} is not in the registry at {self.registry.url}: restore it there"
        raise UndecodableEventError(message)

    def _read_data(self, envelope: bytes) -> dict[str, Any]:
        written = self._written.get(envelope[:HEAD]) or self._schema_of(envelope)
        if written.data is None:
            raise UndecodableEventError(_no_event(written.name))
        source = BytesIO(envelope)
        source.seek(data_start(envelope))
        data = cast("dict[str, Any]", _read(source, written.data, written.name))
        if source.tell() != len(envelope) - TAIL:
            raise UndecodableEventError(_damaged(written.name, "its data ends elsewhere"))
        return data


def _start(schema_id: int) -> bytes:
    return BINARY + schema_id.to_bytes(HEAD - len(BINARY))


def schema_text(schema: AvroSchema) -> str:
    """Write a schema as it is registered: the same schema always gives the same text."""
    return json.dumps(schema, separators=(",", ":"), ensure_ascii=False)


def normalised(schema: AvroSchema) -> AvroSchema:
    """Write a schema such that two that say the same are equal: registries write names their own way."""
    return cast("AvroSchema", _plain(_parse(schema)))


def _plain(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_plain(part) for part in cast("list[object]", schema)]
    if not isinstance(schema, dict):
        return schema
    found = cast("dict[str, Any]", schema)
    return {key: _plain(part) for key, part in found.items() if not key.startswith("__")}


def without_ids(schema: Any) -> Any:
    """Read ids as text: pydantic makes ids of them faster than the Avro library."""
    if isinstance(schema, list):
        return [without_ids(part) for part in cast("list[object]", schema)]
    if not isinstance(schema, dict):
        return schema
    found = cast("dict[str, Any]", schema)
    if found.get("logicalType") == "uuid" and found.get("type") == "string":
        return "string"
    return {
        key: without_ids(part) if key in {"type", "fields", "items", "values"} else part for key, part in found.items()
    }


def as_json(data: dict[str, Any]) -> JsonObject:
    """Give data as the JSON envelope would hold it.

    Raises:
        UndecodableEventError: It holds bytes that are no UTF-8, which JSON cannot.
    """
    try:
        return cast("JsonObject", to_jsonable_python(data))
    except (PydanticSerializationError, UnicodeError, ValueError) as cause:
        message = f"its data cannot be shown as JSON: {cause}"
        raise UndecodableEventError(message) from cause


def _read(source: BytesIO, schema: Any, name: str) -> object:
    try:
        return _read_one(source, schema, None)
    except Exception as cause:
        raise UndecodableEventError(_damaged(name, repr(cause))) from cause


def _damaged(name: str, problem: str) -> str:
    return f"its bytes are no {name} ({problem}): they are damaged; restore them"


def _no_event(name: str) -> str:
    return f"it was written with the schema {name}, which is not the envelope of an event"


def _unencodable(event: Event, writing: _Writing, cause: Exception) -> UnencodableEventError:
    problem: object = cause
    try:
        fastavro.validate(writing.encode(event), writing.schema, raise_errors=True)
    except Exception as found:  # noqa: BLE001 - says it better, whatever it is
        problem = found
    said = " ".join(str(problem).split())
    message = f"{event.event_type} cannot be written as Avro: {said}. Nothing was written; change the event's data"
    return UnencodableEventError(message)
