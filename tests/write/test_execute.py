"""What `execute` and `load` promise, on the embedded log and on one with several partitions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from eventstore import (
    NEW,
    AppendOutcomeUnknownError,
    CommandRejectedError,
    ConfigurationError,
    EventStore,
    Settings,
    SqliteLog,
    Token,
    WrongExpectedVersionError,
)
from eventstore.core.errors import (
    InvalidIdError,
    LogUnavailableError,
    StoreClosedError,
    UnencodableEventError,
)
from eventstore.core.records import Partition
from eventstore.environment import Environment
from eventstore.ports import CommitOutcome, EventLog, StreamCommit
from eventstore.testing.clock import ManualClock
from eventstore.testing.faults import FaultyLog
from eventstore.testing.memory import MemoryLog
from eventstore.write.pending import Committed
from tests.write.domain import Count, Counted, Counter, CountUpTo, Fail, Remembered


@pytest.fixture(params=["sqlite", "memory"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> EventLog:
    return SqliteLog(tmp_path / "log.db") if request.param == "sqlite" else MemoryLog()


def store_of(log: EventLog, **settings: Any) -> EventStore:
    return EventStore(log, aggregates=[Counter, Remembered], settings=Settings(**settings))


async def versions(store: EventStore, name: str) -> list[int]:
    return [at.version for _, at in await store.history(Counter, name)]


async def test_a_command_answers_with_its_events_version_and_token(log: EventLog) -> None:
    async with store_of(log) as store:
        done = await store.execute(Counter, "a", Count(by=2, times=3))
        assert (done.version, done.events) == (3, (Counted(by=2),) * 3)
        assert done.token == Token({key: end for key, end in (await log.ends()).items() if key in done.token.positions})


async def test_a_state_is_the_fold_of_its_events_after_a_restart(log: EventLog) -> None:
    async with store_of(log) as store:
        await store.execute(Counter, "a", Count(by=2, times=3))
        await store.execute(Counter, "a", Count(by=5))
    async with store_of(log) as store:
        counter = await store.load(Counter, "a")
    assert (counter.total, counter.version, counter.id, counter.exists) == (11, 4, "a", True)


async def test_an_aggregate_without_events_is_in_its_initial_state(log: EventLog) -> None:
    async with store_of(log) as store:
        counter = await store.load(Counter, "nobody")
    assert (counter.total, counter.version, counter.exists) == (0, 0, False)


async def test_a_loaded_aggregate_is_the_callers_own(log: EventLog) -> None:
    async with store_of(log) as store:
        await store.execute(Counter, "a", Count())
        (await store.load(Counter, "a")).total = 99
        assert (await store.load(Counter, "a")).total == 1


async def test_a_rejected_command_writes_nothing_and_names_its_stream(log: EventLog) -> None:
    async with store_of(log) as store:
        await store.execute(Counter, "a", Count())
        with pytest.raises(CommandRejectedError, match=r"the limit is reached \(CountUpTo on counter-a\)") as refusal:
            await store.execute(Counter, "a", CountUpTo(limit=1))
        assert refusal.value.code == "limit"
        assert await versions(store, "a") == [1]


async def test_a_bug_in_the_domain_reaches_its_caller_alone(log: EventLog) -> None:
    async with store_of(log) as store:
        answers = await asyncio.gather(
            store.execute(Counter, "a", Count()),
            store.execute(Counter, "a", Fail()),
            store.execute(Counter, "a", Count()),
            return_exceptions=True,
        )
        assert [type(answer).__name__ for answer in answers] == ["Committed", "ZeroDivisionError", "Committed"]
        assert await versions(store, "a") == [1, 2]


async def test_a_command_that_leads_to_nothing_answers_with_the_version(log: EventLog) -> None:
    async with store_of(log) as store:
        await store.execute(Counter, "a", Count())
        assert (await store.execute(Counter, "a", Count(times=0)))[:3] == (1, (), Token({}))


@pytest.mark.parametrize("expected", [NEW, 2])
async def test_another_version_than_expected_is_refused(log: EventLog, expected: int) -> None:
    async with store_of(log) as store:
        await store.execute(Counter, "a", Count())
        with pytest.raises(WrongExpectedVersionError) as conflict:
            await store.execute(Counter, "a", Count(), expected_version=expected)
        assert (conflict.value.expected, conflict.value.actual) == (expected, 1)
        assert await versions(store, "a") == [1]


async def test_the_expected_version_lets_exactly_one_of_many_through(log: EventLog) -> None:
    async with store_of(log) as store:
        answers = await asyncio.gather(
            *(store.execute(Counter, "a", Count(), expected_version=NEW) for _ in range(20)), return_exceptions=True
        )
    assert sum(not isinstance(answer, WrongExpectedVersionError) for answer in answers) == 1


async def test_many_callers_of_one_aggregate_are_all_served_in_some_order(log: EventLog) -> None:
    async with store_of(log) as store:
        done = await asyncio.gather(*(store.execute(Counter, "a", Count()) for _ in range(300)))
        assert sorted(answer.version for answer in done) == list(range(1, 301))
        assert (await store.load(Counter, "a")).total == 300


async def test_a_repeated_command_gets_the_first_result_even_after_a_restart(log: EventLog) -> None:
    key = uuid4()
    async with store_of(log) as store:
        first = await store.execute(Counter, "a", Count(by=2, times=2), command_id=key)
        await store.execute(Counter, "a", Count())
        assert await store.execute(Counter, "a", Count(by=2, times=2), command_id=str(key)) == first
    async with store_of(log) as store:
        assert await store.execute(Counter, "a", Count(by=2, times=2), command_id=key) == first
        assert await versions(store, "a") == [1, 2, 3]


async def test_repeats_at_the_same_time_share_one_answer(log: EventLog) -> None:
    async with store_of(log) as store:
        done = await asyncio.gather(*(store.execute(Counter, "a", Count(), command_id=UUID(int=7)) for _ in range(20)))
        assert {answer.version for answer in done} == {1}
        assert await versions(store, "a") == [1]


async def test_a_command_id_cannot_be_used_for_another_stream(log: EventLog) -> None:
    async with store_of(log) as store:
        await store.execute(Counter, "a", Count(), command_id=UUID(int=7))
        with pytest.raises(InvalidIdError, match="was used for counter-a already"):
            await store.execute(Counter, "b", Count(), command_id=UUID(int=7))


async def test_event_ids_are_the_same_for_the_same_command(log: EventLog) -> None:
    async with store_of(log) as store:
        await store.execute(Counter, "a", Count(times=2), command_id=UUID(int=7))
        ids = [at.event_id for _, at in await store.history(Counter, "a")]
    async with store_of(MemoryLog()) as other:
        await other.execute(Counter, "a", Count(times=2), command_id=UUID(int=7))
        assert [at.event_id for _, at in await other.history(Counter, "a")] == ids


async def test_correlation_follows_what_caused_a_command(log: EventLog) -> None:
    async with store_of(log) as store:
        await store.execute(Counter, "a", Count(), command_id=UUID(int=1))
        ((_, first),) = await store.history(Counter, "a")
        await store.execute(Counter, "b", Count(), command_id=UUID(int=2), caused_by=first)
        await store.execute(Counter, "c", Count(), command_id=UUID(int=3), caused_by=UUID(int=99))
        ((_, second),) = await store.history(Counter, "b")
        ((_, third),) = await store.history(Counter, "c")
    assert first.metadata == (UUID(int=1), UUID(int=1))
    assert second.metadata == (UUID(int=1), UUID(int=2))
    assert third.metadata == (UUID(int=99), UUID(int=3))


async def test_time_within_a_stream_never_goes_back(log: EventLog) -> None:
    clock = ManualClock()
    async with store_of(log, environment=Environment(clock=clock)) as store:
        await store.execute(Counter, "a", Count())
        clock._elapsed = -3600
        await store.execute(Counter, "a", Count())
        (_, first), (_, second) = await store.history(Counter, "a")
    assert second.occurred_at == first.occurred_at


async def test_an_aggregate_can_be_loaded_as_of_a_version_or_time(log: EventLog) -> None:
    clock = ManualClock()
    async with store_of(log, environment=Environment(clock=clock)) as store:
        for _ in range(3):
            await store.execute(Counter, "a", Count())
            await clock.advance(60)
        start = datetime(2026, 1, 1, tzinfo=UTC)
        assert (await store.load(Counter, "a", at=2)).total == 2
        assert (await store.load(Counter, "a", at=0)).total == 0
        assert (await store.load(Counter, "a", at=start + timedelta(seconds=90))).total == 2
        assert (await store.load(Counter, "a", at=start - timedelta(seconds=1))).exists is False
        with pytest.raises(WrongExpectedVersionError):
            await store.load(Counter, "a", at=4)


@pytest.mark.parametrize("at", [-1, datetime(2026, 1, 1)])  # noqa: DTZ001
async def test_a_meaningless_point_in_the_past_is_refused(log: EventLog, at: Any) -> None:
    async with store_of(log) as store:
        with pytest.raises(InvalidIdError, match="at="):
            await store.load(Counter, "a", at=at)


HOSTILE_IDS = ["", "a b", "a/b", "../x", "a\0b", "é", "x" * 65, "a'--", "a\n", None, 7, "%2e"]


@pytest.mark.parametrize("name", HOSTILE_IDS)
async def test_hostile_ids_are_refused_before_anything_is_read_or_written(log: EventLog, name: Any) -> None:
    async with store_of(log) as store:
        with pytest.raises(InvalidIdError, match="is no id for a counter"):
            await store.execute(Counter, name, Count())
        with pytest.raises(InvalidIdError):
            await store.load(Counter, name)


@pytest.mark.parametrize("key", ["", "7", "g" * 32, 7])
async def test_a_malformed_command_id_is_refused(log: EventLog, key: Any) -> None:
    async with store_of(log) as store:
        with pytest.raises(InvalidIdError, match="is no command id"):
            await store.execute(Counter, "a", Count(), command_id=key)


async def test_a_negative_expected_version_is_refused(log: EventLog) -> None:
    async with store_of(log) as store:
        with pytest.raises(InvalidIdError, match="expected_version=-1"):
            await store.execute(Counter, "a", Count(), expected_version=-1)


@pytest.mark.parametrize("note", ["x" * 10_000_000, "\ud800"])
async def test_an_event_that_cannot_be_stored_fails_alone(log: EventLog, note: str) -> None:
    async with store_of(log) as store:
        bad = Count.model_construct(by=1, times=1, note=note)
        answers = await asyncio.gather(
            store.execute(Counter, "a", Count()),
            store.execute(Counter, "a", bad),
            store.execute(Counter, "a", Count()),
            return_exceptions=True,
        )
        assert [isinstance(answer, UnencodableEventError) for answer in answers] == [False, True, False]
        assert "Nothing was written" in str(answers[1])


async def test_too_many_events_of_one_command_are_refused(log: EventLog) -> None:
    async with store_of(log) as store:
        with pytest.raises(UnencodableEventError, match="1,001 events and the limit is 1,000"):
            await store.execute(Counter, "a", Count(times=1_001))
        await store.execute(Counter, "a", Count(times=1_000))


async def test_a_command_that_takes_too_many_bytes_fails_alone(log: EventLog) -> None:
    async with store_of(log) as store:
        answers = await asyncio.gather(
            store.execute(Counter, "a", Count(note="x" * 990_000, times=8)),
            store.execute(Counter, "a", Count(note="x" * 990_000, times=9)),
            store.execute(Counter, "a", Count()),
            return_exceptions=True,
        )
        assert [type(answer) for answer in answers] == [Committed, UnencodableEventError, Committed]
        assert "Count on counter-a led to events of more than 8,000,000 bytes" in str(answers[1])
        assert await versions(store, "a") == [*range(1, 10)]


async def test_a_batch_and_its_last_command_fit_a_brokers_batch() -> None:
    class Measured(MemoryLog):
        sizes: list[int] = []

        async def commit(self, partition: Partition, commits: Sequence[StreamCommit]) -> Sequence[CommitOutcome]:
            self.sizes.append(sum(len(event.envelope) + 512 for commit in commits for event in commit.events))
            return await super().commit(partition, commits)

    log = Measured(partitions=1)
    async with store_of(log) as store:
        large = Count(note="x" * 900_000, times=6)
        await asyncio.gather(*(store.execute(Counter, str(n), large) for n in range(6)))
    assert len(log.sizes) > 1
    assert 8_000_000 < max(log.sizes) < 16_000_000


async def test_an_unregistered_aggregate_is_refused(log: EventLog) -> None:
    async with EventStore(log, aggregates=[Remembered]) as store:
        with pytest.raises(ConfigurationError, match="Counter is not registered"):
            await store.execute(Counter, "a", Count())


async def test_a_command_without_handler_is_refused(log: EventLog) -> None:
    async with store_of(log) as store:
        with pytest.raises(ConfigurationError, match="Remembered has no @decides method for Fail"):
            await store.execute(Remembered, "a", Fail())


async def test_a_store_that_is_not_open_says_so(log: EventLog) -> None:
    store = store_of(log)
    for _ in range(2):
        with pytest.raises(StoreClosedError, match="async with"):
            await store.execute(Counter, "a", Count())
        async with store:
            await store.execute(Counter, "a", Count())


async def test_closing_answers_every_accepted_command(log: EventLog) -> None:
    async with store_of(log) as store:
        under_way = [asyncio.ensure_future(store.execute(Counter, str(n % 7), Count())) for n in range(200)]
        await asyncio.sleep(0)
    answers = await asyncio.gather(*under_way, return_exceptions=True)
    async with store_of(log) as store:
        written = sum([len(await versions(store, str(n))) for n in range(7)])
    assert written == sum(not isinstance(answer, BaseException) for answer in answers)
    assert all(isinstance(answer, StoreClosedError) for answer in answers if isinstance(answer, BaseException))


async def test_a_refused_commit_is_reported_and_the_next_command_works(log: EventLog) -> None:
    faulty = FaultyLog(log)
    async with store_of(faulty) as store:
        await store.execute(Counter, "a", Count())
        faulty.fail("commit", "refuse")
        with pytest.raises(LogUnavailableError):
            await store.execute(Counter, "a", Count())
        assert (await store.execute(Counter, "a", Count())).version == 2


async def test_a_lost_answer_is_resolved_by_repeating_with_the_same_id(log: EventLog) -> None:
    faulty = FaultyLog(log)
    async with store_of(faulty) as store:
        faulty.fail("commit", "lose answer")
        with pytest.raises(AppendOutcomeUnknownError) as unknown:
            await store.execute(Counter, "a", Count())
        (key,) = unknown.value.command_ids
        assert (await store.execute(Counter, "a", Count(), command_id=key)).version == 1
        assert await versions(store, "a") == [1]


async def test_a_caller_that_gives_up_harms_nobody(log: EventLog) -> None:
    faulty = FaultyLog(log)
    async with store_of(faulty) as store:
        faulty.fail("commit", "hang")
        stuck = asyncio.ensure_future(store.execute(Counter, "a", Count()))
        await asyncio.sleep(0.01)
        waiting = asyncio.ensure_future(store.execute(Counter, "a", Count()))
        await asyncio.sleep(0.01)
        stuck.cancel()
        with suppress(asyncio.CancelledError):
            await stuck
        faulty.released.set()
        assert (await waiting).version == 2


async def test_a_command_is_given_up_at_its_deadline(log: EventLog) -> None:
    clock = ManualClock()
    faulty = FaultyLog(log)
    async with store_of(faulty, environment=Environment(clock=clock)) as store:
        faulty.fail("commit", "hang")
        first = asyncio.ensure_future(store.execute(Counter, "a", Count()))
        await asyncio.sleep(0.01)
        late = asyncio.ensure_future(store.execute(Counter, "a", Count(), timeout=1))
        await asyncio.sleep(0)
        await clock.advance(2)
        faulty.released.set()
        await first
        with pytest.raises(LogUnavailableError, match="waited for its turn until its deadline"):
            await late


async def test_a_stream_that_cannot_be_read_fails_only_its_own_commands(log: EventLog) -> None:
    async with EventStore(log, aggregates=[Remembered]) as store:
        await store.execute(Remembered, "good", Count())

    from eventstore import Aggregate, Command, Event, decides, evolves

    class Other(Event, type="counter.other"):
        pass

    class MakeOther(Command):
        pass

    class Stranger(Aggregate, category="counter"):
        @decides
        def make(self, command: MakeOther) -> Other:
            return Other()

        @evolves
        def made(self, event: Other) -> None:
            pass

    async with EventStore(log, aggregates=[Stranger]) as store:
        await store.execute(Stranger, "bad", MakeOther())
    async with store_of(log) as store:
        answers = await asyncio.gather(
            *(store.execute(Counter, name, Count()) for name in ("good", "bad", "fine")), return_exceptions=True
        )
    assert [type(answer).__name__ for answer in answers] == ["Committed", "UnknownEventTypeError", "Committed"]
    assert "counter.other at counter-bad version 1" in str(answers[1])


async def test_snapshots_shorten_a_load_and_are_ignored_when_the_code_changed(log: EventLog) -> None:
    async with store_of(log) as store:
        await store.execute(Remembered, "a", Count(times=7))
    async with log:
        kept = await log.read_snapshots(["remembered-a"])
        assert kept["remembered-a"].version == 7
        await log.write_snapshots({"remembered-a": kept["remembered-a"]._replace(state=b'{"total":1000}')})
    async with store_of(log) as store:
        assert (await store.load(Remembered, "a")).total == 1000
    async with log:
        await log.write_snapshots({"remembered-a": kept["remembered-a"]._replace(fingerprint="older", state=b"{}")})
    async with store_of(log) as store:
        assert (await store.load(Remembered, "a")).total == 7


async def test_a_cache_of_no_size_changes_no_result(log: EventLog) -> None:
    async with store_of(log, cache_size=0) as store:
        for _ in range(3):
            await asyncio.gather(*(store.execute(Counter, name, Count()) for name in "abcab"))
        assert (await store.load(Counter, "a")).total == 6


async def test_two_stores_on_one_file_arbitrate_every_version(tmp_path: Path) -> None:
    path = tmp_path / "shared.db"
    async with store_of(SqliteLog(path)) as one, store_of(SqliteLog(path)) as other:
        done = await asyncio.gather(
            *(store.execute(Counter, str(n % 3), Count()) for n in range(90) for store in (one, other))
        )
        found = [await versions(one, str(n)) for n in range(3)]
    assert found == [list(range(1, 61))] * 3
    assert len(done) == 180


async def test_a_rejection_is_never_based_on_a_stale_state(tmp_path: Path) -> None:
    path = tmp_path / "shared.db"
    async with store_of(SqliteLog(path)) as one, store_of(SqliteLog(path)) as other:
        await one.execute(Counter, "a", Count(by=1))
        await other.execute(Counter, "a", Count(by=-1))
        # `one` remembers a total of 1, which would reject this.
        assert (await one.execute(Counter, "a", CountUpTo(limit=1))).version == 3
