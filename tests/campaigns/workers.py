"""Worker processes for a nursery: each keeps the read models of a Kafka event store up to date until SIGTERM."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from eventstore import EventStore, Projection, Recorded, Row, Settings, projects
from eventstore.core.errors import StoreUnavailableError
from eventstore.kafka import KafkaLog, KafkaOptions
from tests.campaigns.nursery import tend
from tests.write.domain import Counted, Counter

PARTITIONS = 4
slowness = [0.0]


class TotalRow(Row):
    counter: str
    total: int = 0
    events: int = 0
    version: int = 0
    disorder: int = 0


class Totals(Projection[TotalRow], name="totals", version=1, key="counter"):
    """A row for each stream, which shows an event that was skipped, doubled or out of order; made slowly.

    So a worker that stops at any moment stops in the middle of a batch about as often as not.
    """

    @projects
    def counted(self, row: TotalRow | None, event: Counted, at: Recorded) -> TotalRow:
        time.sleep(slowness[0])
        row = row or TotalRow(counter=at.stream.id)
        row.disorder += at.version != row.version + 1
        row.total, row.events, row.version = row.total + event.by, row.events + 1, at.version
        return row


class NoteRow(Row):
    note: str
    total: int = 0
    events: int = 0


class Notes(Projection[NoteRow], name="notes", version=1, key="note"):
    """Rows that all streams share, so that the workers of several partitions meet in them."""

    @projects(key="note")
    def counted(self, row: NoteRow | None, event: Counted, at: Recorded) -> NoteRow:
        row = row or NoteRow(note=event.note)
        row.total, row.events = row.total + event.by, row.events + 1
        return row


@dataclass(frozen=True)
class Place:
    """Where everything is."""

    bootstrap: str
    prefix: str
    directory: str
    query_store: str
    session_seconds: float = 2.0
    batch_size: int = 20
    slowness: float = 0.0004

    def store(self, *, serve: bool = False, workers: bool = False) -> EventStore:
        options = KafkaOptions(
            partitions=PARTITIONS, directory=Path(self.directory) / "index", session_seconds=self.session_seconds
        )
        return EventStore(
            KafkaLog(self.bootstrap, prefix=self.prefix, options=options),
            aggregates=[Counter],
            projections=[Totals, Notes],
            query_store=self.query_store,
            settings=Settings(serve=serve, workers=workers, batch_size=self.batch_size, lease=2.0),
        )


async def work(place: Place) -> None:
    slowness[0] = place.slowness
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    while not stopping.is_set():
        try:
            async with place.store(workers=True):
                await stopping.wait()
        except StoreUnavailableError as error:  # the database was cut off while the store was opened: as a supervisor
            logging.getLogger(__name__).warning("opened again: %s", error)


if __name__ == "__main__":
    here = Place(**json.loads(sys.argv[1]))
    tend("worker", Path(sys.argv[2]), lambda: work(here))
