"""Records of public topics: the one envelope as the value, and beside it what a reader needs without decoding it."""

from __future__ import annotations

from typing import Final, NamedTuple

from eventstore.core.envelope import Metadata, write_envelope
from eventstore.core.publications import Announcement
from eventstore.core.records import Recorded

_JSON: Final = b"application/json"


class PublicRecord(NamedTuple):
    """A record, as published."""

    topic: str
    key: bytes
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
    event, moment, source = announcement.event, at.occurred_at, at.event_id
    metadata = Metadata(at.metadata.correlation_id, source)
    value = write_envelope(event, announcement.event_id, moment, metadata)
    headers: list[tuple[str, str | bytes | None]] = [
        ("event_id", str(announcement.event_id).encode()),
        ("event_type", event.event_type.encode()),
        ("schema_version", b"%d" % event.schema_version),
        ("content_type", _JSON),
        ("correlation_id", str(metadata.correlation_id).encode()),
        ("causation_id", str(source).encode()),
        ("occurred_at", moment.isoformat(timespec="microseconds").encode()),
    ]
    return PublicRecord(announcement.topic, announcement.key.encode(), value, headers)
