"""Relay processes for a nursery: each publishes until SIGTERM."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from eventstore import Event, EventStore, Recorded, Settings
from eventstore.core.errors import StoreUnavailableError
from eventstore.kafka import KafkaLog, KafkaOptions
from eventstore.publishing import Publication, publishes, relaying
from tests.campaigns.nursery import tend
from tests.write.domain import Counted, Counter

PARTITIONS = 6
MILESTONE = 10
slowness = [0.0]


class Moved(Event, type="public.moved"):
    version: int
    by: int


class Milestone(Event, type="public.milestone"):
    version: int


def feed_of(prefix: str) -> type[Publication]:
    """Give a publication of three topics: one gets everything, two get every tenth event at once."""

    class Feed(Publication, name="feed"):
        @publishes(f"{prefix}.public.moves")
        def moved(self, event: Counted, at: Recorded) -> Moved:
            if slowness[0]:
                time.sleep(slowness[0])
            return Moved(version=at.version, by=event.by)

        @publishes(f"{prefix}.public.milestones", f"{prefix}.public.ledger")
        def passed(self, event: Counted, at: Recorded) -> Milestone | None:
            return None if at.version % MILESTONE else Milestone(version=at.version)

    return Feed


@dataclass(frozen=True)
class Place:
    """Where everything is."""

    bootstrap: str
    prefix: str
    directory: str
    session_seconds: float = 2.0
    batch_size: int = 500
    slowness: float = 0.0
    partitions: int = PARTITIONS
    member: str | None = None

    @property
    def topics(self) -> tuple[str, str, str]:
        return f"{self.prefix}.public.moves", f"{self.prefix}.public.milestones", f"{self.prefix}.public.ledger"

    def store(self, index: str = "index", feed: type[Publication] | None = None) -> EventStore:
        options = KafkaOptions(
            partitions=self.partitions,
            directory=Path(self.directory) / index,
            session_seconds=self.session_seconds,
            member=self.member,
            commit_seconds=30,
        )
        return EventStore(
            KafkaLog(self.bootstrap, prefix=self.prefix, options=options),
            aggregates=[Counter],
            publications=[feed or feed_of(self.prefix)],
            settings=Settings(batch_size=self.batch_size),
        )


def app() -> EventStore:
    """The application, for the command line."""
    return Place(**json.loads(os.environ["RELAY_PLACE"])).store()


async def relay(place: Place) -> None:
    slowness[0] = place.slowness
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    while not stopping.is_set():
        try:
            await relay_until(stopping, place)
        except StoreUnavailableError as error:  # the brokers were away while it was opened: as a supervisor
            logging.getLogger(__name__).warning("opened again: %s", error)


async def relay_until(stopping: asyncio.Event, place: Place) -> None:
    async with relaying(place.store(), "feed") as running:
        told, failed = asyncio.create_task(stopping.wait()), asyncio.create_task(running.failed())
        await asyncio.wait([told, failed], return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        failed.cancel()
        await asyncio.gather(failed, return_exceptions=True)
        if not failed.cancelled():
            failed.result()


if __name__ == "__main__":
    here = Place(**json.loads(sys.argv[1]))
    tend("relay", Path(sys.argv[2]), lambda: relay(here))
