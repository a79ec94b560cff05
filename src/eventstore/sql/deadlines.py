"""Deadlines of process managers' states, found by time; the states themselves say which still count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from pydantic import ConfigDict, TypeAdapter
from sqlalchemy import and_, bindparam, delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from eventstore.core.definitions import SubscriptionDefinition
from eventstore.core.reactions import Deadline
from eventstore.core.records import Partition, from_micros, to_micros
from eventstore.core.rows import Key
from eventstore.sql.columns import POSTGRESQL
from eventstore.sql.schema import deadlines

_KEYS: Final = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")


async def set_deadlines(
    connection: AsyncConnection, definition: SubscriptionDefinition, changes: Mapping[Key, Deadline | None]
) -> None:
    """Keep deadlines; see `QueryTransaction.set_deadlines`."""
    keys = _keys(definition)
    written = {key: keys.dump_json(key).decode() for key in changes}
    off = [{"off": written[key]} for key, deadline in changes.items() if deadline is None]
    if off:
        which = and_(_is(definition), deadlines.c.key == bindparam("off"))
        await connection.execute(delete(deadlines).where(which), off)
    new = [
        {
            "name": definition.name,
            "version": definition.version,
            "key": written[key],
            "due": to_micros(deadline.due),
            "partition": deadline.partition,
            "event_id": deadline.event_id.bytes,
            "correlation_id": deadline.correlation_id.bytes,
        }
        for key, deadline in changes.items()
        if deadline is not None
    ]
    if new:
        dialect = postgresql if connection.dialect.name == POSTGRESQL else sqlite
        insert = dialect.insert(deadlines)
        rest = {name: insert.excluded[name] for name in ("due", "partition", "event_id", "correlation_id")}
        await connection.execute(
            insert.on_conflict_do_update(index_elements=["name", "version", "key"], set_=rest), new
        )


async def passed(
    connection: AsyncConnection, definition: SubscriptionDefinition, partition: Partition, until: datetime, limit: int
) -> Sequence[Deadline]:
    """Give deadlines that have passed; see `QueryStore.deadlines`."""
    table, keys = deadlines.c, _keys(definition)
    query = (
        select(table.key, table.due, table.event_id, table.correlation_id)
        .where(_is(definition), table.partition == partition, table.due <= to_micros(until))
        .order_by(table.due)
        .limit(limit)
    )
    return [
        Deadline(
            keys.validate_json(key), from_micros(due), partition, UUID(bytes=bytes(event)), UUID(bytes=bytes(first))
        )
        for key, due, event, first in (await connection.execute(query)).all()
    ]


def _is(definition: SubscriptionDefinition) -> Any:
    return and_(deadlines.c.name == definition.name, deadlines.c.version == definition.version)


def _keys(definition: SubscriptionDefinition) -> TypeAdapter[Any]:
    assert definition.row is not None  # noqa: S101 - a manager with states
    types = tuple(definition.row.model_fields[field].annotation for field in definition.key)
    key_type: Any = tuple.__class_getitem__(types)
    return TypeAdapter(key_type, config=_KEYS)
