"""Messages of other systems, and the formats that say how they become events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, Protocol, TypeAlias
from uuid import NAMESPACE_URL, UUID

from pydantic import TypeAdapter, ValidationError

from eventstore.core.annotations import handled_classes
from eventstore.core.envelope import BINARY, read_envelope, undecodable
from eventstore.core.errors import UndecodableEventError
from eventstore.core.events import Event, JsonObject
from eventstore.core.ids import derived_id
from eventstore.core.records import StoredEvent, from_micros
from eventstore.core.registry import TypeRegistry

_FOREIGN_IDS: Final = derived_id(NAMESPACE_URL, "eventstore:foreign-event")
_JSON: Final[TypeAdapter[JsonObject]] = TypeAdapter(JsonObject)
_INTERNAL: Final = "lease"
_NO_ID: Final = UUID(int=0)


class Message(NamedTuple):
    """A record of a topic as the broker holds it.

    Attributes:
        topic: Which topic.
        partition: Which of its partitions.
        offset: Its place there.
        key: Its key; messages of one key are in order.
        value: Its value; None for a tombstone.
        headers: Its headers; of several with one name the last.
        timestamp: Milliseconds since 1970.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes]
    timestamp: int = 0

    @property
    def place(self) -> str:
        """Say where it stands, for messages to people."""
        return f"{self.topic} partition {self.partition} offset {self.offset}"

    def header(self, name: str) -> str | None:
        """Give a header as text.

        Raises:
            UndecodableEventError: It is no UTF-8.
        """
        raw = self.headers.get(name)
        try:
            return None if raw is None else raw.decode()
        except UnicodeDecodeError as cause:
            message = f"{self.place}: the header {name} is no UTF-8 text ({raw!r})"
            raise UndecodableEventError(message) from cause


@dataclass(frozen=True, slots=True)
class Received:
    """Where an event of another system came from and what is known about it: the `at` of an inbox's methods.

    Attributes:
        message: The record, with topic, key and headers.
        event_id: Its id, the same in every delivery.
        event_type: Its type.
        occurred_at: When it happened, as far as its sender says.
        correlation_id: What its sender said it belongs to; else its own id.
    """

    message: Message
    event_id: UUID
    event_type: str
    occurred_at: datetime
    correlation_id: UUID

    @property
    def topic(self) -> str:
        """The topic it was read from."""
        return self.message.topic

    @property
    def key(self) -> str:
        """The record's key as text; empty without a key."""
        return (self.message.key or b"").decode(errors="replace")

    @property
    def headers(self) -> Mapping[str, bytes]:
        """The record's headers."""
        return self.message.headers


class Arrival(NamedTuple):
    """A message that was read: what the method gets."""

    event: object
    at: Received


class MessageFormat(Protocol):
    """Reads messages of another system; it must give the same message the same id every time."""

    def handled(self, annotation: object, where: str, parameter: str) -> Mapping[str, type[Any]]:
        """Tell what a method's parameter selects: classes by the type that `type_of` gives.

        Raises:
            ConfigurationError: The format does not read into what the parameter is annotated with.
        """
        ...

    def type_of(self, message: Message, registry: TypeRegistry) -> str:
        """Tell which type a message is of.

        Args:
            message: Which.
            registry: Decodes what the inbox handles.

        Raises:
            UndecodableEventError: It does not say.
        """
        ...

    def read(self, message: Message, kind: type[Any], registry: TypeRegistry) -> Arrival:
        """Read a message into a class.

        Args:
            message: One of the class's type.
            kind: The class.
            registry: Decodes what the inbox handles.

        Raises:
            EventSchemaError: It does not fit, or has no id.
        """
        ...


class Envelopes:
    """Messages whose value is this library's envelope, in JSON or Avro, as public topics and outboxes have it.

    What headers say (`event_id`, `event_type`, `schema_version`, `occurred_at`, `correlation_id`) is not looked up in
    the envelope.
    """

    def handled(self, annotation: object, where: str, parameter: str) -> Mapping[str, type[Event]]:
        """Select event classes; see `MessageFormat.handled`."""
        return {cls.event_type: cls for cls in handled_classes(annotation, Event, where, parameter)}

    def type_of(self, message: Message, registry: TypeRegistry) -> str:
        """Look in the header, then in the envelope; see `MessageFormat.type_of`."""
        if _INTERNAL in message.headers:
            text = f"{message.place} belongs to a log, and only its owner knows which of its events count: read its public topic"
            raise UndecodableEventError(text)
        found, raw = message.header("event_type"), message.value or b""
        if found is None and raw[:1] == BINARY:
            return registry.name_of(raw, message.place)[0]
        return found or read_envelope(raw, message.place).event_type

    def read(self, message: Message, kind: type[Event], registry: TypeRegistry) -> Arrival:
        """Read the envelope; see `MessageFormat.read`."""
        event_id, occurred_at, correlation_id = self._origin(message, kind, registry)
        stored = _stored(message, kind, event_id, self._version(message, kind, registry))
        try:
            event = registry.decode(stored)
        except UndecodableEventError as cause:
            text = f"{message.place} ({kind.event_type}) cannot be read: {cause}"
            raise UndecodableEventError(text) from cause
        return Arrival(event, Received(message, event_id, kind.event_type, occurred_at, correlation_id))

    def _version(self, message: Message, kind: type[Event], registry: TypeRegistry) -> int:
        found, raw = message.header("schema_version"), message.value or b""
        if found is None:
            return registry.name_of(raw, message.place)[1] if raw[:1] == BINARY else kind.schema_version
        if not (found.isascii() and found.isdigit()):
            text = f"{message.place}: the header schema_version is no number ({found!r})"
            raise UndecodableEventError(text)
        return int(found)

    def _origin(self, message: Message, kind: type[Event], registry: TypeRegistry) -> tuple[UUID, datetime, UUID]:
        named = [message.header(name) for name in ("event_id", "occurred_at", "correlation_id")]
        event_id, occurred_at, correlation_id = named
        if event_id is None or occurred_at is None or correlation_id is None:
            envelope = registry.read_envelope(_stored(message, kind, _NO_ID, kind.schema_version))
            return envelope.event_id, envelope.occurred_at, envelope.metadata.correlation_id
        try:
            return UUID(event_id), _moment(occurred_at), UUID(correlation_id)
        except (ValueError, OverflowError) as cause:
            text = f"{message.place}: its headers event_id, occurred_at, correlation_id are malformed: {cause}"
            raise UndecodableEventError(text) from cause


def _moment(text: str) -> datetime:
    """Read a header: microseconds since 1970, as relays write it, or ISO 8601, as Debezium does."""
    if text.isascii() and text.lstrip("-").isdigit():
        return from_micros(int(text))
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _stored(message: Message, kind: type[Event], event_id: UUID, version: int) -> StoredEvent:
    """Give a message as the registry takes it."""
    return StoredEvent(
        message.offset, message.topic, 0, kind.event_type, version, event_id.bytes, b"", 1, 1, 0, message.value or b""
    )


Identify: TypeAlias = Callable[[Message], "UUID | str | None"]
TypeOf: TypeAlias = Callable[[Message], str | None]


class PlainMessages:
    """Messages whose value is the event's data as a JSON object or an Avro record, with type and id in headers or elsewhere.

    Args:
        event_type: The header that holds the type, or a function of the message.
        identify: The header that holds the event's id, or a function of the message. It has to be the same in every
            delivery and unique among all messages of the inbox.
    """

    def __init__(self, *, event_type: str | TypeOf = "event_type", identify: str | Identify = "event_id") -> None:
        self._type: Final = event_type
        self._identify: Final = identify

    def handled(self, annotation: object, where: str, parameter: str) -> Mapping[str, type[Event]]:
        """Select event classes; see `MessageFormat.handled`."""
        return {cls.event_type: cls for cls in handled_classes(annotation, Event, where, parameter)}

    def type_of(self, message: Message, registry: TypeRegistry) -> str:  # noqa: ARG002 - see MessageFormat
        """Ask the header or the function; see `MessageFormat.type_of`."""
        found = message.header(self._type) if isinstance(self._type, str) else self._type(message)
        if not found:
            raise UndecodableEventError(_missing(message, "type", self._type, "event_type"))
        return found

    def read(self, message: Message, kind: type[Event], registry: TypeRegistry) -> Arrival:
        """Validate the value; see `MessageFormat.read`."""
        found = message.header(self._identify) if isinstance(self._identify, str) else self._identify(message)
        if not found:
            raise UndecodableEventError(_missing(message, "id", self._identify, "identify"))
        event_id = foreign_id(found)
        try:
            event = kind.model_validate_json(self._json(message, registry), extra="ignore")
        except ValidationError as cause:
            where = f"{message.place} ({kind.event_type})"
            raise undecodable(where, cause) from cause
        moment = from_micros(message.timestamp * 1000)
        return Arrival(event, Received(message, event_id, kind.event_type, moment, _correlation(message, event_id)))

    def _json(self, message: Message, registry: TypeRegistry) -> bytes:
        raw = message.value or b""
        return _JSON.dump_json(registry.read_record(raw, message.place)) if raw[:1] == BINARY else raw


def foreign_id(value: UUID | str) -> UUID:
    """Make an id of what another system identifies an event with."""
    if isinstance(value, UUID):
        return value
    try:
        return UUID(value)
    except ValueError:
        return derived_id(_FOREIGN_IDS, value)


def _correlation(message: Message, event_id: UUID) -> UUID:
    named = message.header("correlation_id")
    return event_id if not named else foreign_id(named)


def _missing(message: Message, what: str, source: object, option: str) -> str:
    where = f"there is no header {source!r}" if isinstance(source, str) else "the function found none"
    return (
        f"{message.place} has no {what}: {where}. Say where it is: "
        f"format=PlainMessages({option}=<a header, or a function of the message>)"
    )
