"""Rebuilds: one process at a time builds a version, and everybody sees how far it is."""

from __future__ import annotations

import json
from dataclasses import astuple
from typing import Any, Final, cast

from sqlalchemy import and_, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from eventstore.core.definitions import SubscriptionDefinition
from eventstore.core.errors import OwnershipLostError
from eventstore.core.rebuilds import Phase, RebuildStatus, Span
from eventstore.core.records import from_micros, to_micros
from eventstore.ports import Clock
from eventstore.sql.schema import rebuilds

_MICROS: Final = 1_000_000


async def hold(
    connection: AsyncConnection, clock: Clock, definition: SubscriptionDefinition, rebuild: RebuildStatus, lease: float
) -> None:
    """Be the one who rebuilds a version; see `QueryStore.hold_rebuild`."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    now, table = to_micros(clock.now()), rebuilds.c
    values: dict[str, Any] = {
        "runner": rebuild.runner, "since": to_micros(rebuild.since), "lease_until": now + int(lease * _MICROS),
        "phase": rebuild.phase, "shared": rebuild.shared, "batch_size": rebuild.batch_size,
        "throttle": rebuild.throttle, "cpu_share": rebuild.cpu_share, "rate": rebuild.rate,
        "spans": json.dumps({partition: astuple(span) for partition, span in rebuild.spans.items()}),
    }  # fmt: skip
    free = or_(table.runner == rebuild.runner, table.lease_until.is_(None), table.lease_until <= now)
    statement = dialect.insert(rebuilds).values(name=definition.name, version=definition.version, **values)
    held = await connection.execute(
        statement.on_conflict_do_update(index_elements=["name", "version"], set_=values, where=free).returning(
            table.runner
        )
    )
    if held.one_or_none() is None:
        raise await _taken(connection, definition, lease)


async def _taken(connection: AsyncConnection, definition: SubscriptionDefinition, lease: float) -> OwnershipLostError:
    other = (await connection.execute(select(rebuilds).where(_is(definition)))).one()
    return OwnershipLostError(
        f"{definition.label} is being rebuilt by {other.runner} since {from_micros(other.since):%Y-%m-%d %H:%M:%S} UTC: "
        f"wait for it, or stop it and try again in {lease:g} s"
    )


async def let_go(connection: AsyncConnection, definition: SubscriptionDefinition, runner: str) -> None:
    """Let others rebuild a version at once, if it is still this runner's."""
    mine = update(rebuilds).where(_is(definition), rebuilds.c.runner == runner)
    await connection.execute(mine.values(lease_until=None, shared=False))


def rebuild_status(row: Any, clock: Clock) -> RebuildStatus | None:
    """Read a rebuild from a row that may have none."""
    if row.runner is None:
        return None
    return RebuildStatus(
        row.runner,
        from_micros(row.since),
        row.lease_until is not None and row.lease_until > to_micros(clock.now()),
        cast("Phase", row.phase),
        bool(row.shared),
        {partition: Span(*span) for partition, span in json.loads(row.spans).items()},
        row.batch_size,
        row.throttle,
        row.cpu_share,
        row.rate,
    )


def _is(definition: SubscriptionDefinition) -> Any:
    return and_(rebuilds.c.name == definition.name, rebuilds.c.version == definition.version)
