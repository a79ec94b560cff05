"""The envelope is exactly what is written down, and stored bytes of every age can be read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore import Event, upcasts
from eventstore.core.envelope import Metadata, read_envelope, read_metadata, write_envelope
from eventstore.core.errors import (
    InvalidIdError,
    UndecodableEventError,
    UnencodableEventError,
    UnknownEventTypeError,
    UpcastError,
)
from eventstore.core.events import JsonObject
from eventstore.core.ids import event_id, uuid7
from eventstore.core.records import StoredEvent, Token, from_micros, to_micros
from eventstore.core.registry import TypeRegistry

NOW = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)
COMMAND = UUID("0198c0de-0000-7000-8000-000000000001")


class Titled(Event, type="task.titled", version=3):
    title: str
    tags: list[str]
    priority: int

    @upcasts(from_version=1)
    def name_became_title(data: JsonObject) -> JsonObject:
        return {"title": data["name"]}

    @upcasts(from_version=2)
    def tags_and_priority(data: JsonObject) -> JsonObject:
        return {**data, "tags": [], "priority": 0}


class Anything(Event, type="task.anything"):
    value: Any


def stored(raw: bytes, *, version: int = 3, event_type: str = "task.titled") -> StoredEvent:
    return StoredEvent(17, "task-1", 4, event_type, version, bytes(16), COMMAND.bytes, 1, 1, 0, raw)


def envelope(data: str) -> bytes:
    return (
        '{"event_id":"0198c0de-0000-7000-8000-000000000002","event_type":"task.titled",'
        '"occurred_at":"2020-01-01T00:00:00+00:00","data":' + data + ',"metadata":{"correlation_id":'
        '"0198c0de-0000-7000-8000-000000000001","causation_id":"0198c0de-0000-7000-8000-000000000001"}}'
    ).encode()


def test_the_envelope_has_exactly_these_parts_in_this_order() -> None:
    event = Titled(title="a", tags=["x"], priority=1)
    raw = write_envelope(event, event_id(COMMAND, 1), NOW, Metadata(COMMAND, COMMAND))
    assert raw.decode() == (
        f'{{"event_id":"{event_id(COMMAND, 1)}","event_type":"task.titled",'
        '"occurred_at":"2026-01-31T12:00:00.123456+00:00",'
        '"data":{"title":"a","tags":["x"],"priority":1},'
        f'"metadata":{{"correlation_id":"{COMMAND}","causation_id":"{COMMAND}"}}}}'
    )


def test_an_envelope_reads_back_as_it_was_written() -> None:
    identity = event_id(COMMAND, 2)
    raw = write_envelope(Anything(value={"a": [1, None]}), identity, NOW, Metadata(UUID(int=1), COMMAND))
    found = read_envelope(raw, "here")
    assert found == (identity, "task.anything", NOW, {"value": {"a": [1, None]}}, Metadata(UUID(int=1), COMMAND))
    assert read_metadata(raw, "here") == Metadata(UUID(int=1), COMMAND)


@pytest.mark.parametrize(
    ("version", "data", "expected"),
    [
        (1, '{"name":"old"}', Titled(title="old", tags=[], priority=0)),
        (2, '{"title":"older"}', Titled(title="older", tags=[], priority=0)),
        (3, '{"title":"new","tags":["a"],"priority":2}', Titled(title="new", tags=["a"], priority=2)),
    ],
)
def test_bytes_of_every_released_version_are_read_as_todays_class(version: int, data: str, expected: Titled) -> None:
    assert TypeRegistry([Titled]).decode(stored(envelope(data), version=version)) == expected


def test_fields_that_a_newer_process_added_are_ignored() -> None:
    raw = envelope('{"title":"a","tags":[],"priority":0,"added_later":true}')
    assert TypeRegistry([Titled]).decode(stored(raw)) == Titled(title="a", tags=[], priority=0)


def test_an_unknown_type_is_named_with_place_and_remedy() -> None:
    with pytest.raises(
        UnknownEventTypeError, match=r"task.gone at task-1 version 4 \(offset 17\): no registered class"
    ) as error:
        TypeRegistry([Titled]).decode(stored(envelope("{}"), event_type="task.gone"))
    assert "Register the aggregate" in str(error.value)


def test_a_newer_schema_version_asks_for_newer_code() -> None:
    with pytest.raises(UnknownEventTypeError, match="has schema version 4 but Titled is version 3: deploy the code"):
        TypeRegistry([Titled]).decode(stored(envelope("{}"), version=4))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff\xfe",
        envelope('{"title":7}'),
        envelope('{"title":NaN}'),
        envelope('{"title":"\\ud800"}'),
        envelope("[" * 100_000 + "]" * 100_000),
        envelope('"text"'),
        b'{"data":',
    ],
)
def test_undecodable_bytes_are_named_with_place_and_remedy(raw: bytes) -> None:
    with pytest.raises(
        UndecodableEventError, match=r"task-1 version 4 .* cannot be decoded: .*(raise its version|restore)"
    ):
        TypeRegistry([Titled]).decode(stored(raw))


@pytest.mark.parametrize("raw", [b"", b"{}", envelope("{}")[:-1], envelope("{}").replace(b"metadata", b"meta")])
def test_a_broken_envelope_is_no_envelope(raw: bytes) -> None:
    with pytest.raises(UndecodableEventError):
        read_envelope(raw, "here")


def test_a_failed_upcast_names_upcaster_place_and_remedy() -> None:
    with pytest.raises(
        UpcastError, match=r"task-1 version 4 .*: Titled's upcaster from version 1 raised KeyError\('name'\)"
    ):
        TypeRegistry([Titled]).decode(stored(envelope('{"nome":"typo"}'), version=1))


def test_an_upcast_that_does_not_fit_the_class_is_undecodable() -> None:
    with pytest.raises(UndecodableEventError, match="upcast from version 2, cannot be decoded: title"):
        TypeRegistry([Titled]).decode(stored(envelope("{}"), version=2))


def test_an_upcaster_that_returns_no_object_is_told() -> None:
    class Odd(Event, type="task.odd", version=2):
        @upcasts(from_version=1)
        def up(data: JsonObject) -> JsonObject:
            return None  # type: ignore[return-value]

    with pytest.raises(UpcastError, match="returned NoneType; return the new JSON object as a dict"):
        TypeRegistry([Odd]).decode(stored(envelope("{}"), version=1, event_type="task.odd"))


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", {1: float("-inf")}, object(), nested(5_000)])
def test_what_json_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(UnencodableEventError, match="Nothing was written"):
        write_envelope(Anything.model_construct(value=value), event_id(COMMAND, 1), NOW, Metadata(COMMAND, COMMAND))


@pytest.mark.parametrize("value", ["NaN", "Infinity and beyond", ["-Infinity"]])
def test_words_that_look_like_constants_are_ordinary_text(value: Any) -> None:
    raw = write_envelope(Anything(value=value), event_id(COMMAND, 1), NOW, Metadata(COMMAND, COMMAND))
    assert json.loads(raw)["data"]["value"] == value


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda children: (
        st.lists(children, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), children, max_size=4)
    ),
    max_leaves=20,
)


@given(JSON)
def test_any_json_survives_the_log(value: Any) -> None:
    raw = write_envelope(Anything(value=value), event_id(COMMAND, 1), NOW, Metadata(COMMAND, COMMAND))
    found = TypeRegistry([Anything]).decode(stored(raw, version=1, event_type="task.anything"))
    assert found == Anything(value=value)


@given(st.uuids(), st.integers(1, 1000))
def test_event_ids_are_uuid5_of_command_and_index(command: UUID, index: int) -> None:
    assert event_id(command, index) == uuid5(command, str(index))


@given(st.integers(0, 2**48 - 1), st.integers(0, 2**48 - 1), st.integers(0, 2**74 - 1), st.integers(0, 2**74 - 1))
def test_command_ids_sort_by_time(one: int, other: int, some: int, more: int) -> None:
    assert uuid7(one, some).version == 7
    if one < other:
        assert uuid7(one, some) < uuid7(other, more)


@given(st.datetimes(timezones=st.just(UTC)))
def test_microseconds_keep_a_moment_exactly(moment: datetime) -> None:
    assert from_micros(to_micros(moment)) == moment


@given(st.dictionaries(st.from_regex(r"[a-z0-9.@-]{1,10}", fullmatch=True), st.integers(0, 2**62)))
def test_tokens_travel_as_text(positions: dict[str, int]) -> None:
    assert Token.parse(str(Token(positions))) == Token(positions)


@pytest.mark.parametrize("text", ["x", "0@", "@1", "0@-1", "0@1.5", "0@" + "9" * 30, "0@٣"])
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(InvalidIdError, match="is no token"):
        Token.parse(text)


def test_merged_tokens_are_reached_when_both_are() -> None:
    merged = Token({"a": 1, "b": 5}).merge(Token({"b": 3, "c": 2}))
    assert merged == Token({"a": 1, "b": 5, "c": 2})
    assert (hash(merged), repr(merged)) == (hash(Token({"a": 1, "b": 5, "c": 2})), "Token('a@1,b@5,c@2')")
