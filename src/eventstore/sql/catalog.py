"""The catalogue of projection versions: their tables, their states, and the views that readers query."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from sqlalchemy import Text, and_, delete, insert, inspect, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from eventstore.core.checkpoints import SubscriptionStatus, VersionState
from eventstore.core.definitions import SubscriptionDefinition
from eventstore.core.errors import ConfigurationError, OwnershipLostError
from eventstore.core.records import Partition, from_micros, to_micros
from eventstore.ports import Clock
from eventstore.sql.changes import announce_look
from eventstore.sql.columns import POSTGRESQL
from eventstore.sql.positions import position_status
from eventstore.sql.rebuilds import rebuild_status
from eventstore.sql.schema import checkpoints, dead_letters, deadlines, projections, rebuilds
from eventstore.sql.statements import quoted
from eventstore.sql.tables import digest, physical_tables

# Any number that nobody else uses: serialises registration and switches among processes on PostgreSQL.
_ADVISORY_LOCK: Final = 0x65767374


@dataclass(frozen=True, slots=True)
class Relation:
    """A table of a version.

    Attributes:
        table: Its physical name.
        digest: Of its definition.
        key: Its key columns.
        texts: Those of them that are texts, which PostgreSQL has to be told to sort by code point.
    """

    table: str
    digest: str
    key: tuple[str, ...]
    texts: tuple[str, ...]


async def lock(connection: AsyncConnection) -> None:
    """Be the only one who changes the catalogue until the transaction ends."""
    if connection.dialect.name == POSTGRESQL:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})


async def register(connection: AsyncConnection, clock: Clock, definition: SubscriptionDefinition, log_id: str) -> None:
    """Make a version known; see `QueryStore.register`."""
    await lock(connection)
    known = await _row(connection, definition.name, definition.version)
    wanted = _relations(definition, connection.dialect.name)
    if known is not None:
        _check_known(definition, known, log_id, wanted)
        return
    others = await connection.execute(select(projections.c.log_id).where(projections.c.name == definition.name))
    logs = set(others.scalars())
    if logs - {log_id}:
        raise _other_log(definition)
    await _create_tables(connection, definition, wanted, first=not logs)
    if not logs:
        await _create_views(connection, wanted)
    await connection.execute(
        insert(projections).values(
            name=definition.name,
            version=definition.version,
            state="building" if logs else "live",
            fingerprint=definition.fingerprint,
            log_id=log_id,
            changed_at=to_micros(clock.now()),
            relations=_written(wanted),
        )
    )
    await announce_look(connection)


def _check_known(definition: SubscriptionDefinition, known: Any, log_id: str, wanted: Mapping[str, Relation]) -> None:
    if known.log_id != log_id:
        raise _other_log(definition)
    if known.fingerprint != definition.fingerprint or _read(known.relations) != wanted:
        message = (
            f"{definition.label} has changed since its tables were built: write version={definition.version + 1} in "
            f"the class statement and run eventstore rebuild {definition.name}. If the change cannot lead to other "
            f"rows: eventstore projections accept {definition.name}"
        )
        raise ConfigurationError(message)


def _other_log(definition: SubscriptionDefinition) -> ConfigurationError:
    return ConfigurationError(
        f"this query store holds {definition.name} of another event log: use another query store, or remove that "
        "one's tables; its positions mean nothing here"
    )


async def accept(connection: AsyncConnection, definition: SubscriptionDefinition) -> None:
    """Take the definition's fingerprint; see `QueryStore.accept`."""
    wanted = _relations(definition, connection.dialect.name)
    known = await _row(connection, definition.name, definition.version)
    if known is None:
        raise _unknown(definition.name, definition.version)
    if _read(known.relations) != wanted:
        message = f"{definition.label}: its tables themselves have changed, which cannot be accepted: raise the version"
        raise ConfigurationError(message)
    await connection.execute(
        update(projections)
        .where(projections.c.name == definition.name, projections.c.version == definition.version)
        .values(fingerprint=definition.fingerprint)
    )


async def statuses(connection: AsyncConnection, clock: Clock, name: str | None) -> list[SubscriptionStatus]:
    """Give every known version with its positions and its rebuild, by name and version."""
    same = and_(projections.c.name == rebuilds.c.name, projections.c.version == rebuilds.c.version)
    known = select(projections, *(column for column in rebuilds.c if column.name not in ("name", "version")))
    versions = known.outerjoin_from(projections, rebuilds, same).order_by(projections.c.name, projections.c.version)
    positions = select(checkpoints).order_by(checkpoints.c.name, checkpoints.c.version, checkpoints.c.partition)
    if name is not None:
        versions = versions.where(projections.c.name == name)
        positions = positions.where(checkpoints.c.name == name)
    rows = (await connection.execute(positions)).all()
    by_version = {
        key: tuple(position_status(row) for row in group)
        for key, group in groupby(rows, key=lambda row: (row.name, row.version))
    }
    return [
        SubscriptionStatus(
            row.name,
            row.version,
            row.state,
            row.fingerprint,
            from_micros(row.changed_at),
            by_version.get((row.name, row.version), ()),
            rebuild_status(row, clock),
        )
        for row in (await connection.execute(versions)).all()
    ]


async def relations(connection: AsyncConnection, name: str, version: int) -> dict[str, Relation]:
    """Give a version's tables by the name that readers query.

    Raises:
        ConfigurationError: The version is unknown.
    """
    known = await _row(connection, name, version)
    if known is None:
        raise _unknown(name, version)
    return _read(known.relations)


async def switch(
    connection: AsyncConnection,
    clock: Clock,
    definition: SubscriptionDefinition,
    not_behind: Mapping[Partition, int] | None,
) -> None:
    """Make a version live; see `QueryStore.switch`."""
    await lock(connection)
    known = await statuses(connection, clock, definition.name)
    new = next((status for status in known if status.version == definition.version), None)
    if new is None:
        raise _unknown(definition.name, definition.version)
    old = next((status for status in known if status.state == "live"), None)
    if new is old:
        return
    if old is not None:
        if not_behind is not None:
            await _check_not_behind(connection, old, not_behind)
        for relation in await relations(connection, old.name, old.version):
            await connection.execute(text(f"DROP VIEW {quoted(relation)}"))
        await _set_state(connection, clock, old, "retired")
    await _create_views(connection, await relations(connection, new.name, new.version))
    await _set_state(connection, clock, new, "live")
    await announce_look(connection)


async def _check_not_behind(
    connection: AsyncConnection, live: SubscriptionStatus, reached: Mapping[Partition, int]
) -> None:
    """Hold the live version's positions still until the transaction ends, and compare."""
    held = select(checkpoints.c.partition, checkpoints.c.next_offset).where(
        checkpoints.c.name == live.name, checkpoints.c.version == live.version
    )
    for partition, next_offset in (await connection.execute(held.with_for_update())).all():
        if next_offset > reached.get(partition, 0):
            message = f"{live.name} v{live.version} has moved on to {next_offset} in partition {partition}: catch up"
            raise OwnershipLostError(message)


async def drop(connection: AsyncConnection, name: str, version: int) -> None:
    """Remove a version; see `QueryStore.drop`."""
    await lock(connection)
    known = await _row(connection, name, version)
    if known is None:
        raise _unknown(name, version)
    if known.state == "live":
        message = f"{name} v{version} is live: switch to another version first"
        raise ConfigurationError(message)
    for relation in _read(known.relations).values():
        await connection.execute(text(f"DROP TABLE {quoted(relation.table)}"))
    for table in (checkpoints, deadlines, dead_letters, rebuilds, projections):
        await connection.execute(delete(table).where(table.c.name == name, table.c.version == version))
    await announce_look(connection)


async def _set_state(
    connection: AsyncConnection, clock: Clock, status: SubscriptionStatus, state: VersionState
) -> None:
    await connection.execute(
        update(projections)
        .where(projections.c.name == status.name, projections.c.version == status.version)
        .values(state=state, changed_at=to_micros(clock.now()))
    )


async def _create_tables(
    connection: AsyncConnection, definition: SubscriptionDefinition, wanted: Mapping[str, Relation], *, first: bool
) -> None:
    names: Sequence[str] = await connection.run_sync(
        lambda sync: [*inspect(sync).get_table_names(), *inspect(sync).get_view_names()]
    )
    new = {relation.table for relation in wanted.values()} | ({*wanted} if first else set[str]())
    taken = sorted(new & set(names))
    if taken:
        message = (
            f"{definition.label} needs the names {', '.join(taken)}, which other tables or views in this database "
            "have: rename the projection, or give the read models a database of their own"
        )
        raise ConfigurationError(message)
    for table in physical_tables(definition).values():
        await connection.run_sync(table.create)


async def _create_views(connection: AsyncConnection, wanted: Mapping[str, Relation]) -> None:
    for name, relation in wanted.items():
        await connection.execute(text(f"CREATE VIEW {quoted(name)} AS SELECT * FROM {quoted(relation.table)}"))  # noqa: S608


async def _row(connection: AsyncConnection, name: str, version: int) -> Any:
    query = select(projections).where(projections.c.name == name, projections.c.version == version)
    return (await connection.execute(query)).one_or_none()


def _relations(definition: SubscriptionDefinition, dialect: str) -> dict[str, Relation]:
    return {
        name: Relation(
            table.name,
            digest(table, dialect),
            tuple(column.name for column in table.primary_key),
            tuple(column.name for column in table.primary_key if isinstance(column.type, Text)),
        )
        for name, table in physical_tables(definition).items()
    }


def _written(wanted: Mapping[str, Relation]) -> str:
    return json.dumps({name: [r.table, r.digest, r.key, r.texts] for name, r in wanted.items()})


def _read(stored: str) -> dict[str, Relation]:
    return {
        name: Relation(table, fingerprint, tuple(key), tuple(texts))
        for name, (table, fingerprint, key, texts) in json.loads(stored).items()
    }


def _unknown(name: str, version: int) -> ConfigurationError:
    return ConfigurationError(f"{name} v{version} is not known to this query store: see eventstore projections")
