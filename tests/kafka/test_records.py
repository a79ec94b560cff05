"""Which records count: every reader decides it alike, whatever anybody wrote to the topic."""

from __future__ import annotations

import json
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as some

from eventstore.core.records import StoredEvent
from eventstore.kafka.records import (
    Claim,
    LeaseRule,
    Record,
    barrier_record,
    claim_record,
    erasure_records,
    event_records,
    fence_record,
    stored_events,
)
from eventstore.ports import NewEvent, StreamCommit

LEASES = ["00000000000000aa", "00000000000000bb", "00000000000000cc"]
PRODUCERS = [1, 2, 3]

leases = some.sampled_from(LEASES)
ids = some.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,10}", fullmatch=True)
new_events = some.builds(
    NewEvent,
    event_type=some.from_regex(r"[a-z.]{1,10}", fullmatch=True),
    schema_version=some.integers(1, 2**31),
    event_id=some.binary(min_size=16, max_size=16),
    occurred_at=some.integers(-(2**40), 2**53),
    envelope=some.binary(max_size=30),
)
commits = some.builds(
    StreamCommit,
    stream=ids.map(lambda key: f"task-{key}"),
    expected_version=some.integers(0, 2**31),
    command_id=some.binary(min_size=16, max_size=16),
    events=some.lists(new_events, min_size=1, max_size=3).map(tuple),
)
claims = some.builds(
    Claim, lease=leases, producer_id=some.sampled_from(PRODUCERS), epoch=some.integers(0, 9), owner=some.just("x"),
    at=some.integers(0, 2**53),
)  # fmt: skip
owned = some.builds(event_records, commits, leases)
erased = some.builds(
    lambda commit, offset, lease: erasure_records(stored_events(commit, offset)[0], b"a:1:bb", lease),
    commits,
    some.integers(0, 20),
    leases,
)
controls = some.one_of(
    some.builds(claim_record, claims),
    some.builds(fence_record, some.sampled_from(PRODUCERS)),
    some.builds(barrier_record, some.sampled_from(PRODUCERS), leases),
).map(lambda record: [record])

keys = some.one_of(
    some.none(),
    some.binary(max_size=40),
    some.sampled_from(
        [b"\0claim:", b"\0claim:\xff", b"\0fence:", b"\0fence:1x", b"\0fence:-1", b"\0", b"a:1", b"a:b:c"]
    ),
    leases.map(lambda lease: f"\0claim:{lease}".encode()),
)
values = some.one_of(
    some.none(),
    some.binary(max_size=20),
    some.sampled_from([b"null", b"[]", b"1", b'"x"', b"{}", b'{"producer_id": null}', b'{"producer_id": "x"}',
                       b'{"producer_id": [1]}', b'{"producer_id": 1e999}', b'{"producer_id": NaN}', b"[" * 5000,
                       b'{"producer_id": true}', b'{"producer_id": -1}', b'{"producer_id": 9223372036854775808}']),
)  # fmt: skip
header_values = some.one_of(some.none(), some.binary(max_size=20), leases.map(str.encode))
headers = some.one_of(
    some.none(),
    some.lists(some.tuples(some.sampled_from(["lease", "part", "event_id", "x"]), header_values), max_size=8),
)
garbage = some.builds(lambda *parts: [Record(*parts)], keys, values, headers)


@some.composite
def damaged(draw: some.DrawFn) -> list[Record]:
    """Give an event of an owner with one thing wrong about it."""
    key, value, good = draw(owned)[0]
    wrong = list(good)
    match draw(some.sampled_from(["order", "missing", "more", "none", "number", "key", "tombstone"])):
        case "order":
            wrong = draw(some.permutations(good))
        case "missing":
            wrong.pop(draw(some.integers(0, len(wrong) - 1)))
        case "more":
            wrong.insert(draw(some.integers(0, len(wrong))), ("x", b"1"))
        case "none":
            place = draw(some.integers(0, len(wrong) - 1))
            wrong[place] = (wrong[place][0], None)  # type: ignore[arg-type]
        case "number":
            place = draw(some.integers(0, len(wrong) - 1))
            wrong[place] = (
                wrong[place][0],
                draw(
                    some.sampled_from(
                        [
                            b"",
                            b"x",
                            b"1/",
                            b"/",
                            b"1/2/3",
                            b"\xff",
                            b"9" * 20,
                            b"9" * 5000,
                            b"1_0",
                            b" 1",
                            "\N{FULLWIDTH DIGIT ONE}".encode(),
                        ]
                    )
                ),
            )
        case "key":
            key = draw(some.sampled_from([b"", b"a", b"a:1", b"a:x:b", b"\xff:1:b", b"::"]))
        case _:
            value = None
    return [Record(key, value, wrong)]


logs = some.lists(some.one_of(owned, erased, controls, garbage, damaged()), max_size=20).map(
    lambda groups: [record for group in groups for record in group]
)


def read(rule: LeaseRule, log: list[Record], first: int = 0) -> list[StoredEvent]:
    events = (rule.read(first + place, *record) for place, record in enumerate(log))
    return [event for event in events if event is not None]


@given(commits, leases)
def test_what_is_written_is_read_back_the_same(commit: StreamCommit, lease: str) -> None:
    claim = claim_record(Claim(lease, 1, 0, "x", 0))
    assert read(LeaseRule("task"), [claim, *event_records(commit, lease)]) == stored_events(commit, 1)


@given(logs)
def test_whatever_stands_in_a_topic_reading_never_fails_and_every_record_is_an_event_a_control_or_skipped(
    log: list[Record],
) -> None:
    rule = LeaseRule("task")
    for place, record in enumerate(log):
        before = deepcopy(rule)
        event = rule.read(place, *record)
        if event is not None:
            assert record.key is not None
            assert record.headers[0] == ("lease", before.lease.encode())
            key = record.key.removeprefix(b"\0erased:")
            assert event.stream == f"task-{key.decode().rsplit(':', 2)[0]}"
            assert (event.offset == place) == (key == record.key)
            assert rule == before
            assert all(-(2**63) <= each < 2**63 for each in event if isinstance(each, int))
            assert len(event.event_id) == len(event.command_id) == 16
        elif rule.skipped == before.skipped:
            assert record.key is not None
            tombstone = record.value is None and record.headers == [("lease", before.lease.encode())]
            assert tombstone or record.key.startswith((b"\0claim:", b"\0fence:", b"\0barrier:"))
        else:
            assert rule.skipped == before.skipped + 1
            # A record that does not count changes nothing.
            rule.skipped = before.skipped
            assert rule == before
            rule.skipped += 1


@given(logs, some.data())
def test_readers_that_begin_at_different_places_agree(log: list[Record], data: some.DataObject) -> None:
    whole = LeaseRule("task")
    expected = read(whole, log)
    place = data.draw(some.integers(0, len(log)))
    first = LeaseRule("task")
    found = read(first, log[:place])
    # As the index stores it and reads it back.
    resumed = LeaseRule("task", first.lease, set(json.loads(json.dumps(sorted(first.open_producers)))), first.skipped)
    assert found + read(resumed, log[place:], place) == expected
    assert resumed == whole


@given(commits, commits)
def test_events_of_a_former_lease_do_not_count_after_the_next_claim(early: StreamCommit, late: StreamCommit) -> None:
    first, second = (claim_record(Claim(lease, 1, 0, "x", 0)) for lease in LEASES[:2])
    log = [first, *event_records(early, LEASES[0]), second, *event_records(late, LEASES[0])]
    rule = LeaseRule("task")
    assert read(rule, log) == stored_events(early, 1)
    assert rule.skipped == len(late.events)


def test_before_the_first_claim_nothing_counts() -> None:
    commit = StreamCommit("task-1", 0, b"c" * 16, (NewEvent("a", 1, b"e" * 16, 1, b"{}"),))
    rule = LeaseRule("task")
    assert read(rule, event_records(commit, "")) == []
    assert rule.skipped == 1


def test_producers_stay_open_until_they_are_shut_out() -> None:
    rule = LeaseRule("task")
    read(rule, [claim_record(Claim(lease, number, 0, "x", 0)) for lease, number in zip(LEASES, PRODUCERS, strict=True)])
    assert rule.open_producers == {1, 2, 3}
    read(rule, [fence_record(1), fence_record(3)])
    assert rule.open_producers == {2}


def test_an_erased_event_keeps_its_place_whether_or_not_it_was_seen_before() -> None:
    claim = claim_record(Claim(LEASES[0], 1, 0, "x", 0))
    commit = StreamCommit("task-1", 4, b"c" * 16, (NewEvent("a", 3, b"e" * 16, 7, b"{}"),) * 2)
    records, (first, second) = event_records(commit, LEASES[0]), stored_events(commit, 1)
    erasure = erasure_records(first, records[0].key, LEASES[0])
    rule = LeaseRule("task")
    assert read(rule, [claim, *records, *erasure]) == [first, second, first.without_data()]
    compacted = LeaseRule("task")
    found = [compacted.read(0, *claim), compacted.read(2, *records[1]), compacted.read(3, *erasure[0])]
    assert found == [None, second, first.without_data()]
    assert rule.skipped == compacted.skipped == 0


def test_only_the_owner_of_the_time_can_erase() -> None:
    claims = [claim_record(Claim(lease, 1, 0, "x", 0)) for lease in LEASES[:2]]
    commit = StreamCommit("task-1", 0, b"c" * 16, (NewEvent("a", 1, b"e" * 16, 1, b"{}"),))
    records, (event,) = event_records(commit, LEASES[0]), stored_events(commit, 1)
    log = [claims[0], *records, claims[1], *erasure_records(event, records[0].key, LEASES[0])]
    rule = LeaseRule("task")
    assert read(rule, log) == [event]
    assert rule.skipped == 2


def test_an_erasure_that_contradicts_itself_does_not_count() -> None:
    claim = claim_record(Claim(LEASES[0], 1, 0, "x", 0))
    commit = StreamCommit("task-1", 0, b"c" * 16, (NewEvent("a", 1, b"e" * 16, 1, b"{}"),))
    (event,) = stored_events(commit, 1)
    wrong = [
        event._replace(offset=9),
        event._replace(stream="other-1"),
        event._replace(version=2**70),
        event._replace(event_id=b"short"),
    ]
    rule = LeaseRule("task")
    good = erasure_records(event, b"1:1:aa", LEASES[0])[0]
    records = [erasure_records(each, b"1:1:aa", LEASES[0])[0] for each in wrong]
    records += [
        good._replace(value=None),
        good._replace(value=b"{"),
        good._replace(key=good.key.replace(b"1:1", b"1:2")),
    ]
    assert read(rule, [claim, *records]) == []
    assert rule.skipped == len(records)


@pytest.mark.parametrize(
    ("envelope", "content_type"), [(b"{}", b"application/json"), (b"\x00\x00", b"application/avro")]
)
def test_a_record_says_what_its_value_is(envelope: bytes, content_type: bytes) -> None:
    event = NewEvent("task.created", 1, bytes(16), 0, envelope)
    (record,) = event_records(StreamCommit("task-1", 0, bytes(16), (event,)), "0" * 16)
    assert dict(record.headers)["content_type"] == content_type
