"""What `doctor` finds out about the database that keeps the read models."""

from __future__ import annotations

import shutil
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING

from eventstore.cli.findings import Finding, Limits
from eventstore.core.errors import EventStoreError
from eventstore.store import EventStore

if TYPE_CHECKING:
    from eventstore.sql.inspection import DatabaseState, Slot

_CHECK = "query store"


async def examine_database(store: EventStore, limits: Limits) -> AsyncGenerator[Finding]:
    """Yield findings about the query store, which is opened by itself.

    Args:
        store: The application; it need not be open.
        limits: What is still fine.
    """
    from eventstore.sql.inspection import look_at  # noqa: PLC0415 - SQLAlchemy only when it is used
    from eventstore.sql.store import SqlQueryStore  # noqa: PLC0415

    try:
        place = store.query_store()
        if not isinstance(place, SqlQueryStore):
            yield Finding("ok", _CHECK, f"{type(place).__name__} is the application's own, so it is not looked at")
            return
        async with place:
            state = await look_at(place, store.application.definitions, store.settings.environment.clock)
    except EventStoreError as error:
        yield Finding("fail", _CHECK, str(error))
        return
    for finding in _of_database(state, limits):
        yield finding
    if state.file is not None:
        yield disk(state.file, limits)
    for slot in state.slots:
        yield _of_slot(slot)


def _of_database(state: DatabaseState, limits: Limits) -> list[Finding]:
    wrong = [
        Finding("fail", _CHECK, f"{state.label}: {difference}: drop that version and build it anew: eventstore rebuild")
        for difference in state.differences
    ]
    if state.read_only:
        found = f"{state.label} takes no writes: name the primary instead of a standby, or end its read-only mode"
        wrong.append(Finding("fail", _CHECK, found))
    if abs(state.ahead) > limits.skew_seconds:
        which = "ahead of" if state.ahead > 0 else "behind"
        found = f"the clock of {state.label} is {abs(state.ahead):,.1f} s {which} this machine's: have both set by NTP"
        wrong.append(Finding("warn", _CHECK, found))
    return wrong or [
        Finding("ok", _CHECK, f"{state.label}: {state.server}, {state.used_bytes / 1e6:,.1f} MB, tables as expected")
    ]


def _of_slot(slot: Slot) -> Finding:
    check, kept = f"slot {slot.name}", f"{slot.kept_bytes / 1e6:,.1f} MB of write-ahead log are kept for it"
    if slot.lost:
        found = "the database has given up what was still to be read: drop the slot, make it anew, and carry over what is missing"
        return Finding("fail", check, found)
    if not slot.active:
        found = f"nobody reads it, and {kept}, until the disk is full: start its connector, or drop it"
        return Finding("warn", check, found)
    return Finding("ok", check, f"somebody reads it; {kept}")


def disk(path: Path, limits: Limits) -> Finding:
    """Tell how much room there is beside a file."""
    free = shutil.disk_usage(path.parent).free
    text = f"{free / 1e9:,.1f} GB free beside {path.name}, {path.stat().st_size:,} bytes used"
    if free >= limits.free_bytes:
        return Finding("ok", "disk", text)
    return Finding("warn", "disk", f"{text}: make room; nothing can be written when it is full")
