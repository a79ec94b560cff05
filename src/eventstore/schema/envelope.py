"""The binary envelope: a zero byte, the schema's id in four bytes, then the whole envelope as one Avro record.

Only the data takes an Avro library: around it, everything is an id of 36 characters, a name, or a number.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, cast
from uuid import UUID

from eventstore.core.envelope import BINARY, ID_PREFIX, Metadata
from eventstore.core.errors import UndecodableEventError
from eventstore.core.events import Event
from eventstore.schema.derivation import derive_data
from eventstore.schema.forms import AvroSchema, Convert
from eventstore.schema.samples import Sampler

ID_BYTES: Final = 37
HEAD: Final = len(BINARY) + 4
TAIL: Final = 2 * ID_BYTES
_ID: Final = {"type": "string", "logicalType": "uuid"}
_MOMENT: Final = {"type": "long", "logicalType": "timestamp-micros"}
_PARTS: Final = ("event_id", "event_type", "occurred_at", "data", "metadata")
_CONTINUED: Final = 0x80
_USUAL_MOMENT: Final = 0x8080808080808000
"""The highest bits of a number of eight bytes: what a time between 1978 and 3111 takes."""


class DerivedEvent(NamedTuple):
    """How an event stands in Avro.

    Attributes:
        cls: The event's class.
        name: The full name of the envelope's record, which is its subject where no topic is part of it.
        schema: The envelope's record.
        data: The record of its data, which stands in the envelope's.
        encode: From an event to what an Avro writer takes for the data.
        sample: Gives data for samples.
    """

    cls: type[Event]
    name: str
    schema: AvroSchema
    data: AvroSchema
    encode: Convert
    sample: Sampler


def derive(cls: type[Event], namespace: str = "") -> DerivedEvent:
    """Derive the schema of an event: the same class always gives the same schema.

    Args:
        cls: The event class.
        namespace: Goes before the event's name, for a registry that several applications share.

    Raises:
        ConfigurationError: A field cannot be expressed; names its path and what to write instead.
    """
    place = ".".join(filter(None, (namespace, cls.event_type, f"v{cls.schema_version}")))
    data = derive_data(cls, place)
    metadata = {
        "type": "record",
        "name": f"{place}.Metadata",
        "fields": [{"name": "correlation_id", "type": _ID}, {"name": "causation_id", "type": _ID}],
    }
    types: dict[str, AvroSchema] = {
        "event_id": _ID,
        "event_type": "string",
        "occurred_at": _MOMENT,
        "data": data.schema,
        "metadata": metadata,
    }
    fields = [{"name": name, "type": types[name]} for name in _PARTS]
    name = f"{place}.Envelope"
    whole: AvroSchema = {"type": "record", "name": name, "fields": fields}
    return DerivedEvent(cls, name, whole, data.schema, data.encode, data.sample)


def data_of(schema: AvroSchema) -> AvroSchema | None:
    """Give the data's record of an envelope's, or None if the schema is not that of an envelope.

    Args:
        schema: As parsed by fastavro, so that names are full and nothing is abbreviated.
    """
    if not isinstance(schema, dict) or schema.get("type") != "record":
        return None
    fields = cast("list[dict[str, Any]]", schema["fields"])
    if tuple(field["name"] for field in fields) != _PARTS:
        return None
    types: list[Any] = [field["type"] for field in fields]
    *simple, data, metadata = types
    if not (_is_record(data) and _is_record(metadata)):
        return None
    ids: list[Any] = [field["type"] for field in metadata["fields"]]
    written = [base_type(part) for part in (*simple, *ids)]
    return data if written == ["string", "string", "long", "string", "string"] else None


def _is_record(schema: object) -> bool:
    return isinstance(schema, dict) and "fields" in schema


def base_type(schema: Any) -> Any:
    """Give what a type is written as, whatever it means."""
    return cast("dict[str, Any]", schema)["type"] if isinstance(schema, dict) else schema


def packed(event_id: str, event_type: bytes, micros: int, metadata: Metadata) -> tuple[bytes, bytes]:
    """Give what stands before the data, behind the schema's id, and what stands after it.

    Args:
        event_id: As text.
        event_type: As Avro writes it: see `packed_text`.
        micros: Microseconds since 1970.
        metadata: Correlation and causation.
    """
    correlation = causation = str(metadata.causation_id)
    if metadata.correlation_id is not metadata.causation_id:
        correlation = str(metadata.correlation_id)
    head = ID_PREFIX + event_id.encode() + event_type + _packed_number(micros)
    return head, ID_PREFIX + correlation.encode() + ID_PREFIX + causation.encode()


def packed_text(text: str) -> bytes:
    """Write a string as Avro does."""
    raw = text.encode()
    return _packed_number(len(raw)) + raw


def _packed_number(number: int) -> bytes:
    zigzag = (number << 1) ^ (number >> 63)
    out = bytearray()
    while zigzag >= _CONTINUED:
        out.append(zigzag & 0x7F | _CONTINUED)
        zigzag >>= 7
    out.append(zigzag)
    return bytes(out)


def data_start(envelope: bytes) -> int:
    """Give where the data begins in an envelope.

    Raises:
        UndecodableEventError: It ends before.
    """
    try:
        at = HEAD + ID_BYTES
        length = envelope[at]
        if length >= _CONTINUED:
            length, at = _number(envelope, at)
        else:
            at += 1
        at += length >> 1
        if int.from_bytes(envelope[at : at + 8]) & 0x8080808080808080 == _USUAL_MOMENT:
            return at + 8
        return _number(envelope, at)[1]
    except IndexError as cause:
        message = "it ends before its data: the bytes are damaged; restore them"
        raise UndecodableEventError(message) from cause


class Head(NamedTuple):
    """What stands before the data."""

    event_id: UUID
    event_type: str
    occurred_at: int


def read_head(envelope: bytes) -> Head:
    """Decode what stands before the data.

    Raises:
        UndecodableEventError: It is damaged.
    """
    try:
        identity = envelope[HEAD + 1 : HEAD + ID_BYTES].decode()
        length, start = _number(envelope, HEAD + ID_BYTES)
        end = start + (length >> 1)
        zigzag, _ = _number(envelope, end)
        return Head(UUID(identity), envelope[start:end].decode(), (zigzag >> 1) ^ -(zigzag & 1))
    except (IndexError, ValueError) as cause:
        message = f"what stands before its data is damaged ({cause}); restore the bytes"
        raise UndecodableEventError(message) from cause


def _number(envelope: bytes, at: int) -> tuple[int, int]:
    """Give a number as it stands, zigzag encoded, and where it ends."""
    number = shift = 0
    while True:
        byte = envelope[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < _CONTINUED:
            return number, at
