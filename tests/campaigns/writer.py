"""A process that writes commands and says which were acknowledged, until it ends or is killed.

`python -m tests.campaigns.writer FILE create|append|checkpoint|load`
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from contextlib import closing, suppress
from uuid import uuid4

from eventstore import CommandRejectedError, EventStore, SqliteLog
from eventstore.core.errors import EventStoreError
from tests.write.domain import Count, Counter, CountUpTo

LIMIT = 40


def say(*words: object) -> None:
    """Write a line that is out of this process once the call returns."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def count(store: EventStore, name: str, size: int = 2, note: str = "") -> None:
    key = uuid4()
    say("sent", key, name, size)
    try:
        await store.execute(Counter, name, Count(times=size, note=note), command_id=key)
    except EventStoreError as error:
        say("error", key, type(error).__name__)
    else:
        say("done", key)


async def refuse(store: EventStore, name: str) -> None:
    key = uuid4()
    try:
        await store.execute(Counter, name, CountUpTo(limit=-1), command_id=key)
    except CommandRejectedError:
        say("rejected", key)
    except EventStoreError as error:
        say("error", key, type(error).__name__)


def checkpoint(path: str) -> None:
    """Copy the write-ahead log into the file, as SQLite does by itself when it has grown."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(path, timeout=1)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


async def work(path: str, workload: str) -> None:
    try:
        async with EventStore(SqliteLog(path, busy_timeout=1), aggregates=[Counter]) as store:
            match workload:
                case "create":
                    await count(store, "a")
                case "append":
                    await count(store, "a")
                    await asyncio.gather(*(count(store, name) for name in "abcab"), refuse(store, "a"))
                case "checkpoint":
                    for _ in range(3):
                        await count(store, "a", note="x" * 10_000)
                        checkpoint(path)
                case _:
                    for turn in range(1_000_000):
                        await asyncio.gather(*(count(store, str(n % 5), size=1 + n % 3) for n in range(16)))
                        await refuse(store, str(turn % 5))
    except EventStoreError as error:
        say("closed", "-", type(error).__name__)


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], sys.argv[2]))
