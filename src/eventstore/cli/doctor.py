"""`doctor`: is everything as it should be, and if not, what to do."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from eventstore.cli.cluster import examine_brokers, examine_groups, examine_traffic, kafka_log_of
from eventstore.cli.database import disk, examine_database
from eventstore.cli.findings import Finding, Limits, report
from eventstore.cli.loading import Session
from eventstore.cli.running import run, session_of
from eventstore.cli.topics import examine, upkeep_of
from eventstore.core.errors import EventSchemaError, EventStoreError
from eventstore.core.records import from_micros
from eventstore.prepared import unprepared
from eventstore.store import EventStore

_SAMPLE = 1_000


def doctor(
    context: typer.Context,
    min_free: Annotated[float, typer.Option(min=0, help="Gigabytes that have to be free on each disk.")] = 1.0,
    max_skew: Annotated[float, typer.Option(min=0, help="Seconds that two clocks may differ.")] = 1.0,
) -> None:
    """Check everything that the application depends on, and say what to do about what is wrong.

    The log, its events, topics, brokers and consumer groups, the database, disks, clocks and read models.
    """
    session = session_of(context)

    run(report(session.output, _examine(session, Limits(min_free * 1e9, max_skew))))


async def _examine(session: Session, limits: Limits) -> AsyncGenerator[Finding]:
    store = session.store().with_settings(serve=False, workers=False)
    application = store.application
    yield Finding(
        "ok",
        "application",
        f"{len(application.aggregates)} aggregates, {len(application.projections)} projections, "
        f"{len(application.processes)} process managers, {len(application.registry.classes)} event types",
    )
    if not store.log.exists():
        yield Finding("warn", "log", "there is none yet; it is created by the first application that opens it")
        return
    try:
        if (log := kafka_log_of(store)) is not None:
            async for finding in examine_brokers(log, limits):
                yield finding
        unsafe = False
        async for finding in _foundations(store, limits):
            unsafe |= finding.result == "fail"
            yield finding
        if not unsafe:  # else opening would be refused, or create what is missing
            async for finding in _inside(store):
                yield finding
    except EventStoreError as error:
        yield Finding("fail", "open", str(error))
    path = getattr(unprepared(store.log), "path", None)
    if isinstance(path, Path):
        yield disk(path, limits)


async def _foundations(store: EventStore, limits: Limits) -> AsyncGenerator[Finding]:
    """Look at what the store stands on before it is opened."""
    if (upkeep := upkeep_of(store)) is not None:
        async for finding in examine(upkeep):
            yield finding
    if store.application.has_read_models:
        async for finding in examine_database(store, limits):
            yield finding


async def _inside(store: EventStore) -> AsyncGenerator[Finding]:
    """Open the store and look around."""
    async with store:
        yield await _integrity(store)
        async for finding in _events(store):
            yield finding
        async for finding in _read_models(store):
            yield finding
        if (log := kafka_log_of(store)) is not None:
            statuses = await store.statuses() if store.application.has_read_models else []
            async for finding in examine_groups(log, store, statuses):
                yield finding
            async for finding in examine_traffic(log, store):
                yield finding


async def _integrity(store: EventStore) -> Finding:
    verdict = await store.log.check()
    return Finding("ok" if verdict == "ok" else "fail", "log", f"{store.log.log_id}: {verdict}")


async def _events(store: EventStore) -> AsyncGenerator[Finding]:
    """Decode the newest events of every partition, and compare their time with the clock."""
    for partition, end in (await store.log.ends()).items():
        page = await store.log.read(partition, max(end - _SAMPLE, 0), _SAMPLE)
        try:
            for event in page.events:
                if event.erased:
                    continue
                store.application.registry.decode(event)
        except EventSchemaError as error:
            yield Finding("fail", "events", str(error))
            continue
        yield Finding("ok", "events", f"the newest {len(page.events):,} of partition {partition} can be decoded")
        if page.events and from_micros(page.events[-1].occurred_at) > datetime.now(UTC):
            yield Finding("warn", "clock", "the newest event is from the future: set this machine's clock, or wait")


async def _read_models(store: EventStore) -> AsyncGenerator[Finding]:
    if not store.application.has_read_models:
        return
    for status in await store.statuses():
        for position in status.positions:
            if position.failure is not None:
                failure = position.failure
                found = f"v{status.version} halted at {failure.place}: {failure.cause}. {failure.remedy}"
                yield Finding("fail", status.name, found)
        if status.state != "building" and not any(position.failure for position in status.positions):
            moved = sum(position.checkpoint.event_count for position in status.positions)
            yield Finding("ok", status.name, f"v{status.version} is {status.state}, {moved:,} events processed")
        elif status.state == "building":
            finish = f"v{status.version} is being built; finish with: eventstore rebuild {status.name}"
            yield Finding("warn", status.name, finish)
    for lag in await store.lag():
        if lag.state == "stalled":
            where = f"v{lag.version} partition {lag.partition}"
            behind = f"{where} is {lag.events:,} events behind, and nobody moves it: start eventstore worker"
            yield Finding("warn", lag.name, behind)
    letters = await store.dead_letters.list()
    if letters:
        yield Finding("warn", "dead letters", f"{len(letters):,} parked: see eventstore dead-letters")
