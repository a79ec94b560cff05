"""Telling what is done to positions: announced with the commit on PostgreSQL, noticed in the file on SQLite."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any, Final, TypeAlias

from sqlalchemy import ColumnElement, String, func, literal_column, select
from sqlalchemy import cast as sql_cast
from sqlalchemy.ext.asyncio import AsyncConnection

from eventstore.core.checkpoints import Checkpoint
from eventstore.core.records import Partition
from eventstore.ports import Move
from eventstore.sql.columns import POSTGRESQL
from eventstore.sql.engines import Engines
from eventstore.sql.schema import checkpoints

_HEARTBEAT: Final = 5.0
"""Seconds after which somebody who was told nothing looks for themselves."""

_POLL: Final = 0.004
# A channel per table: applications may share a database in schemas of their own, and the names in it.
_CHANNEL: Final = "eventstore_moves_"
_TABLE: Final = f"'{checkpoints.name}'::regclass::oid"

_SQLITE_POSITIONS: Final = (
    "SELECT name, version, partition, next_offset, failure_since FROM eventstore_checkpoints "
    "UNION ALL SELECT name, version, '', changed_at, NULL FROM eventstore_projections"
)
_Seen: TypeAlias = dict[tuple[str, int, Partition], tuple[int, object]]


def announcement(after: Checkpoint) -> ColumnElement[Any]:
    """Give what an `UPDATE` of a position on PostgreSQL returns so that its commit is told to everybody."""
    move = json.dumps([after.name, after.version, after.partition, after.next_offset])
    table: ColumnElement[int] = literal_column(f"{checkpoints.name}.tableoid")
    return func.pg_notify(func.concat(_CHANNEL, sql_cast(table, String)), move)


async def announce_look(connection: AsyncConnection) -> None:
    """Have everybody look at `statuses` when the transaction is committed."""
    if connection.dialect.name == POSTGRESQL:
        await connection.execute(select(func.pg_notify(func.concat(_CHANNEL, literal_column(_TABLE)), "")))


def changes(engines: Engines) -> AsyncGenerator[Move | None, None]:
    """Tell what is done to positions; see `QueryStore.changes`."""
    return _announced(engines) if engines.dialect == POSTGRESQL else _noticed(engines)


class _Inbox:
    """What was announced and not told yet: at most one move per position."""

    def __init__(self) -> None:
        self._moves: dict[tuple[str, int, Partition], Move] = {}
        self._look = False
        self._arrived: Final = asyncio.Event()
        self._lost = False

    def put(self, *announced: Any) -> None:
        """Take an announcement: asyncpg's connection, process id, channel and payload."""
        payload = announced[-1]
        if payload:
            move = Move(*json.loads(payload))
            self._moves[move.name, move.version, move.partition] = move
        else:
            self._look = True
        self._arrived.set()

    def end(self, _connection: object) -> None:
        """Take note that nothing will arrive any more."""
        self._lost = True
        self._arrived.set()

    async def take(self) -> list[Move | None]:
        """Give what has arrived, at least one.

        Raises:
            ConnectionError: The connection was lost.
        """
        await self._arrived.wait()
        self._arrived.clear()
        if self._lost:
            message = "the connection that listens was lost"
            raise ConnectionError(message)
        taken: list[Move | None] = [*self._moves.values(), *([None] if self._look else [])]
        self._moves, self._look = {}, False
        return taken


async def _announced(engines: Engines) -> AsyncGenerator[Move | None, None]:
    """Listen on a connection of its own, and make sure every few seconds that it is alive."""
    inbox = _Inbox()
    async with engines.apart() as connection:
        connection.add_termination_listener(inbox.end)
        table = await connection.fetchval(f"SELECT {_TABLE}")
        await connection.add_listener(f"{_CHANNEL}{table}", inbox.put)
        yield None
        while True:
            try:
                async with asyncio.timeout(_HEARTBEAT):
                    taken = await inbox.take()
            except TimeoutError:
                await connection.fetchval("SELECT 1", timeout=_HEARTBEAT)
                taken = [None]
            for move in taken:
                yield move


async def _noticed(engines: Engines) -> AsyncGenerator[Move | None, None]:
    """Ask SQLite every few milliseconds whether anybody has committed: one number in shared memory, no disk."""
    loop = asyncio.get_running_loop()
    async with engines.apart() as connection:
        version, seen = await _data_version(connection), await _positions(connection)
        looked = loop.time()
        yield None
        while True:
            await asyncio.sleep(_POLL)
            found = await _data_version(connection)
            if found != version:
                version, before, seen = found, seen, await _positions(connection)
                for move in _differences(before, seen):
                    yield move
            if loop.time() - looked > _HEARTBEAT:
                looked = loop.time()
                yield None


async def _data_version(connection: Any) -> int:
    ((version,),) = await connection.execute_fetchall("PRAGMA data_version")
    return int(version)


async def _positions(connection: Any) -> _Seen:
    rows = await connection.execute_fetchall(_SQLITE_POSITIONS)
    return {(name, version, partition): (offset, failed) for name, version, partition, offset, failed in rows}


def _differences(before: _Seen, after: _Seen) -> list[Move | None]:
    """Give the moves between two looks, or None if something else happened."""
    for key, (_, failed) in after.items():
        is_version = not key[2]
        if key not in before or before[key][1] != failed or (is_version and before[key] != after[key]):
            return [None]
    if len(after) < len(before):
        return [None]
    return [Move(*key, offset) for key, (offset, _) in after.items() if before[key][0] != offset]
