"""Threads that own SQLite connections: one that writes, a few that read."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Final, TypeVar

from eventstore.core.errors import StoreClosedError
from eventstore.wal import switch_to_wal

T = TypeVar("T")
_CACHE_KIB: Final = 8 * 1024  # per connection; more only copies what the system caches already


def connect(path: Path, busy_timeout: float) -> sqlite3.Connection:
    """Open a connection that survives power loss once a commit has returned.

    `synchronous=FULL` in WAL mode syncs the log at every commit (https://www.sqlite.org/pragma.html#pragma_synchronous).

    Args:
        path: The file.
        busy_timeout: Seconds to wait for another process's lock.

    Returns:
        A connection in autocommit mode.

    Raises:
        sqlite3.Error: It cannot be opened.
    """
    connection = sqlite3.connect(path, timeout=busy_timeout, isolation_level=None, check_same_thread=False)
    try:
        switch_to_wal(connection.execute, busy_timeout)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    except BaseException:
        connection.close()
        raise
    return connection


class ConnectionPool:
    """Runs functions on threads, each with a connection of its own; one thread is a serial executor.

    Args:
        open_connection: Makes a connection.
        size: How many threads and connections.
        name: Prefix of the threads' names.
    """

    def __init__(self, open_connection: Callable[[], sqlite3.Connection], size: int, name: str) -> None:
        self._open: Final = open_connection
        self._size: Final = size
        self._name: Final = name
        self._free: SimpleQueue[sqlite3.Connection] = SimpleQueue()
        self._opened = 0
        self._threads: ThreadPoolExecutor | None = None

    async def start(self) -> None:
        """Open the connections.

        Raises:
            sqlite3.Error: One cannot be opened; none stays open.
        """
        self._threads = ThreadPoolExecutor(self._size, thread_name_prefix=self._name)
        try:
            for _ in range(self._size):
                await asyncio.get_running_loop().run_in_executor(self._threads, self._open_one)
        except BaseException:
            await self.close()
            raise

    def _open_one(self) -> None:
        self._free.put(self._open())
        self._opened += 1

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on a thread with a connection; when cancelled, it still runs to its end.

        Raises:
            StoreClosedError: The pool is not open.
        """
        if self._threads is None:
            message = "the log is not open: use it inside `async with`"
            raise StoreClosedError(message)
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._with_connection, work)

    def _with_connection(self, work: Callable[[sqlite3.Connection], T]) -> T:
        # As many connections as threads, so this never waits.
        connection = self._free.get()
        try:
            return work(connection)
        finally:
            self._free.put(connection)

    async def close(self) -> None:
        """Wait for running work, then close connections and threads."""
        threads, self._threads = self._threads, None
        if threads is None:
            return
        # On a thread of the pool, so that the loop stays free while the others finish what they do.
        closing = asyncio.get_running_loop().run_in_executor(threads, self._close_connections)
        try:
            await asyncio.shield(closing)
        finally:
            threads.shutdown(wait=True)

    def _close_connections(self) -> None:
        while self._opened:
            self._free.get().close()
            self._opened -= 1
