"""What has to be looked at, now and then, to be known: lag, rebuilds, dead letters and ownership."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final, Protocol

from eventstore.background import Background
from eventstore.core.errors import EventStoreError
from eventstore.ports import Clock, EventLog
from eventstore.read.dead_letters import DeadLetters
from eventstore.read.lag import Lag
from eventstore.telemetry import catalog
from eventstore.telemetry.measurements import Labels, Measurements
from eventstore.telemetry.recording import Telemetry

_LOGGER: Final = logging.getLogger(__name__)


class Watched(Protocol):
    """The part of an open store that is looked at."""

    @property
    def log(self) -> EventLog:
        """Where events are."""
        ...

    @property
    def application(self) -> HasReadModels:
        """What it is made of."""
        ...

    @property
    def dead_letters(self) -> DeadLetters:
        """Parked events."""
        ...

    async def lag(self) -> list[Lag]:
        """Tell how far read models are behind."""
        ...


class HasReadModels(Protocol):
    """Tells whether there are read models to look at."""

    @property
    def has_read_models(self) -> bool:
        """Whether there are."""
        ...


@asynccontextmanager
async def watching(store: Watched, telemetry: Telemetry, clock: Clock) -> AsyncGenerator[None]:
    """Look at an open store as often as its telemetry says.

    Args:
        store: The store.
        telemetry: Where what is seen is kept.
        clock: For the time between.
    """
    background = Background()
    background.start(_watch(store, telemetry, clock), "eventstore-telemetry")
    try:
        yield
    finally:
        await background.close()


async def _watch(store: Watched, telemetry: Telemetry, clock: Clock) -> None:
    while True:
        try:
            await look(store, telemetry.measurements)
        except EventStoreError as error:
            _LOGGER.warning("lag and ownership could not be looked at: %s", error)
        await clock.sleep(telemetry.refresh_seconds)


async def look(store: Watched, measurements: Measurements) -> None:
    """Note how things stand now.

    Args:
        store: An open store.
        measurements: Where to note it.

    Raises:
        StoreUnavailableError: Log or query store are out of reach.
        StoreClosedError: The store was closed meanwhile.
    """
    condition = store.log.condition
    if condition is not None:
        measurements.number(catalog.OWNER_STATE).become({(stage,): n for stage, n in condition.owned.items()})
        measurements.number(catalog.OWNER_FENCES).become({(): condition.fenced})
        measurements.number(catalog.INDEX_LAG).become({(): condition.behind})
        measurements.number(catalog.VOID_RECORDS).become({(): condition.void})
    if store.application.has_read_models:
        _note_lag(await store.lag(), measurements)
        parked = Counter(letter.name for letter in await store.dead_letters.list())
        measurements.number(catalog.DEAD_LETTERS).become({(name,): count for name, count in parked.items()})


def _note_lag(lags: list[Lag], measurements: Measurements) -> None:
    live = [lag for lag in lags if lag.state != "building"]
    measurements.number(catalog.LAG_EVENTS).become({(lag.name, lag.partition): lag.events for lag in live})
    measurements.number(catalog.LAG_SECONDS).become({(lag.name, lag.partition): lag.seconds for lag in live})
    states = Counter((lag.name, lag.state) for lag in lags)
    measurements.number(catalog.PROJECTION_STATE).become({(name, str(state)): n for (name, state), n in states.items()})
    done: Counter[str] = Counter()
    wanted: Counter[str] = Counter()
    for lag in lags:
        if lag.state == "building":
            done[lag.name] += lag.position
            wanted[lag.name] += lag.end
    progress: dict[Labels, float] = {(name,): done[name] / end if end else 1.0 for name, end in wanted.items()}
    measurements.number(catalog.REBUILD_PROGRESS).become(progress)
