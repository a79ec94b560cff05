"""The contract of event logs: subclass `LogContract`, say how to open one, and let pytest run it."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from itertools import count

import pytest

from eventstore.core.errors import StoreClosedError
from eventstore.core.records import Snapshot
from eventstore.ports import Appended, Conflicted, Duplicated, EventLog, NewEvent, StreamCommit, StreamQuery

_numbers = count(1)


def commit_of(stream: str, expected_version: int, size: int = 1, *, command: int | None = None) -> StreamCommit:
    """Make a commit of `size` events; a new command unless one is named."""
    number = next(_numbers) if command is None else command
    events = tuple(
        NewEvent("task.noted", 1, number.to_bytes(12) + index.to_bytes(4), 1_000 + number, b'{"n":%d}' % index)
        for index in range(size)
    )
    return StreamCommit(stream, expected_version, number.to_bytes(16), events)


class LogContract:
    """What every log promises in `eventstore.ports`; each test is one promise."""

    def open_log(self) -> AbstractAsyncContextManager[EventLog]:
        """Give the log to test, empty the first time, with what was written before the next time."""
        raise NotImplementedError

    async def test_events_come_back_in_version_order(self) -> None:
        async with self.open_log() as log:
            partition = log.partition_of("task-1")
            await log.commit(partition, [commit_of("task-1", 0, 2), commit_of("task-1", 2, 3)])
            (events,) = await log.read_streams([StreamQuery("task-1")])
        assert [event.version for event in events] == [1, 2, 3, 4, 5]

    async def test_what_was_committed_is_there_after_reopening(self) -> None:
        async with self.open_log() as log:
            commit = commit_of("task-1", 0, 2)
            await log.commit(log.partition_of("task-1"), [commit])
            log_id = log.log_id
        async with self.open_log() as log:
            (events,) = await log.read_streams([StreamQuery("task-1")])
            assert log.log_id == log_id
        assert [(e.event_id, e.command_id, e.occurred_at, e.envelope) for e in events] == [
            (new.event_id, commit.command_id, new.occurred_at, new.envelope) for new in commit.events
        ]

    async def test_a_commit_at_another_version_is_refused_with_the_actual_one(self) -> None:
        async with self.open_log() as log:
            partition = log.partition_of("task-1")
            await log.commit(partition, [commit_of("task-1", 0, 2)])
            outcomes = await log.commit(partition, [commit_of("task-1", 1), commit_of("task-1", 5)])
            (events,) = await log.read_streams([StreamQuery("task-1")])
        assert outcomes == [Conflicted(2), Conflicted(2)]
        assert len(events) == 2

    async def test_an_earlier_commit_counts_for_a_later_one_of_the_same_batch(self) -> None:
        async with self.open_log() as log:
            partition = log.partition_of("task-1")
            outcomes = await log.commit(partition, [commit_of("task-1", 0), commit_of("task-1", 1)])
        assert [type(outcome) for outcome in outcomes] == [Appended, Appended]

    async def test_nothing_is_appended_behind_a_refused_commit_of_the_same_stream_and_batch(self) -> None:
        async with self.open_log() as log:
            partition = log.partition_of("task-1")
            await log.commit(partition, [commit_of("task-1", 0)])
            outcomes = await log.commit(partition, [commit_of("task-1", 0), commit_of("task-1", 1)])
        assert outcomes == [Conflicted(1), Conflicted(1)]

    async def test_a_conflict_does_not_hold_up_other_streams_of_the_batch(self) -> None:
        async with self.open_log() as log:
            partition = log.partition_of("task-1")
            neighbour = next(f"task-{n}" for n in range(2, 100) if log.partition_of(f"task-{n}") == partition)
            outcomes = await log.commit(partition, [commit_of("task-1", 7), commit_of(neighbour, 0)])
        assert [type(outcome) for outcome in outcomes] == [Conflicted, Appended]

    async def test_a_conflict_in_a_large_batch_refuses_its_own_commit_alone(self) -> None:
        async with self.open_log() as log:
            partition = log.partition_of("task-1")
            streams = [name for n in range(1, 2_000) if log.partition_of(name := f"task-{n}") == partition][:45]
            await log.commit(partition, [commit_of(streams[29], 0)])
            outcomes = await log.commit(partition, [commit_of(stream, 0) for stream in streams])
            found = await log.read_streams([StreamQuery(stream) for stream in streams])
        expected = [Conflicted if n == 29 else Appended for n in range(45)]
        assert [type(outcome) for outcome in outcomes] == expected
        assert [len(events) for events in found] == [1] * 45

    async def test_a_command_is_written_once_however_often_it_is_committed(self) -> None:
        async with self.open_log() as log:
            partition = log.partition_of("task-1")
            commit = commit_of("task-1", 0, 2)
            await log.commit(partition, [commit])
            assert await log.commit(partition, [commit]) == [Duplicated()]
        async with self.open_log() as log:
            assert await log.commit(partition, [commit]) == [Duplicated()]
            (events,) = await log.read_streams([StreamQuery("task-1")])
        assert len(events) == 2

    async def test_a_command_twice_in_one_batch_is_written_once(self) -> None:
        async with self.open_log() as log:
            commit = commit_of("task-1", 0)
            outcomes = await log.commit(log.partition_of("task-1"), [commit, commit])
        assert [type(outcome) for outcome in outcomes] == [Appended, Duplicated]

    async def test_a_commit_without_events_asks_for_the_version(self) -> None:
        async with self.open_log() as log:
            partition = log.partition_of("task-1")
            await log.commit(partition, [commit_of("task-1", 0)])
            outcomes = await log.commit(partition, [commit_of("task-1", 1, 0), commit_of("task-1", 0, 0)])
        assert outcomes == [Appended(0), Conflicted(1)]

    async def test_a_stream_can_be_read_in_part(self) -> None:
        async with self.open_log() as log:
            await log.commit(log.partition_of("task-1"), [commit_of("task-1", 0, 5)])
            found = await log.read_streams(
                [StreamQuery("task-1", 2), StreamQuery("task-1", 1, 2), StreamQuery("task-9"), StreamQuery("task-1", 5)]
            )
        assert [[event.version for event in events] for events in found] == [[3, 4, 5], [2, 3], [], []]

    async def test_what_is_read_to_fold_is_what_was_stored(self) -> None:
        async with self.open_log() as log:
            await log.commit(log.partition_of("task-1"), [commit_of("task-1", 0, 5)])
            queries = [StreamQuery("task-1", 2), StreamQuery("task-1", 1, 2), StreamQuery("task-9")]
            stored = await log.read_streams(queries)
            assert await log.read_to_fold(queries) == [[event.to_fold for event in events] for events in stored]

    async def test_many_streams_are_read_at_once_each_complete(self) -> None:
        async with self.open_log() as log:
            for number in range(0, 100, 3):
                stream = f"task-{number}"
                await log.commit(log.partition_of(stream), [commit_of(stream, 0, 1 + number % 4)])
            found = await log.read_to_fold([StreamQuery(f"task-{number}") for number in range(100)])
        versions = [[event.version for event in events] for events in found]
        assert versions == [[] if n % 3 else list(range(1, 2 + n % 4)) for n in range(100)]

    async def test_commands_are_found_with_all_their_events(self) -> None:
        async with self.open_log() as log:
            commit = commit_of("task-1", 0, 3)
            await log.commit(log.partition_of("task-1"), [commit])
            found = await log.find_commands([commit.command_id, bytes(16)])
        assert {key: [event.command_index for event in events] for key, events in found.items()} == {
            commit.command_id: [1, 2, 3]
        }

    async def test_streams_are_listed_by_prefix_in_name_order(self) -> None:
        async with self.open_log() as log:
            for stream, size in (("task-b", 1), ("task-a", 2), ("tasks-a", 1), ("other-a", 1), ("task-c", 1)):
                await log.commit(log.partition_of(stream), [commit_of(stream, 0, size)])
            everything = await log.list_streams("", "", 10)
            some = await log.list_streams("task-", "task-a", 1)
        assert [found.stream for found in everything] == ["other-a", "task-a", "task-b", "task-c", "tasks-a"]
        assert [(found.stream, found.version) for found in some] == [("task-b", 1)]

    async def test_pages_give_every_event_of_a_partition_once_in_offset_order(self) -> None:
        async with self.open_log() as log:
            streams = [f"task-{n}" for n in range(20)]
            for stream in streams:
                await log.commit(log.partition_of(stream), [commit_of(stream, 0, 3)])
            seen: list[tuple[str, int]] = []
            for partition in log.partitions:
                offset = 0
                offsets: list[int] = []
                while True:
                    page = await log.read(partition, offset, 7)
                    offsets += [event.offset for event in page.events]
                    seen += [(event.stream, event.version) for event in page.events]
                    if page.next_offset >= page.end:
                        break
                    offset = page.next_offset
                assert offsets == sorted(set(offsets))
        assert sorted(seen) == sorted((stream, version) for stream in streams for version in (1, 2, 3))

    async def test_pages_can_be_limited_to_categories(self) -> None:
        async with self.open_log() as log:
            for stream in ("task-1", "tasks-1", "task_x-1", "other-1"):
                await log.commit(log.partition_of(stream), [commit_of(stream, 0)])
            found = [
                event.stream
                for partition in log.partitions
                for event in (await log.read(partition, 0, 10, ["task", "other"])).events
            ]
        assert sorted(found) == ["other-1", "task-1"]

    async def test_a_page_moves_past_unwanted_events_to_the_end(self) -> None:
        async with self.open_log() as log:
            partition = log.partition_of("other-1")
            await log.commit(partition, [commit_of("other-1", 0, 4)])
            page = await log.read(partition, 0, 2, ["task"])
        assert (list(page.events), page.next_offset) == ([], page.end)

    async def test_a_commit_tells_where_a_reader_has_seen_it(self) -> None:
        async with self.open_log() as log:
            partition = log.partition_of("task-1")
            (outcome,) = await log.commit(partition, [commit_of("task-1", 0, 3)])
            ends = await log.ends()
            page = await log.read(partition, 0, 10)
        assert isinstance(outcome, Appended)
        assert outcome.next_offset == ends[partition] == page.end == page.events[-1].offset + 1

    async def test_waiting_returns_when_an_event_is_there_and_not_before(self) -> None:
        async with self.open_log() as log:
            partition = log.partition_of("task-1")
            end = (await log.ends())[partition]
            waiting = asyncio.ensure_future(log.wait_beyond(partition, end))
            done, _ = await asyncio.wait([waiting], timeout=0.06)
            assert not done
            await log.commit(partition, [commit_of("task-1", 0)])
            await asyncio.wait_for(waiting, 5)
            await asyncio.wait_for(log.wait_beyond(partition, end), 5)

    async def test_the_volume_counts_events_and_bytes(self) -> None:
        async with self.open_log() as log:
            partition = log.partition_of("task-1")
            commit = commit_of("task-1", 0, 3)
            await log.commit(partition, [commit])
            volume = await log.measure(partition, 0, None)
            none = await log.measure(partition, 0, ["other"])
        assert volume == (3, sum(len(event.envelope) for event in commit.events))
        assert none == (0, 0)

    async def test_the_newest_snapshot_of_a_stream_is_kept(self) -> None:
        async with self.open_log() as log:
            await log.write_snapshots({"task-1": Snapshot(1, 1, "f", b"{}"), "task-2": Snapshot(1, 1, "f", b"{}")})
            await log.write_snapshots({"task-1": Snapshot(5, 2, "g", b"[]")})
        async with self.open_log() as log:
            assert await log.read_snapshots(["task-1", "task-3"]) == {"task-1": Snapshot(5, 2, "g", b"[]")}

    async def test_an_erased_event_keeps_its_place_and_loses_its_data(self) -> None:
        async with self.open_log() as log:
            partition, commit = log.partition_of("task-1"), commit_of("task-1", 0, 3)
            await log.commit(partition, [commit])
            (before,) = await log.read_streams([StreamQuery("task-1")])
            assert await log.erase("task-1", 2)
            expected = [before[0], before[1].without_data(), before[2]]
            assert await log.read_streams([StreamQuery("task-1")]) == [expected]
        async with self.open_log() as log:
            assert await log.read_streams([StreamQuery("task-1")]) == [expected]
            assert await log.read_to_fold([StreamQuery("task-1")]) == [[event.to_fold for event in expected]]
            assert await log.find_commands([commit.command_id]) == {commit.command_id: expected}
            assert list((await log.read(partition, 0, 10)).events) == expected
            assert (await log.measure(partition, 0, None)).events == 3
        assert [event.erased for event in expected] == [False, True, False]

    async def test_a_stream_with_an_erased_event_goes_on_as_before(self) -> None:
        async with self.open_log() as log:
            partition, commit = log.partition_of("task-1"), commit_of("task-1", 0, 2)
            await log.commit(partition, [commit])
            await log.erase("task-1", 2)
            again, next_one = await log.commit(partition, [commit, commit_of("task-1", 2)]), commit_of("task-1", 2)
            assert again == [Duplicated(), Conflicted(2)]
            (outcome,) = await log.commit(partition, [next_one])
            (events,) = await log.read_streams([StreamQuery("task-1")])
            page = await log.read(partition, 0, 10)
        assert isinstance(outcome, Appended)
        assert [(event.version, event.erased) for event in events] == [(1, False), (2, True), (3, False)]
        assert outcome.next_offset == page.next_offset == page.end == page.events[-1].offset + 1

    async def test_erasing_again_changes_nothing_and_what_is_not_there_is_not_erased(self) -> None:
        async with self.open_log() as log:
            await log.commit(log.partition_of("task-1"), [commit_of("task-1", 0, 2)])
            erased = [await log.erase("task-1", version) for version in (1, 1, 0, 3, -1)]
            unknown = await log.erase("task-2", 1)
            (events,) = await log.read_streams([StreamQuery("task-1")])
        assert (erased, unknown) == ([True, True, False, False, False], False)
        assert [event.erased for event in events] == [True, False]

    async def test_a_stream_with_an_erased_event_has_no_snapshot_any_more(self) -> None:
        async with self.open_log() as log:
            for stream in ("task-1", "task-2"):
                await log.commit(log.partition_of(stream), [commit_of(stream, 0, 2)])
            snapshots = {stream: Snapshot(2, 1, "f", b"{}") for stream in ("task-1", "task-2")}
            await log.write_snapshots(snapshots)
            await log.erase("task-1", 1)
            assert await log.read_snapshots(["task-1", "task-2"]) == {"task-2": snapshots["task-2"]}
            await log.write_snapshots(snapshots)
            assert await log.read_snapshots(["task-1", "task-2"]) == {"task-2": snapshots["task-2"]}

    async def test_an_event_without_an_envelope_is_an_erased_one(self) -> None:
        async with self.open_log() as log:
            commit = commit_of("task-1", 0, 2)
            commit = commit._replace(events=(commit.events[0]._replace(envelope=b""), commit.events[1]))
            await log.commit(log.partition_of("task-1"), [commit])
            assert await log.erase("task-1", 1)
        async with self.open_log() as log:
            (events,) = await log.read_streams([StreamQuery("task-1")])
        assert [event.erased for event in events] == [True, False]

    async def test_a_cancelled_commit_happens_as_a_whole_or_not_at_all(self) -> None:
        async with self.open_log() as log:
            partition = log.partition_of("task-1")
            for _ in range(10):
                (before,) = await log.read_streams([StreamQuery("task-1")])
                version = before[-1].version if before else 0
                commit = asyncio.ensure_future(log.commit(partition, [commit_of("task-1", version, 3)]))
                await asyncio.sleep(0)
                commit.cancel()
                await asyncio.gather(commit, return_exceptions=True)
                await log.commit(partition, [commit_of("task-2", 99)])  # behind whatever the cancelled one still does
            (events,) = await log.read_streams([StreamQuery("task-1")])
        assert len(events) % 3 == 0
        assert [event.version for event in events] == list(range(1, len(events) + 1))

    async def test_a_closed_log_says_so(self) -> None:
        async with self.open_log() as log:
            partition = log.partition_of("task-1")
        with pytest.raises(StoreClosedError):
            await log.read_streams([StreamQuery("task-1")])
        with pytest.raises(StoreClosedError):
            await log.commit(partition, [commit_of("task-1", 0)])
        with pytest.raises(StoreClosedError):
            await log.erase("task-1", 1)

    async def test_a_sound_log_passes_its_own_check(self) -> None:
        async with self.open_log() as log:
            await log.commit(log.partition_of("task-1"), [commit_of("task-1", 0, 3)])
            assert log.exists()
            assert await log.check() == "ok"
