"""Positions: who moves which partition of which version, and how far it is."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, and_, cast, or_, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from eventstore.core.checkpoints import Checkpoint, Failure, PositionStatus
from eventstore.core.completeness import EMPTY_HASH
from eventstore.core.errors import OwnershipLostError
from eventstore.core.records import from_micros, to_micros
from eventstore.ports import Clock
from eventstore.sql.changes import announce_look, announcement
from eventstore.sql.columns import POSTGRESQL
from eventstore.sql.engines import shown_name
from eventstore.sql.schema import checkpoints

_MICROS: Final = 1_000_000
_STANDSTILL_SECONDS: Final = 1.0


def _is(position: Checkpoint) -> ColumnElement[bool]:
    table = checkpoints.c
    return and_(table.name == position.name, table.version == position.version, table.partition == position.partition)


async def claim(
    connection: AsyncConnection, clock: Clock, wanted: Checkpoint, lease: float, *, force: bool
) -> Checkpoint | None:
    """Become the owner of a position unless another owner's lease still runs.

    Args:
        connection: In a transaction.
        clock: For the lease.
        wanted: Which position, with the new owner.
        lease: Seconds.
        force: Claim even though the lease runs.

    Returns:
        The position as it stands, or None.
    """
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    start: dict[str, Any] = {
        "name": wanted.name, "version": wanted.version, "partition": wanted.partition, "next_offset": 0,
        "event_count": 0, "event_hash": EMPTY_HASH, "owner": "", "lease": lease,
    }  # fmt: skip
    if force and dialect is postgresql:
        await _end_standing_transactions(connection, wanted)
    await connection.execute(dialect.insert(checkpoints).values(start).on_conflict_do_nothing())
    now = to_micros(clock.now())
    table = checkpoints.c
    free = or_(table.owner.in_(("", wanted.owner)), table.lease_until.is_(None), table.lease_until <= now)
    taken = (
        update(checkpoints)
        .where(_is(wanted))
        .values(owner=wanted.owner, lease=lease, lease_until=now + int(lease * _MICROS))
        .returning(table.next_offset, table.event_count, table.event_hash)
    )
    found = (await connection.execute(taken if force else taken.where(free))).one_or_none()
    if found is None:
        return None
    next_offset, event_count, event_hash = found
    return replace(wanted, next_offset=next_offset, event_count=event_count, event_hash=event_hash)


async def _end_standing_transactions(connection: AsyncConnection, wanted: Checkpoint) -> None:
    """End what the former owner's process has begun and does not go on with: it holds locks on rows.

    Were it only slow, it would find its transaction gone, and what was in it is done again by whoever has the position.
    """
    former = (await connection.execute(select(checkpoints.c.owner).where(_is(wanted)))).scalar()
    process = (former or "").partition("/")[0]
    if process and process != wanted.owner.partition("/")[0]:
        await connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = :process"
                " AND datname = current_database() AND usename = current_user AND state = 'idle in transaction'"
                " AND state_change < clock_timestamp() - make_interval(secs => :seconds)"
            ),
            {"process": shown_name(process), "seconds": _STANDSTILL_SECONDS},
        )


async def release(connection: AsyncConnection, position: Checkpoint) -> None:
    """Let others claim a position at once, if it is still this owner's."""
    mine = update(checkpoints).where(_is(position), checkpoints.c.owner == position.owner)
    await connection.execute(mine.values(owner="", lease_until=None))


async def advance(connection: AsyncConnection, clock: Clock, before: Checkpoint, after: Checkpoint) -> None:
    """Move a position by compare-and-set, and renew its lease.

    Raises:
        OwnershipLostError: It is no longer where it was, or no longer this owner's.
    """
    table = checkpoints.c
    now = to_micros(clock.now())
    moving = (
        update(checkpoints)
        .where(
            _is(before),
            table.owner == before.owner,
            table.next_offset == before.next_offset,
            table.event_count == before.event_count,
        )
        .values(
            next_offset=after.next_offset,
            event_count=after.event_count,
            event_hash=after.event_hash,
            lease_until=now + cast(table.lease * _MICROS, BigInteger),
            moved_at=now,
        )
    )
    told = announcement(after) if connection.dialect.name == POSTGRESQL else table.name
    if (await connection.execute(moving.returning(told))).one_or_none() is None:
        message = (
            f"{before.name} v{before.version} partition {before.partition} is no longer moved by {before.owner} "
            f"from {before.next_offset}: another worker has taken over, nothing was written"
        )
        raise OwnershipLostError(message)


async def report(connection: AsyncConnection, position: Checkpoint, failure: Failure | None) -> None:
    """Keep why a position stands still, or that it moves again."""
    await connection.execute(
        update(checkpoints)
        .where(_is(position))
        .values(
            failure_place=failure.place if failure else None,
            failure_cause=failure.cause if failure else None,
            failure_remedy=failure.remedy if failure else None,
            failure_since=to_micros(failure.since) if failure else None,
        )
    )
    await announce_look(connection)


def position_status(row: Any) -> PositionStatus:
    """Read a position with everything known about it."""
    failure = None
    if row.failure_place is not None:
        failure = Failure(row.failure_place, row.failure_cause, row.failure_remedy, from_micros(row.failure_since))
    position = Checkpoint(
        row.name, row.version, row.partition, row.next_offset, row.event_count, bytes(row.event_hash), row.owner
    )
    return PositionStatus(position, _moment(row.lease_until), _moment(row.moved_at), failure)


def _moment(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)
