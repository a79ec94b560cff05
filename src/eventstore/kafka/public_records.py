"""Records of public topics: the one envelope as the value, and beside it what a reader needs without decoding it."""

from __future__ import annotations

from typing import Final, NamedTuple

from eventstore.core.envelope import join_envelope, read_origin
from eventstore.core.ids import id_text
from eventstore.core.publications import Announcement
from eventstore.core.records import Recorded

_JSON: Final = "application/json"


class PublicRecord(NamedTuple):
    """A record, as published; the headers are text, `occurred_at` the microseconds since 1970."""

    topic: str
    key: str
    value: bytes
    headers: list[tuple[str, str | bytes | None]]


def public_record(announcement: Announcement, at: Recorded) -> PublicRecord:
    """Write an integration event, caused by the event it was made of; the same arguments give the same bytes.

    Args:
        announcement: The integration event.
        at: Where the event stands that it was made of.

    Raises:
        UnencodableEventError: It holds what JSON cannot, or is too large.
        UndecodableEventError: The envelope of the event it was made of is broken.
    """
    event, identity, stored = announcement.event, announcement.event_id, at.stored
    moment, correlation = read_origin(stored.envelope, stored.place, at.occurred_at)
    source = id_text(stored.event_id)
    headers: list[tuple[str, str | bytes | None]] = [
        ("event_id", identity),
        ("event_type", event.event_type),
        ("schema_version", str(event.schema_version)),
        ("content_type", _JSON),
        ("correlation_id", correlation),
        ("causation_id", source),
        ("occurred_at", str(stored.occurred_at)),
    ]
    value = join_envelope(event, identity, moment, correlation, source)
    return PublicRecord(announcement.topic, announcement.key, value, headers)
