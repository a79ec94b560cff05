"""Stores with a publication on topics of a test's own, and what readers see in these."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from eventstore import Event, EventStore, OnError, Recorded, Settings
from eventstore.kafka import KafkaLog, KafkaOptions
from eventstore.kafka.relay import Relay
from eventstore.publishing import Publication, publishes
from tests.topics import read_topic
from tests.waiting import until
from tests.write.domain import Count, Counted, Counter

PARTITIONS = 4


class Noted(Event, type="public.noted"):
    version: int
    note: str


class Large(Event, type="public.large"):
    version: int


class BadNoteError(Exception):
    """A handler does not like a note."""


def feed_of(prefix: str, on_error: OnError | None = None, bad: str = "bad") -> type[Publication]:
    """Give a publication that has trouble with notes that are bad."""

    class Feed(Publication, name="feed", on_error=on_error):
        @publishes(f"{prefix}.public.notes")
        def noted(self, event: Counted, at: Recorded) -> Noted | None:
            if event.note == bad:
                raise BadNoteError(event.note)
            return Noted(version=at.version, note=event.note) if event.note else None

        @publishes(f"{prefix}.public.large", f"{prefix}.public.ledger", key="version")
        def large(self, event: Counted, at: Recorded) -> list[Large]:
            return [Large(version=at.version)] * (event.by // 10)

    return Feed


@dataclass(frozen=True)
class Shop:
    """A log and where it is."""

    bootstrap: str
    prefix: str
    directory: Path

    @property
    def notes(self) -> str:
        return f"{self.prefix}.public.notes"

    def store(self, feed: type[Publication] | None = None, **options: object) -> EventStore:
        chosen = KafkaOptions(
            **{"partitions": PARTITIONS, "directory": self.directory, "session_seconds": 2.0, **options}  # type: ignore[arg-type]
        )
        return EventStore(
            KafkaLog(self.bootstrap, prefix=self.prefix, options=chosen),
            aggregates=[Counter],
            publications=[feed or feed_of(self.prefix)],
            settings=Settings(batch_size=50),
        )


def shop(bootstrap: str, directory: Path) -> Shop:
    return Shop(bootstrap, f"t{uuid4().hex[:8]}", directory)


async def count(store: EventStore, notes: dict[str, list[str]]) -> None:
    """Write notes, by stream in order."""

    async def write(stream: str, texts: list[str]) -> None:
        for text in texts:
            await store.execute(Counter, stream, Count(note=text))

    await asyncio.gather(*(write(stream, texts) for stream, texts in notes.items()))


async def published(relay: Relay, events: int, seconds: float = 30) -> None:
    """Return when a relay has published so many."""
    await until(lambda: relay.published >= events, lambda: f"{relay.published} of {events}", seconds)


class Seen(NamedTuple):
    """A record as a reader sees it."""

    partition: int
    offset: int
    key: str
    value: dict[str, object]
    headers: dict[str, str]


def seen(bootstrap: str, topic: str, isolation: str = "read_committed") -> list[Seen]:
    """Read a whole topic, each partition in the order of offsets."""
    return [
        Seen(
            message.partition(),
            message.offset(),
            message.key().decode(),
            json.loads(message.value()),
            {name: value.decode() for name, value in message.headers() or []},
        )
        for message in read_topic(bootstrap, topic, isolation)
    ]


def notes_by_key(records: list[Seen]) -> dict[str, list[str]]:
    """Give the notes that a reader sees, by key in the order of offsets."""
    found: dict[str, list[str]] = {}
    for record in records:
        found.setdefault(record.key, []).append(record.value["data"]["note"])  # type: ignore[index]
    return found
