"""What `execute` promises when ids collide, callers give up, the store closes, or the log has defects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import field_serializer

from eventstore import Aggregate, Command, Event, EventStore, Settings, SqliteLog, decides, evolves
from eventstore.core.errors import (
    EventSchemaError,
    InvalidIdError,
    LogUnavailableError,
    StoreClosedError,
    UnencodableEventError,
)
from eventstore.environment import Environment
from eventstore.ports import CommitOutcome, EventLog, StreamCommit
from eventstore.testing.clock import ManualClock
from eventstore.testing.faults import FaultyLog
from eventstore.testing.memory import MemoryLog
from tests.write.domain import Count, Counted, Counter, CountUpTo, Remembered


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


class DefectiveLog(MemoryLog):
    """A log with a bug."""

    async def commit(self, partition: str, commits: Sequence[StreamCommit]) -> Sequence[CommitOutcome]:
        raise ZeroDivisionError


async def test_a_defect_of_the_log_is_named_to_every_caller_and_whoever_closes_the_store() -> None:
    store = await store_of(DefectiveLog(partitions=1)).__aenter__()
    for _ in range(2):
        with pytest.raises(StoreClosedError) as refusal:
            await asyncio.wait_for(store.execute(Counter, "a", Count()), 5)
        assert isinstance(refusal.value.__cause__, ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        await store.__aexit__(None, None, None)


@pytest.mark.parametrize("method", ["commit", "read_to_fold", "find_commands"])
async def test_a_closing_that_is_given_up_answers_who_still_waits(log: EventLog, method: str) -> None:
    faulty = FaultyLog(log)
    store = await store_of(faulty).__aenter__()
    faulty.fail(method, "hang")
    stuck = asyncio.ensure_future(store.execute(Counter, "a", Count(), command_id=UUID(int=7)))
    await asyncio.sleep(0.02)
    closing = asyncio.ensure_future(store.__aexit__(None, None, None))
    await asyncio.sleep(0.02)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    with pytest.raises(StoreClosedError, match="repeat it with the same command_id"):
        await stuck
    async with store_of(log) as again:
        assert (await again.execute(Counter, "a", Count(), command_id=UUID(int=7))).version == 1


@asynccontextmanager
async def stuck_behind_a_commit(log: EventLog, **settings: Any) -> AsyncGenerator[tuple[EventStore, FaultyLog]]:
    """A store whose group commit writes to stream `first` until the log is released."""
    faulty = FaultyLog(log)
    async with store_of(faulty, **settings) as store:
        faulty.fail("commit", "hang")
        first = asyncio.ensure_future(store.execute(Counter, "first", Count()))
        await asyncio.sleep(0.02)
        yield store, faulty
        faulty.released.set()
        await first


async def test_repeats_of_a_command_whose_first_caller_gave_up_are_executed_once(tmp_path: Path) -> None:
    async with stuck_behind_a_commit(SqliteLog(tmp_path / "log.db")) as (store, faulty):
        faulty.fail("find_commands", "hang")
        calls = [asyncio.ensure_future(store.execute(Counter, "a", Count(), command_id=UUID(int=7))) for _ in range(3)]
        await asyncio.sleep(0.02)
        calls[0].cancel()
        faulty.released.set()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        history = await store.history(Counter, "a")
    assert isinstance(answers[0], asyncio.CancelledError)
    assert answers[1] == answers[2]
    assert len(history) == 1


async def test_more_commands_than_fit_a_batch_are_decided_in_order_behind_a_commit(log: EventLog) -> None:
    async with stuck_behind_a_commit(log) as (store, faulty):
        calls = [asyncio.ensure_future(store.execute(Counter, "first", Count())) for _ in range(1_200)]
        await asyncio.sleep(0.02)
        faulty.released.set()
        versions = [done.version for done in await asyncio.gather(*calls)]
    assert versions == list(range(2, 1_202))


async def test_large_events_are_spread_over_batches_and_keep_their_order(log: EventLog) -> None:
    async with store_of(log) as store:
        done = await asyncio.gather(*(store.execute(Counter, "a", Count(note="x" * 900_000)) for _ in range(40)))
        assert [one.version for one in done] == list(range(1, 41))


async def test_a_caller_that_waits_for_room_is_refused_when_the_store_closes() -> None:
    faulty = FaultyLog(MemoryLog(partitions=1))
    # Time stands still: so many commands take a busy machine longer than one of them may wait.
    store = await store_of(faulty, environment=Environment(clock=ManualClock())).__aenter__()
    faulty.fail("commit", "hang")
    calls = [asyncio.ensure_future(store.execute(Counter, "a", Count())) for _ in range(10_001)]
    await asyncio.sleep(0.02)
    closing = asyncio.ensure_future(store.__aexit__(None, None, None))
    await asyncio.sleep(0)
    faulty.released.set()
    await closing
    *accepted, waiting = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(waiting, StoreClosedError)
    assert not [answer for answer in accepted if isinstance(answer, BaseException)]


async def test_commands_that_cannot_be_looked_up_fail_and_the_others_go_on(log: EventLog) -> None:
    faulty = FaultyLog(log)
    async with store_of(faulty) as store:
        faulty.fail("find_commands", "refuse")
        answers = await asyncio.gather(
            store.execute(Counter, "a", Count(), command_id=UUID(int=7)),
            store.execute(Counter, "a", Count()),
            return_exceptions=True,
        )
    assert [type(answer).__name__ for answer in answers] == ["LogUnavailableError", "Committed"]


async def test_a_stream_that_cannot_be_read_now_fails_its_command_and_works_again_later(log: EventLog) -> None:
    faulty = FaultyLog(log)
    async with store_of(faulty) as store:
        faulty.fail("read_to_fold", "refuse")
        with pytest.raises(LogUnavailableError):
            await store.execute(Counter, "a", Count())
        assert (await store.execute(Counter, "a", Count())).version == 1


async def test_snapshots_that_cannot_be_written_cost_a_warning_and_nothing_else(log: EventLog, caplog: Any) -> None:
    faulty = FaultyLog(log)
    faulty.fail("write_snapshots", "refuse")
    async with store_of(faulty) as store:
        assert (await store.execute(Remembered, "a", Count(times=7))).version == 7
    assert "1 snapshots could not be written" in caplog.text
    async with store_of(log) as store:
        assert (await store.load(Remembered, "a")).total == 7


async def test_a_stream_of_several_pages_is_loaded_whole_and_as_of_any_point(log: EventLog) -> None:
    clock = ManualClock()
    async with store_of(log, environment=Environment(clock=clock)) as store:
        await store.execute(Counter, "a", Count(times=1_000))
        await store.execute(Counter, "a", Count(times=700))
        await clock.advance(60)
        await store.execute(Counter, "a", Count(times=800))
    async with store_of(log) as store:
        assert (await store.load(Counter, "a", at=2_100)).total == 2_100
        assert (await store.load(Counter, "a", at=datetime(2026, 1, 1, 0, 0, 30, tzinfo=UTC))).total == 1_700
        assert (await store.load(Counter, "a")).total == 2_500


class Odd(Event, type="odd.happened"):
    number: int = 0

    @field_serializer("number")
    def unreadable(self, number: int) -> str:
        return "nothing that reads back" if number else "0"


class Happen(Command):
    number: int = 0


class OddOne(Aggregate, category="counter"):
    @decides
    def happen(self, command: Happen) -> Odd:
        return Odd(number=command.number)

    @evolves
    def happened(self, event: Odd) -> None:
        pass


async def test_an_event_that_could_never_be_read_back_is_not_written(log: EventLog) -> None:
    async with EventStore(log, aggregates=[OddOne]) as store:
        with pytest.raises(UnencodableEventError, match=r"could not be read back: .* Nothing was written"):
            await store.execute(OddOne, "a", Happen(number=1))
        assert await store.history(OddOne, "a") == []


async def test_a_first_result_that_the_code_cannot_read_is_an_error_of_its_repetition(log: EventLog) -> None:
    async with EventStore(log, aggregates=[OddOne]) as store:
        await store.execute(OddOne, "a", Happen(), command_id=UUID(int=7))
    async with store_of(log) as store:
        with pytest.raises(EventSchemaError, match="odd.happened at counter-a version 1"):
            await store.execute(Counter, "a", Count(), command_id=UUID(int=7))


class Fragile(Aggregate, category="counter"):
    @decides
    def count(self, command: Count) -> Counted:
        return Counted(by=command.by)

    @evolves
    def counted(self, event: Counted) -> None:
        if event.by == 0:
            raise ZeroDivisionError


class Dividing(Aggregate, category="counter"):
    total: int = 0

    @decides
    def count(self, command: Count) -> Counted:
        return Counted(by=1 // (1 - self.total))

    @decides
    def count_up_to(self, command: CountUpTo) -> Counted:
        return next(iter([]))

    @evolves
    def counted(self, event: Counted) -> None:
        self.total += event.by


async def test_what_the_domain_raises_is_never_based_on_a_stale_state(tmp_path: Path) -> None:
    path = tmp_path / "shared.db"
    async with EventStore(SqliteLog(path), aggregates=[Dividing]) as one, store_of(SqliteLog(path)) as other:
        await one.execute(Dividing, "a", Count())
        with pytest.raises(ZeroDivisionError) as failure:
            await one.execute(Dividing, "a", Count())
        assert failure.value.__notes__ == ["raised while Count was decided on counter-a at version 1"]
        await other.execute(Counter, "a", Count(by=-1))
        # `one` remembers a total of 1, which would fail again.
        assert (await one.execute(Dividing, "a", Count())).version == 3


async def test_a_domain_that_raises_what_no_future_takes_does_not_end_the_work(log: EventLog) -> None:
    async with EventStore(log, aggregates=[Dividing]) as store:
        with pytest.raises(RuntimeError, match="StopIteration"):
            await store.execute(Dividing, "a", CountUpTo(limit=1))
        assert (await store.execute(Dividing, "a", Count())).version == 1


async def test_an_event_that_cannot_be_applied_names_its_place_and_the_rule(log: EventLog) -> None:
    async with store_of(log) as store:
        await store.execute(Counter, "a", Count(by=0))
    async with EventStore(log, aggregates=[Fragile]) as store:
        with pytest.raises(EventSchemaError, match=r"counter-a version 1: .*ZeroDivisionError.*@evolves must not fail"):
            await store.execute(Fragile, "a", Count())


async def test_an_event_of_another_aggregate_in_the_stream_names_what_is_missing(log: EventLog) -> None:
    async with EventStore(log, aggregates=[OddOne]) as store:
        await store.execute(OddOne, "a", Happen())

    class Knowing(Aggregate, category="odd"):
        @decides
        def happen(self, command: Happen) -> Odd:
            return Odd()

        @evolves
        def happened(self, event: Odd) -> None:
            pass

    async with EventStore(log, aggregates=[Counter, Knowing]) as store:
        with pytest.raises(EventSchemaError, match=r"counter-a version 1: .*no @evolves method takes it: add one"):
            await store.load(Counter, "a")
