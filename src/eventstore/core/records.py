"""What stands in the log: stored events, their place, and the view of them that handlers get."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, TypeAlias, final
from uuid import UUID

from eventstore.core.envelope import Metadata, read_metadata
from eventstore.core.errors import InvalidIdError
from eventstore.core.streams import StreamId

NEW: Final = 0
"""The expected version of a stream that must not exist yet."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

Partition: TypeAlias = str
"""One totally ordered part of the log, by name: `"0"` in the embedded log, topic and number on Kafka."""


def to_micros(moment: datetime) -> int:
    """Give whole microseconds since 1970; exact, unlike a float timestamp."""
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Give the moment in UTC."""
    return _EPOCH + timedelta(microseconds=micros)


class StreamEvent(NamedTuple):
    """What folding takes of an event whose stream the reader knows, and no more: every column of a row has its price.

    The fields are those of `StoredEvent`.
    """

    version: int
    event_type: str
    schema_version: int
    occurred_at: int
    envelope: bytes

    @property
    def erased(self) -> bool:
        """Whether its data was erased: it counts as a version, and changes nothing."""
        return not self.envelope

    def place_in(self, stream: str) -> str:
        """Say where it stands, for messages."""
        return f"{self.event_type} at {stream} version {self.version}"


class StoredEvent(NamedTuple):
    """One event as the log holds it: what a reader needs without decoding, then the envelope's bytes.

    Attributes:
        offset: Place in its partition; grows with every event, need not be contiguous.
        stream: Stream name, `category-id`.
        version: 1-based place in its stream; contiguous.
        event_type: The pinned name.
        schema_version: Version of the data's shape.
        event_id: 16 bytes, derived from the command id.
        command_id: 16 bytes; all events of one command share it.
        command_index: 1-based place within the command.
        command_size: How many events the command emitted.
        occurred_at: Microseconds since 1970; never decreases within a stream.
        envelope: JSON in UTF-8, or binary (`core.envelope`); empty if the event's data was erased.
    """

    offset: int
    stream: str
    version: int
    event_type: str
    schema_version: int
    event_id: bytes
    command_id: bytes
    command_index: int
    command_size: int
    occurred_at: int
    envelope: bytes

    @property
    def erased(self) -> bool:
        """Whether its data was erased: it keeps its place, and readers pass over it."""
        return not self.envelope

    def without_data(self) -> StoredEvent:
        """Give what is left of it when it is erased."""
        return self._replace(envelope=b"")

    @property
    def place(self) -> str:
        """Say where it stands, for messages."""
        return f"{self.event_type} at {self.stream} version {self.version} (offset {self.offset})"

    @property
    def to_fold(self) -> StreamEvent:
        """Give what folding takes of it."""
        return StreamEvent(self.version, self.event_type, self.schema_version, self.occurred_at, self.envelope)


class Snapshot(NamedTuple):
    """An aggregate's state after some version: disposable, and valid only for the code that wrote it.

    Attributes:
        version: How many events it is folded from.
        occurred_at: Microseconds since 1970 of the last of them.
        fingerprint: The aggregate's fingerprint when it was written.
        state: The fields as JSON.
    """

    version: int
    occurred_at: int
    fingerprint: str
    state: bytes


@final
class Recorded:
    """Where an event stands and what is known about it: the `at` of projections and process managers.

    Decodes lazily; building one costs next to nothing, so a replay pays only for what handlers look at.
    """

    __slots__ = ("partition", "stored")

    def __init__(self, stored: StoredEvent, partition: Partition) -> None:
        self.stored = stored
        self.partition = partition

    @property
    def stream(self) -> StreamId:
        """The stream; `at.stream.id` is the aggregate's id."""
        category, _, aggregate_id = self.stored.stream.partition("-")
        return StreamId(category, aggregate_id)

    @property
    def version(self) -> int:
        """The event's 1-based place in its stream."""
        return self.stored.version

    @property
    def offset(self) -> int:
        """The event's place in its partition: compare, never add."""
        return self.stored.offset

    @property
    def event_id(self) -> UUID:
        """The event's id."""
        return UUID(bytes=self.stored.event_id)

    @property
    def command_id(self) -> UUID:
        """The id of the command that emitted it."""
        return UUID(bytes=self.stored.command_id)

    @property
    def occurred_at(self) -> datetime:
        """When it was decided, in UTC; never decreases within a stream."""
        return from_micros(self.stored.occurred_at)

    @property
    def metadata(self) -> Metadata:
        """Correlation and causation from the envelope.

        Raises:
            UndecodableEventError: The envelope is broken.
        """
        return read_metadata(self.stored.envelope, self.stored.place)

    def __repr__(self) -> str:
        """Show where the event stands."""
        return f"Recorded({self.stored.place}, partition {self.partition})"


@final
class Token:
    """A place in the log that a read model can be awaited at: next offset by partition.

    Tokens travel as text (`str(token)`, `Token.parse`), for example in an HTTP header.
    """

    __slots__ = ("positions",)

    def __init__(self, positions: Mapping[Partition, int]) -> None:
        self.positions: Final = dict(positions)

    def merge(self, other: Token) -> Token:
        """Give the token that is reached when both are reached."""
        keys = self.positions.keys() | other.positions.keys()
        return Token({key: max(self.positions.get(key, 0), other.positions.get(key, 0)) for key in keys})

    def __str__(self) -> str:
        """Write `partition@offset`, joined by commas."""
        return ",".join(f"{name}@{offset}" for name, offset in sorted(self.positions.items()))

    @classmethod
    def parse(cls, text: str) -> Token:
        """Read a token back.

        Raises:
            InvalidIdError: The text is no token.
        """
        positions: dict[Partition, int] = {}
        for part in filter(None, text.split(",")):
            name, at, offset = part.rpartition("@")
            if not (at and name and offset.isascii() and offset.isdigit() and len(offset) < 20):  # noqa: PLR2004
                message = f"{ascii(text)[:80]} is no token: pass on what a command returned, unchanged"
                raise InvalidIdError(message)
            positions[name] = max(int(offset), positions.get(name, 0))
        return cls(positions)

    def __repr__(self) -> str:
        """Show the text form."""
        return f"Token({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        """Compare by positions."""
        return isinstance(other, Token) and other.positions == self.positions

    def __hash__(self) -> int:
        """Hash by positions."""
        return hash(frozenset(self.positions.items()))
