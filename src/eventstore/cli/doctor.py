"""`doctor`: is everything as it should be, and if not, what to do."""

from __future__ import annotations

import shutil
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import typer

from eventstore.cli.findings import Finding, report
from eventstore.cli.loading import Session
from eventstore.cli.running import run, session_of
from eventstore.cli.topics import examine, upkeep_of
from eventstore.core.errors import EventSchemaError, EventStoreError
from eventstore.core.records import from_micros
from eventstore.prepared import unprepared
from eventstore.store import EventStore

_LEAST_FREE_BYTES = 1_000_000_000
_SAMPLE = 1_000


def doctor(context: typer.Context) -> None:
    """Check the application, the log, its events, the disk, the clock and the read models."""
    session = session_of(context)

    run(report(session.output, _examine(session)))


async def _examine(session: Session) -> AsyncGenerator[Finding]:
    store = session.store().with_settings(workers=False)
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
        if (upkeep := upkeep_of(store)) is not None:
            unsafe = False
            async for finding in examine(upkeep):
                unsafe |= finding.result == "fail"
                yield finding
            if unsafe:
                return  # opening would be refused, or create what is missing
        async with store:
            yield await _integrity(store)
            async for finding in _events(store):
                yield finding
            async for finding in _read_models(store):
                yield finding
    except EventStoreError as error:
        yield Finding("fail", "open", str(error))
    path = getattr(unprepared(store.log), "path", None)
    if isinstance(path, Path):
        free = shutil.disk_usage(path.parent).free
        result: Literal["ok", "warn"] = "ok" if free >= _LEAST_FREE_BYTES else "warn"
        yield Finding(
            result, "disk", f"{free / 1e9:,.1f} GB free beside {path.name}, {path.stat().st_size:,} bytes used"
        )


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
    letters = await store.dead_letters.list()
    if letters:
        yield Finding("warn", "dead letters", f"{len(letters):,} parked: see eventstore dead-letters")
