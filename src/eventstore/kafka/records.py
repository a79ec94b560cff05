r"""What stands in an events topic: events, claims, fences and barriers, and the rule that says which of them count.

An event's key is `<id>:<version>:<lease>`; everything else has a key that starts with a NUL, which no id contains:

    \0claim:<lease>                    the next owner begins; events of every other lease are void from here on
    \0fence:<producer id>              a former owner's producer id is shut out at the broker for good
    \0barrier:<producer id>            an owner made sure that it still is one
    \0erased:<id>:<version>:<lease>    an event's data is erased; the value tells its place, which it keeps

Beside the last one, in the same batch, stands a tombstone under the event's own key: compaction then removes the event,
and later the tombstone, but never the record that tells its place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Annotated, Final, NamedTuple, Protocol, TypeAlias, TypeVar, cast

from pydantic import BaseModel, Field, ValidationError

from eventstore.core.envelope import BINARY
from eventstore.core.records import StoredEvent
from eventstore.ports import StreamCommit

Headers: TypeAlias = list[tuple[str, bytes]]
M = TypeVar("M")

_CONTROL: Final = b"\x00"
_CLAIM: Final = b"\x00claim:"
_FENCE: Final = b"\x00fence:"
_BARRIER: Final = b"\x00barrier:"
_ERASED: Final = b"\x00erased:"
_LEASE: Final = "lease"
_JSON: Final = ("content_type", b"application/json")
_AVRO: Final = ("content_type", b"application/avro")
"""Of a value in the wire format of schema registries: a zero byte, the schema's id in four bytes, then Avro."""
_HEADERS: Final = (
    _LEASE, "event_id", "event_type", "schema_version", "command_id", "part", "occurred_at", "content_type",
)  # fmt: skip
_ID_BYTES: Final = 16
_COLONS: Final = 2
_LEASE_FORM: Final = re.compile("[0-9a-f]{16}")
_NUMBER_FORM: Final = re.compile(b"-?[0-9]{1,18}")  # what every reader, SQLite included, takes for the same integer
_DIGITS: Final = 18
_PRODUCERS: Final = range(2**63)
_Number: TypeAlias = Annotated[int, Field(gt=-(10**18), lt=10**18)]
_Id: TypeAlias = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]


class ReadRecord(Protocol):
    """What a consumer gives."""

    def headers(self) -> object:
        """Give the headers."""
        ...


def headers_of(message: ReadRecord) -> Headers:
    """Give a record's headers, which confluent's types describe as more than what a consumer gives."""
    return cast("Headers", message.headers() or [])


def let_go(messages: list[M]) -> Iterator[M]:
    """Give messages in order, and empty the list: those that are kept keep their headers, too.

    Thousands of those keep the garbage collector busy: reading an index anew was a quarter slower.
    """
    messages.reverse()
    while messages:
        yield messages.pop()


class Record(NamedTuple):
    """A Kafka record, as written or read."""

    key: bytes
    value: bytes | None
    headers: Headers


# The constructor without its Python frame: there is one call of it for each event read or written.
_stored_event: Final[Callable[[tuple[object, ...]], StoredEvent]] = partial(tuple.__new__, StoredEvent)  # pyright: ignore[reportUnknownMemberType]


class Claim(NamedTuple):
    """An owner's first record: from its offset on, only events of its lease count.

    Attributes:
        lease: 64 random bits in hexadecimal.
        producer_id: Under which the owner writes.
        epoch: Under which the owner writes.
        owner: The process, for people.
        at: Microseconds since 1970.
    """

    lease: str
    producer_id: int
    epoch: int
    owner: str
    at: int


def claim_record(claim: Claim) -> Record:
    """Write a claim; its key is unique, so compaction keeps it for ever."""
    value = {"producer_id": claim.producer_id, "epoch": claim.epoch, "owner": claim.owner, "at": claim.at}
    return Record(_CLAIM + claim.lease.encode(), json.dumps(value).encode(), [(_LEASE, claim.lease.encode())])


def fence_record(producer_id: int) -> Record:
    """Write the record that shuts a producer id out; it is sent under that id's last epoch."""
    return Record(_FENCE + b"%d" % producer_id, b"{}", [])


def barrier_record(producer_id: int, lease: str) -> Record:
    """Write a barrier; compaction keeps only the newest."""
    return Record(_BARRIER + b"%d" % producer_id, b"{}", [(_LEASE, lease.encode())])


def event_records(commit: StreamCommit, lease: str) -> list[Record]:
    """Write a command's events."""
    _, _, aggregate_id = commit.stream.partition("-")
    size, version, lease_header = len(commit.events), commit.expected_version, (_LEASE, lease.encode())
    command = ("command_id", commit.command_id)
    return [
        Record(
            f"{aggregate_id}:{version + index}:{lease}".encode(),
            event.envelope,
            [
                lease_header,
                ("event_id", event.event_id),
                ("event_type", event.event_type.encode()),
                ("schema_version", b"%d" % event.schema_version),
                command,
                ("part", b"%d/%d" % (index, size)),
                ("occurred_at", b"%d" % event.occurred_at),
                _AVRO if event.envelope[:1] == BINARY else _JSON,
            ],
        )
        for index, event in enumerate(commit.events, 1)
    ]


class _Place(BaseModel, strict=True, extra="forbid"):
    """What an erased event keeps: all of `StoredEvent` but the envelope."""

    offset: _Number
    stream: str
    version: _Number
    event_type: str
    schema_version: _Number
    event_id: _Id
    command_id: _Id
    command_index: _Number
    command_size: _Number
    occurred_at: _Number


def erasure_records(event: StoredEvent, key: bytes, lease: str) -> list[Record]:
    """Write what erases an event; the records belong in one batch.

    Args:
        event: The event.
        key: The key it was written under.
        lease: The eraser's.
    """
    _, _, aggregate_id = event.stream.partition("-")
    headers = [(_LEASE, lease.encode())]
    place = event._asdict() | {"event_id": event.event_id.hex(), "command_id": event.command_id.hex()}
    del place["envelope"]
    return [
        Record(_ERASED + f"{aggregate_id}:{event.version}:{lease}".encode(), json.dumps(place).encode(), headers),
        Record(key, None, headers),
    ]


def is_key_of(key: bytes | None, event: StoredEvent) -> bool:
    """Tell whether a record with this key holds the event, whatever the lease."""
    _, _, aggregate_id = event.stream.partition("-")
    return (key or b"").rpartition(b":")[0] == f"{aggregate_id}:{event.version}".encode()


def stored_events(commit: StreamCommit, first_offset: int) -> list[StoredEvent]:
    """Give a command's events as a reader will see them."""
    size, version = len(commit.events), commit.expected_version
    return [
        _stored_event((
            first_offset + index - 1, commit.stream, version + index, event.event_type, event.schema_version,
            event.event_id, commit.command_id, index, size, event.occurred_at, event.envelope,
        ))
        for index, event in enumerate(commit.events, 1)
    ]  # fmt: skip


@dataclass(slots=True)
class LeaseRule:
    """Decides, record by record in the order of offsets, what counts; every reader comes to the same result.

    Attributes:
        category: The category whose partition this is.
        lease: The lease in force; empty before the first claim.
        open_producers: Producer ids of former owners that no fence record shuts out yet.
        skipped: How many records did not count so far: late writes of a former owner, or somebody else's.
    """

    category: str
    lease: str = ""
    open_producers: set[int] = field(default_factory=set[int])
    skipped: int = 0

    def read(self, offset: int, key: bytes | None, value: bytes | None, headers: Headers | None) -> StoredEvent | None:
        """Take the next record.

        Returns:
            The event, or None if the record is none that counts. For the record of an erasure the erased event: it
            has the offset that it was written at, and takes the place of what may have been read there.
        """
        event: StoredEvent | None = None
        if key is None or key.startswith(_CONTROL):
            event = self._erased(offset, key, value, headers) if key and key.startswith(_ERASED) else None
            counts = event is not None or self._control(key or b"", value)
        elif value is None:
            counts = key.count(b":") >= _COLONS and self._is_in_force(headers)  # says nothing that the erasure does not
        else:
            event = self._event(offset, key, value, headers) if headers else None
            counts = event is not None
        self.skipped += not counts
        return event

    def _is_in_force(self, headers: Headers | None) -> bool:
        return bool(self.lease) and headers == [(_LEASE, self.lease.encode())]

    def _erased(self, offset: int, key: bytes, value: bytes | None, headers: Headers | None) -> StoredEvent | None:
        try:
            place = _Place.model_validate_json(value or b"")
        except ValidationError:
            return None
        _, _, aggregate_id = place.stream.partition("-")
        own_key = _ERASED + f"{aggregate_id}:{place.version}:{self.lease}".encode()
        sound = place.stream == f"{self.category}-{aggregate_id}" and key == own_key and 0 <= place.offset < offset
        if not sound or not self._is_in_force(headers):
            return None
        return StoredEvent(
            place.offset, place.stream, place.version, place.event_type, place.schema_version,
            bytes.fromhex(place.event_id), bytes.fromhex(place.command_id), place.command_index, place.command_size,
            place.occurred_at, b"",
        )  # fmt: skip

    def _event(self, offset: int, key: bytes, value: bytes, headers: Headers) -> StoredEvent | None:
        try:
            aggregate_id, version, lease = key.rsplit(b":", 2)
            (
                (n1, lease_header), (n2, event_id), (n3, kind), (n4, schema), (n5, command_id), (n6, part), (n7, at),
                (n8, _content_type),
            ) = headers  # fmt: skip
            sound = (n1, n2, n3, n4, n5, n6, n7, n8) == _HEADERS and lease and lease == lease_header
            if not sound or lease.decode() != self.lease or not len(event_id) == len(command_id) == _ID_BYTES:
                return None
            index, size = _part(part)
            return _stored_event((
                offset, f"{self.category}-{aggregate_id.decode()}", _number(version), kind.decode(), _small(schema),
                event_id, command_id, index, size, _number(at), value,
            ))  # fmt: skip
        except (ValueError, TypeError, AttributeError):  # somebody else's: headers may be missing, or without a value
            return None

    def _control(self, key: bytes, value: bytes | None) -> bool:
        """Obey a record that is no event; tells whether it is one of ours."""
        if key.startswith(_CLAIM):
            lease, producer_id = key[len(_CLAIM) :].decode(errors="replace"), _claimant(value)
            if producer_id is None or not _LEASE_FORM.fullmatch(lease):
                return False
            self.open_producers.add(producer_id)
            self.lease = lease
            return True
        if key.startswith(_FENCE):
            number = key[len(_FENCE) :]
            if not _NUMBER_FORM.fullmatch(number):
                return False
            self.open_producers.discard(int(number))
            return True
        return key.startswith(_BARRIER)


@lru_cache(1024)
def _small(number: bytes) -> int:
    """Read a number of which there are few: most events have the same."""
    return _number(number)


@lru_cache(1024)
def _part(part: bytes) -> tuple[int, int]:
    index, size = part.split(b"/")
    return _number(index), _number(size)


def _claimant(value: bytes | None) -> int | None:
    """Give the producer id of a claim, or None if it is none of ours."""
    try:
        claimed = cast("object", json.loads(value or b""))
    except (ValueError, RecursionError):
        return None
    found = cast("dict[str, object]", claimed).get("producer_id") if isinstance(claimed, dict) else None
    return found if type(found) is int and found in _PRODUCERS else None


def _number(text: bytes) -> int:
    if len(text) <= _DIGITS and text.isdigit():  # all that are written here: the form below is slow to ask for
        return int(text)
    if not _NUMBER_FORM.fullmatch(text):
        raise ValueError(text)
    return int(text)
