"""The type registry: from a stored name and schema version to an event of today's class."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Protocol, TypeAlias, cast

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from eventstore.core.envelope import BINARY, Envelope, read_data, read_envelope, undecodable
from eventstore.core.errors import ConfigurationError, UndecodableEventError, UnknownEventTypeError, UpcastError
from eventstore.core.events import Event, JsonObject
from eventstore.core.records import StoredEvent, StreamEvent

_DecodeJson: TypeAlias = Callable[..., dict[str, Event]]


class BinaryEvents(Protocol):
    """Decodes binary envelopes, from memory alone; what they take was fetched before.

    Errors tell what is wrong; the caller adds where the event stands.
    """

    def decode(self, cls: type[Event], envelope: bytes) -> Event:
        """Give the event of an envelope that was written with the class's own schema version.

        Raises:
            UndecodableEventError: The bytes do not fit the class, or their schema is unknown.
        """
        ...

    def read_envelope(self, envelope: bytes) -> Envelope:
        """Decode an envelope whose data becomes the JSON object that the JSON envelope would hold.

        Raises:
            UndecodableEventError: The bytes are no envelope, or their schema is unknown.
        """
        ...

    def name_of(self, envelope: bytes) -> tuple[str, int]:
        """Tell which event an envelope holds, and of which schema version, as the schema says that it was written with.

        Raises:
            UndecodableEventError: The schema is unknown, or not one of an event.
        """
        ...

    def read_record(self, value: bytes) -> tuple[str, JsonObject]:
        """Decode a value of any schema: the name of its record, and the record as a JSON object.

        Raises:
            UndecodableEventError: The schema is unknown or no record, or the bytes are damaged.
        """
        ...


class TypeRegistry:
    """Decodes stored events into exactly one class per name, whatever schema version they were written with.

    Args:
        events: The event classes; the same class may come several times.
        binary: Decodes the envelopes that are not JSON; None refuses them.

    Raises:
        ConfigurationError: Two classes have the same name.
    """

    def __init__(self, events: Iterable[type[Event]], binary: BinaryEvents | None = None) -> None:
        self._binary: Final = binary
        self._classes: Final[dict[str, type[Event]]] = {}
        self._current: Final[dict[tuple[str, int], _DecodeJson]] = {}
        for cls in events:
            self._add(cls)

    def _add(self, cls: type[Event]) -> None:
        known = self._classes.setdefault(cls.event_type, cls)
        if known is not cls:
            message = (
                f"{known.__module__}.{known.__qualname__} and {cls.__module__}.{cls.__qualname__} are both "
                f"named {cls.event_type!r}: an event name belongs to one class; rename one"
            )
            raise ConfigurationError(message)
        self._current[cls.event_type, cls.schema_version] = _data_decoder(cls)

    @property
    def classes(self) -> tuple[type[Event], ...]:
        """The registered classes."""
        return tuple(self._classes.values())

    def decode(self, stored: StoredEvent | StreamEvent, stream: str = "") -> Event:
        """Give the event as an instance of today's class, upcast if it was written by an older one.

        Args:
            stored: The event from the log.
            stream: The stream of a `StreamEvent`, for messages.

        Returns:
            The event.

        Raises:
            UnknownEventTypeError: No registered class has its name, or its schema version is newer than the class.
            UndecodableEventError: The bytes are no envelope or do not fit the class.
            UpcastError: An upcaster failed.
        """
        try:
            decode = self._current[stored.event_type, stored.schema_version]
        except KeyError:
            return self._decode_older(stored, stream)
        if self._binary is not None and stored.envelope[:1] == BINARY:
            return self._decode_binary(stored, stream)
        try:
            return decode(stored.envelope, extra="ignore")["data"]
        except ValidationError as cause:
            if stored.envelope[:1] == BINARY:
                return self._decode_binary(stored, stream)
            raise undecodable(_place(stored, stream), cause) from cause

    def read_envelope(self, stored: StoredEvent | StreamEvent, stream: str = "") -> Envelope:
        """Decode a whole envelope, whatever class it is of, with its data as a JSON object.

        Args:
            stored: The event from the log.
            stream: The stream of a `StreamEvent`, for messages.

        Raises:
            UndecodableEventError: The bytes are no envelope, or binary and their schema is unknown.
        """
        envelope = stored.envelope
        if envelope[:1] != BINARY:
            return read_envelope(envelope, _place(stored, stream))
        try:
            return self._required(envelope).read_envelope(envelope)
        except UndecodableEventError as cause:
            raise _undecodable_binary(_place(stored, stream), cause) from cause

    def name_of(self, envelope: bytes, place: str) -> tuple[str, int]:
        """Tell which event a binary envelope holds, and of which schema version.

        Args:
            envelope: It begins with `BINARY`.
            place: Where it stands, for messages.

        Raises:
            UndecodableEventError: Its schema is unknown, or not one of an event.
        """
        try:
            return self._required(envelope).name_of(envelope)
        except UndecodableEventError as cause:
            raise _undecodable_binary(place, cause) from cause

    def read_record(self, value: bytes, place: str) -> JsonObject:
        """Decode a binary value of any schema into the JSON object that it stands for.

        Args:
            value: It begins with `BINARY`.
            place: Where it stands, for messages.

        Raises:
            UndecodableEventError: Its schema is unknown or no record, or the bytes are damaged.
        """
        try:
            return self._required(value).read_record(value)[1]
        except UndecodableEventError as cause:
            raise _undecodable_binary(place, cause) from cause

    def _decode_binary(self, stored: StoredEvent | StreamEvent, stream: str) -> Event:
        envelope = stored.envelope
        try:
            return self._required(envelope).decode(self._classes[stored.event_type], envelope)
        except UndecodableEventError as cause:
            raise _undecodable_binary(_place(stored, stream), cause) from cause

    def _required(self, envelope: bytes) -> BinaryEvents:
        if self._binary is not None:
            return self._binary
        message = (
            f"it is Avro of the registry's schema {int.from_bytes(envelope[1:5])}, and this store has no registry: "
            'open it with EventStore(..., codec=AvroCodec("http://registry")), or KafkaSource(..., codec=AvroCodec(...)) for an inbox'
        )
        raise UndecodableEventError(message)

    def _decode_older(self, stored: StoredEvent | StreamEvent, stream: str) -> Event:
        place = _place(stored, stream)
        cls = self._classes.get(stored.event_type)
        if cls is None:
            message = (
                f"{place}: no registered class is named {stored.event_type!r}. Register the aggregate or "
                "projection that handles it, or restore the class that wrote it"
            )
            raise UnknownEventTypeError(message)
        if not 1 <= stored.schema_version < cls.schema_version:
            message = (
                f"{place} has schema version {stored.schema_version} but {cls.__qualname__} is version "
                f"{cls.schema_version}: deploy the code that wrote it before reading it"
            )
            raise UnknownEventTypeError(message)
        binary = stored.envelope[:1] == BINARY
        old = self.read_envelope(stored, stream).data if binary else read_data(stored.envelope, place)
        data = upcast(cls, old, stored.schema_version, place)
        try:
            return cls.model_validate_json(_as_json(data), extra="ignore")
        except ValidationError as cause:
            origin = f"{place}, upcast from version {stored.schema_version},"
            raise undecodable(origin, cause) from cause


def upcast(cls: type[Event], data: JsonObject, from_version: int, place: str) -> JsonObject:
    """Run the class's upcasters from a schema version up to today's.

    Raises:
        UpcastError: One raised or returned no JSON object.
    """
    for version, step in enumerate(cls.upcasters[from_version - 1 :], from_version):
        name = f"{cls.__qualname__}'s upcaster from version {version}"
        try:
            data = step(data)
        except Exception as cause:
            message = f"{place}: {name} raised {cause!r}. Make it accept this data; it must not fail on what was valid"
            raise UpcastError(message) from cause
        if not isinstance(data, dict):  # pyright: ignore[reportUnnecessaryIsInstance]
            message = f"{place}: {name} returned {type(data).__name__}; return the new JSON object as a dict"
            raise UpcastError(message)
    return data


def _place(stored: StoredEvent | StreamEvent, stream: str) -> str:
    return stored.place_in(stream) if isinstance(stored, StreamEvent) else stored.place


def _undecodable_binary(place: str, cause: UndecodableEventError) -> UndecodableEventError:
    return UndecodableEventError(f"{place} cannot be decoded: {cause}")


def _as_json(data: JsonObject) -> bytes:
    return _JSON.dump_json(data)


_JSON: Final[TypeAdapter[JsonObject]] = TypeAdapter(JsonObject)


def _data_decoder(cls: type[Event]) -> _DecodeJson:
    """Compile a decoder that goes from an envelope's bytes to the event without a dict in between."""
    fields = {"data": cls}
    shape = TypedDict("shape", fields)  # type: ignore[misc]
    adapter: TypeAdapter[dict[str, Event]] = TypeAdapter(cast("type[dict[str, Event]]", shape))
    return adapter.validator.validate_json
