"""Connections: one writer and some readers for SQLite, a pool for PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from eventstore.core.errors import ConfigurationError
from eventstore.sql.columns import SQLITE
from eventstore.wal import switch_to_wal

_READERS: Final = 4
_POOL: Final = 5
_BUSY_SECONDS: Final = 30.0
_LONGEST_NAME: Final = 63


class Engines:
    """Begins transactions: those that write and those that see one moment without holding up writers.

    Args:
        where: A file, or a URL of SQLAlchemy's for SQLite or PostgreSQL.
        standstill: Seconds after which PostgreSQL ends a writing transaction in which nothing happens: a process that
            stands still in the middle of one holds locks that whoever takes over waits for.
        name: What PostgreSQL shows as the name of who is connected.

    Raises:
        ConfigurationError: The address names no supported database, or its driver is missing.
    """

    def __init__(self, where: str, standstill: float, name: str) -> None:
        url = _url(where)
        self.label: Final = url.render_as_string(hide_password=True) if url.host else str(url.database or where)
        self.dialect: Final[str] = url.get_backend_name()
        self._url: Final = url
        if self.dialect == SQLITE:
            self._check_directory(url)
            self._writing = _sqlite_engine(url, 1, "BEGIN IMMEDIATE")
            self._reading = _sqlite_engine(url, _READERS, "BEGIN")
            # SQLite has one write lock per file: queueing here is fair, polling for it is not.
            self._turn: asyncio.Lock | None = asyncio.Lock()
        else:
            self._writing = create_async_engine(
                url,
                pool_size=_POOL,
                max_overflow=_POOL,
                pool_pre_ping=True,
                connect_args={"server_settings": {"application_name": shown_name(name)}},
            )
            self._reading = self._writing.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            self._turn = None
        self._limit: Final = f"SET LOCAL idle_in_transaction_session_timeout = {int(standstill * 1000)}"

    @asynccontextmanager
    async def writing(self) -> AsyncGenerator[AsyncConnection, None]:
        """Begin a transaction that may write; commits when the block ends, rolls back when it raises."""
        if self._turn is None:
            async with self._writing.begin() as connection:
                await connection.exec_driver_sql(self._limit)
                yield connection
        else:
            async with self._turn, self._writing.begin() as connection:
                yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[AsyncConnection, None]:
        """Begin a transaction whose reads all see the moment of the first one."""
        async with self._reading.begin() as connection:
            yield connection

    @asynccontextmanager
    async def apart(self) -> AsyncGenerator[Any]:
        """Give a connection of the driver itself, outside of pools and transactions; closed when the block ends."""
        sqlite = self.dialect == SQLITE
        engine = _sqlite_engine(self._url, 1, "BEGIN") if sqlite else create_async_engine(self._url, poolclass=NullPool)
        try:
            async with engine.connect() as connection:
                yield (await connection.get_raw_connection()).driver_connection
        finally:
            await engine.dispose()

    async def close(self) -> None:
        """Close every connection."""
        await self._writing.dispose()
        if self._turn is not None:
            await self._reading.dispose()

    @staticmethod
    def _check_directory(url: URL) -> None:
        if not url.database or url.database == ":memory:":
            message = "name a file for the read models: an SQLite database in memory is seen by one connection only"
            raise ConfigurationError(message)
        path = Path(url.database)
        if path.is_dir():
            message = f"{path} is a directory: name a file for the read models"
            raise ConfigurationError(message)
        if not path.parent.is_dir():
            message = f"{path}: the directory {path.parent} does not exist: create it first"
            raise ConfigurationError(message)


def shown_name(name: str) -> str:
    """Give what PostgreSQL makes of a name: it cuts long ones off."""
    return name.encode()[:_LONGEST_NAME].decode(errors="ignore")


def _url(where: str) -> URL:
    if "://" not in where:
        return URL.create("sqlite+aiosqlite", database=where)
    try:
        url = make_url(where)
    except ArgumentError as cause:
        message = "the query store's address cannot be read: give a file, or postgresql://user:password@host/database"
        raise ConfigurationError(message) from cause
    match url.get_backend_name():
        case "sqlite":
            return url.set(drivername="sqlite+aiosqlite")
        case "postgresql":
            if find_spec("asyncpg") is None:
                message = "PostgreSQL needs its driver: pip install 'eventstore[postgres]'"
                raise ConfigurationError(message)
            return url.set(drivername="postgresql+asyncpg")
        case other:
            message = f"read models cannot be kept in {other}: give a file, or a postgresql:// URL"
            raise ConfigurationError(message)


def _sqlite_engine(url: URL, connections: int, begin: str) -> AsyncEngine:
    """Make an engine whose transactions begin as told, instead of at the driver's discretion.

    `synchronous=NORMAL` may lose the newest transactions at a power cut, whole and in order: the position goes back
    with the rows, and the worker applies the events again (https://www.sqlite.org/pragma.html#pragma_synchronous).
    """
    engine = create_async_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        connect_args={"timeout": _BUSY_SECONDS, "isolation_level": None},
    )

    def on_connect(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        switch_to_wal(cursor.execute, _BUSY_SECONDS)
        cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.close()

    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine.sync_engine, "connect", on_connect)
    event.listen(engine.sync_engine, "begin", on_begin)
    return engine
