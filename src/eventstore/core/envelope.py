"""The one envelope: `{event_id, event_type, occurred_at, data{...}, metadata{correlation_id, causation_id}}`.

It is JSON, or binary: the same record in Avro behind a zero byte and the id of its schema in a registry. The metadata
comes last and has one length, so it can be read without the schema; everything else takes the registry's codec.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Final, NamedTuple, NoReturn
from uuid import UUID

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError
from typing_extensions import TypedDict

from eventstore.core.errors import UndecodableEventError, UnencodableEventError
from eventstore.core.events import Event, JsonObject

MAX_EVENT_BYTES: Final = 1_000_000
"""Largest envelope, in bytes: below Kafka's default `max.message.bytes` of 1,048,588, so every log takes it."""

BINARY: Final = b"\0"
"""First byte of a binary envelope; JSON never starts with it."""

ID_PREFIX: Final = b"\x48"
"""What Avro writes before the 36 characters of an id: their number, zigzag encoded."""

_ID_CHARACTERS: Final = 36
_TAIL_BYTES: Final = 2 * (1 + _ID_CHARACTERS)


class Metadata(NamedTuple):
    """What led to an event.

    Attributes:
        correlation_id: Shared by everything that one first command set off.
        causation_id: The command that emitted the event.
    """

    correlation_id: UUID
    causation_id: UUID


class _MetadataModel(BaseModel):
    model_config = ConfigDict(extra="forbid")
    correlation_id: UUID
    causation_id: UUID


class _EnvelopeModel(BaseModel):
    model_config = ConfigDict(extra="forbid")
    event_id: UUID
    event_type: str
    occurred_at: datetime
    data: JsonObject
    metadata: _MetadataModel


class _MetadataOnly(TypedDict):
    metadata: _MetadataModel


class _DataOnly(TypedDict):
    data: JsonObject


_ENVELOPE: Final = TypeAdapter(_EnvelopeModel)
_METADATA: Final = TypeAdapter(_MetadataOnly)
_DATA: Final = TypeAdapter(_DataOnly)


_START: Final = b'{"event_id":"'
_MOMENT: Final = b'","occurred_at":"'
_MOMENT_CHARACTERS: Final = 32
_TYPE_AT: Final = len(_START) + _ID_CHARACTERS + len('","event_type":"')
_END: Final = (b',"metadata":{"correlation_id":"', b'","causation_id":"', b'"}}')
_END_BYTES: Final = sum(map(len, _END)) + 2 * _ID_CHARACTERS


class Envelope(NamedTuple):
    """A decoded envelope, with the data still a JSON object."""

    event_id: UUID
    event_type: str
    occurred_at: datetime
    data: JsonObject
    metadata: Metadata


def write_envelope(event: Event, event_id: UUID, occurred_at: datetime, metadata: Metadata) -> bytes:
    """Encode an event; what comes out is valid JSON in UTF-8 and at most `MAX_EVENT_BYTES` long.

    Args:
        event: The event.
        event_id: Its id.
        occurred_at: When it was decided, in UTC.
        metadata: Correlation and causation.

    Returns:
        The envelope's bytes.

    Raises:
        UnencodableEventError: The event holds what JSON cannot (NaN, lone surrogates, endless nesting), or it
            is too large.
    """
    correlation = causation = str(metadata.causation_id)
    if metadata.correlation_id is not metadata.causation_id:
        correlation = str(metadata.correlation_id)
    moment = occurred_at.isoformat(timespec="microseconds")
    return join_envelope(event, str(event_id), moment, correlation, causation)


def join_envelope(event: Event, event_id: str, moment: str, correlation_id: str, causation_id: str) -> bytes:
    """Encode an event as `write_envelope` does, from texts that are as that one writes them.

    Args:
        event: The event.
        event_id: Its id.
        moment: When it was decided.
        correlation_id: Shared by everything that one first command set off.
        causation_id: What it was emitted by.

    Raises:
        UnencodableEventError: As `write_envelope`.
    """
    try:
        data = event.__pydantic_serializer__.to_json(event)
    except (PydanticSerializationError, UnicodeError, ValueError, RecursionError) as cause:
        message = f"{event.event_type} cannot be written as JSON: {cause}. Nothing was written; change the event's data"
        raise UnencodableEventError(message) from cause
    if b"NaN" in data or b"Infinity" in data:
        _refuse_constants(event, data)
    if len(data) > MAX_EVENT_BYTES:
        message = (
            f"{event.event_type} takes {len(data):,} bytes as JSON and the limit is {MAX_EVENT_BYTES:,}: "
            "store large content elsewhere and its address in the event. Nothing was written"
        )
        raise UnencodableEventError(message)
    return (
        f'{{"event_id":"{event_id}","event_type":"{event.event_type}","occurred_at":"{moment}","data":'.encode()
        + data
        + f',"metadata":{{"correlation_id":"{correlation_id}","causation_id":"{causation_id}"}}}}'.encode()
    )


def _refuse_constants(event: Event, data: bytes) -> None:
    def refuse(constant: str) -> NoReturn:
        message = f"{event.event_type} holds {constant}, which JSON has no number for. Nothing was written"
        raise UnencodableEventError(message)

    json.loads(data, parse_constant=refuse)


def read_envelope(raw: bytes, place: str) -> Envelope:
    """Decode a whole envelope, refusing missing and unknown parts.

    Args:
        raw: The stored bytes.
        place: Where they stand, for the message.

    Raises:
        UndecodableEventError: The bytes are not exactly an envelope.
    """
    try:
        model = _ENVELOPE.validate_json(raw)
    except ValidationError as cause:
        raise undecodable(place, cause) from cause
    metadata = Metadata(model.metadata.correlation_id, model.metadata.causation_id)
    return Envelope(model.event_id, model.event_type, model.occurred_at, model.data, metadata)


def read_origin(raw: bytes) -> tuple[str, str] | None:
    """Give when an event was decided, and its correlation id, as texts that `join_envelope` takes, without parsing.

    Args:
        raw: The stored bytes.

    Returns:
        None if they are not laid out as `join_envelope` does, so that parsing has to tell.
    """
    end, at = raw[-_END_BYTES:], raw.find(_MOMENT, _TYPE_AT)
    if at < 0 or raw[:13] != _START or (end[:31], end[67:85], end[121:]) != _END:
        return None
    at += len(_MOMENT)
    return raw[at : at + _MOMENT_CHARACTERS].decode(), end[31:67].decode()


def read_metadata(raw: bytes, place: str) -> Metadata:
    """Decode only the metadata of an envelope, JSON or binary.

    Raises:
        UndecodableEventError: The bytes are no envelope.
    """
    if raw[:1] == BINARY:
        return _read_tail(raw, place)
    try:
        model = _METADATA.validate_json(raw)["metadata"]
    except ValidationError as cause:
        raise undecodable(place, cause) from cause
    return Metadata(model.correlation_id, model.causation_id)


def _read_tail(raw: bytes, place: str) -> Metadata:
    """Take the metadata from where a binary envelope ends."""
    tail = raw[-_TAIL_BYTES:]
    first, second = tail[: _ID_CHARACTERS + 1], tail[_ID_CHARACTERS + 1 :]
    try:
        if len(tail) < _TAIL_BYTES or not (first.startswith(ID_PREFIX) and second.startswith(ID_PREFIX)):
            raise ValueError("it ends without metadata")  # noqa: EM101, TRY003, TRY301 - becomes the message below
        return Metadata(UUID(first[1:].decode()), UUID(second[1:].decode()))
    except ValueError as cause:
        message = f"{place} cannot be decoded: {cause}. The bytes are damaged or no envelope; restore them"
        raise UndecodableEventError(message) from cause


def read_data(raw: bytes, place: str) -> JsonObject:
    """Decode only the data of an envelope, as a JSON object.

    Raises:
        UndecodableEventError: The bytes are no envelope.
    """
    try:
        return _DATA.validate_json(raw)["data"]
    except ValidationError as cause:
        raise undecodable(place, cause) from cause


def undecodable(place: str, cause: ValidationError) -> UndecodableEventError:
    """Say what does not fit, where, and what to do about it."""
    first = cause.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "the envelope"
    return UndecodableEventError(
        f"{place} cannot be decoded: {where}: {first['msg']}. "
        "If the class has changed, raise its version and add an upcaster; if the bytes are damaged, restore them"
    )
