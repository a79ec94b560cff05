"""Records of public topics: the one envelope as the value, and beside it what a reader needs without decoding it."""

from __future__ import annotations

from functools import cache
from typing import Final, NamedTuple, TypeAlias
from uuid import UUID

from eventstore.core.envelope import BINARY, Metadata, join_envelope, read_origin
from eventstore.core.events import Event
from eventstore.core.ids import id_text
from eventstore.core.publications import Announcement
from eventstore.core.records import Recorded
from eventstore.ports import EventCodec

_Header: TypeAlias = tuple[str, str | bytes | None]
_JSON: Final = "application/json"
_AVRO: Final = "application/avro"


class PublicRecord(NamedTuple):
    """A record, as published; the headers are text, `occurred_at` the microseconds since 1970."""

    topic: str
    key: str
    value: bytes
    headers: list[_Header]


def public_record(announcement: Announcement, at: Recorded, codec: EventCodec | None = None) -> PublicRecord:
    """Write an integration event, caused by the event it was made of; the same arguments give the same bytes.

    Args:
        announcement: The integration event.
        at: Where the event stands that it was made of.
        codec: Of the topic, if it is not JSON.

    Raises:
        UnencodableEventError: It holds what cannot be written, or is too large.
        UndecodableEventError: The envelope of the event it was made of is broken.
    """
    event, identity, stored = announcement.event, announcement.event_id, at.stored
    moment, correlation = read_origin(stored.envelope) or _parsed_origin(at)
    source = id_text(stored.event_id)
    if codec is None:
        value = join_envelope(event, identity, moment, correlation, source)
    else:
        value = codec.encode(event, UUID(identity), at.occurred_at, Metadata(UUID(correlation), at.event_id))
    headers = [
        ("event_id", identity),
        *_headers_of(type(event), binary=value[:1] == BINARY),
        ("correlation_id", correlation),
        ("causation_id", source),
        ("occurred_at", str(stored.occurred_at)),
    ]
    return PublicRecord(announcement.topic, announcement.key, value, headers)


@cache
def _headers_of(cls: type[Event], *, binary: bool) -> tuple[_Header, ...]:
    """Give what is the same for all events of a class."""
    return (
        ("event_type", cls.event_type),
        ("schema_version", str(cls.schema_version)),
        ("content_type", _AVRO if binary else _JSON),
    )


def _parsed_origin(at: Recorded) -> tuple[str, str]:
    return at.occurred_at.isoformat(timespec="microseconds"), str(at.metadata.correlation_id)
