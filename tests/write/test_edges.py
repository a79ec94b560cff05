"""What `execute` promises when ids collide, callers give up, the store closes, or the log has defects."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from eventstore import EventStore, Settings, SqliteLog
from eventstore.core.errors import InvalidIdError, StoreClosedError
from eventstore.ports import EventLog
from eventstore.testing.faults import FaultyLog
from eventstore.testing.memory import MemoryLog
from tests.write.domain import Count, Counter, CountUpTo, Remembered


@pytest.fixture(params=["sqlite", "memory"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> EventLog:
    return SqliteLog(tmp_path / "log.db") if request.param == "sqlite" else MemoryLog()


def store_of(log: EventLog, **settings: Any) -> EventStore:
    return EventStore(log, aggregates=[Counter, Remembered], settings=Settings(**settings))


async def test_a_command_id_used_for_two_streams_at_once_is_accepted_for_one(log: EventLog) -> None:
    async with store_of(log) as store:
        answers = await asyncio.gather(
            *(store.execute(Counter, name, Count(), command_id=UUID(int=7)) for name in "abcdef"),
            return_exceptions=True,
        )
        written = [len(await store.history(Counter, name)) for name in "abcdef"]
    assert sum(isinstance(answer, InvalidIdError) for answer in answers) == 5
    assert written == [0 if isinstance(answer, InvalidIdError) else 1 for answer in answers]


async def test_a_refused_use_of_a_command_id_leaves_it_to_another_stream(log: EventLog) -> None:
    async with store_of(log) as store:
        refused, done = await asyncio.gather(
            store.execute(Counter, "a", CountUpTo(limit=0), command_id=UUID(int=7)),
            store.execute(Counter, "b", Count(), command_id=UUID(int=7)),
            return_exceptions=True,
        )
        assert type(refused).__name__ == "CommandRejectedError"
        assert done == await store.execute(Counter, "b", Count(), command_id=UUID(int=7))


async def test_no_partition_begins_to_work_while_the_store_is_closing() -> None:
    faulty = FaultyLog(MemoryLog(partitions=8))
    store = await store_of(faulty).__aenter__()
    faulty.fail("commit", "hang")
    accepted = asyncio.ensure_future(store.execute(Counter, "a", Count()))
    await asyncio.sleep(0.01)
    closing = asyncio.ensure_future(store.__aexit__(None, None, None))
    await asyncio.sleep(0)
    for name in "bcdefgh":
        with pytest.raises(StoreClosedError, match="takes no more commands"):
            await store.execute(Counter, name, Count())
    faulty.released.set()
    await closing
    assert (await accepted).version == 1
