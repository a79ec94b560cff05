"""Events as Avro: equal to what JSON gives, in the registry's wire format, and never anything else."""

from __future__ import annotations

import io
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID, uuid4

import pytest
from fastavro import parse_schema, schemaless_reader
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from eventstore import Event, upcasts
from eventstore.core.envelope import Metadata, read_metadata, write_envelope
from eventstore.core.errors import (
    ConfigurationError,
    EventSchemaError,
    UndecodableEventError,
    UnencodableEventError,
)
from eventstore.core.records import StreamEvent
from eventstore.core.registry import TypeRegistry
from eventstore.schema import EventName
from eventstore.schema.envelope import derive
from tests.schema.events import Circle, EverythingHappened, Level, Part, Priority, Shade, Square, Tags, codec_of

NOW = datetime(2026, 3, 4, 5, 6, 7, 891, UTC)
ODD = Metadata(UUID(int=5), UUID(int=6))

FIRST, LAST = datetime(1, 1, 2), datetime(9999, 12, 30)  # noqa: DTZ001 - hypothesis adds the zones

texts = st.text(st.characters(codec="utf-8"), max_size=8)
longs = st.integers(-(2**63), 2**63 - 1)
moments = st.datetimes(
    FIRST,
    LAST,
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
)
parts = st.recursive(
    st.builds(Part, sku=texts, count=longs), lambda inner: st.builds(Part, sku=texts, parts=st.lists(inner, max_size=2))
)
circles = st.builds(Circle, radius=st.floats(allow_nan=False, allow_infinity=False))
squares = st.builds(Square, side=longs)
everything = st.builds(
    EverythingHappened,
    text=texts,
    number=longs,
    ratio=st.floats(allow_nan=False, allow_infinity=False),
    flag=st.booleans(),
    raw=texts.map(str.encode),
    identity=st.uuids(),
    day=st.dates(),
    clock=st.times(),
    moment=moments,
    aware=moments,
    local=st.datetimes(FIRST, LAST),
    took=st.timedeltas(timedelta(days=-99_999), timedelta(days=99_999)),
    price=st.decimals(-(10**9), 10**9, places=2),
    priority=st.sampled_from(Priority),
    level=st.sampled_from(Level),
    shade=st.sampled_from(Shade),
    word=st.sampled_from(["yes", "no"]),
    maybe=st.none() | longs,
    named=st.none() | texts,
    either=st.none() | longs | texts | st.booleans(),
    when=st.none() | st.dates() | moments.filter(lambda moment: moment.time() != time(0)),
    shape=circles | squares,
    shapes=st.lists(circles | squares, max_size=3),
    part=parts,
    counts=st.dictionaries(texts, longs, max_size=2),
    owners=st.dictionaries(st.uuids(), parts, max_size=2),
    per_level=st.dictionaries(st.sampled_from(Priority), st.lists(st.dates(), max_size=2)),
    names=st.frozensets(texts, max_size=3),
    days=st.sets(st.dates(), max_size=3),
    pair=st.none() | st.tuples(longs, longs),
    row=st.lists(st.sampled_from(Priority), max_size=3).map(tuple),
    tags=st.lists(texts, max_size=2).map(Tags),
)


def stored(envelope: bytes, cls: type[Event] = EverythingHappened, version: int = 1) -> StreamEvent:
    return StreamEvent(1, cls.event_type, version, 0, envelope)


@settings(max_examples=150)
@given(everything)
def test_json_and_avro_give_equal_events(event: EverythingHappened) -> None:
    codec = codec_of(EverythingHappened)
    registry = TypeRegistry([EverythingHappened], codec)
    as_avro, as_json = codec.encode(event, uuid4(), NOW, ODD), write_envelope(event, uuid4(), NOW, ODD)

    from_avro, from_json = registry.decode(stored(as_avro)), registry.decode(stored(as_json))

    assert from_avro == from_json == event
    assert {name: type(value) for name, value in from_avro} == {name: type(value) for name, value in from_json}


@settings(max_examples=50)
@given(everything, st.uuids(), st.uuids(), st.uuids(), moments)
def test_the_avro_library_alone_reads_the_whole_envelope(
    event: EverythingHappened, event_id: UUID, correlation: UUID, causation: UUID, at: datetime
) -> None:
    envelope = codec_of(EverythingHappened, first_id=258).encode(event, event_id, at, Metadata(correlation, causation))

    assert envelope[:5] == b"\x00\x00\x00\x01\x02"
    source = io.BytesIO(envelope[5:])
    read: Any = schemaless_reader(source, parse_schema(derive(EverythingHappened).schema), None)
    assert not source.read()
    assert (read["event_id"], read["event_type"], read["occurred_at"]) == (event_id, "test.everything", at)
    assert read["metadata"] == {"correlation_id": correlation, "causation_id": causation}
    assert read["data"]["moment"] == event.moment
    assert read["data"]["price"] == event.price


class Moved(Event, type="test.moved"):
    to: str
    at: datetime = NOW
    by: int = 0
    price: Annotated[Decimal, Field(max_digits=4, decimal_places=1)] = Decimal(1)
    raw: bytes = b""


def moved(**changes: Any) -> bytes:
    return codec_of(Moved).encode(Moved.model_construct(**({"to": "here"} | changes)), uuid4(), NOW, ODD)


def test_metadata_is_read_without_a_schema() -> None:
    assert read_metadata(moved(), "it") == ODD
    for damaged in (moved()[:40], moved()[:-1], b"\x00"):
        with pytest.raises(UndecodableEventError, match="it cannot be decoded"):
            read_metadata(damaged, "it")


def test_an_envelope_can_be_shown_as_json() -> None:
    identity = uuid4()
    codec = codec_of(Moved)
    envelope = codec.encode(Moved(to="there"), identity, NOW, ODD)

    shown = TypeRegistry([Moved], codec).read_envelope(stored(envelope))

    assert (shown.event_id, shown.event_type, shown.occurred_at, shown.metadata) == (identity, "test.moved", NOW, ODD)
    assert shown.data == {"to": "there", "at": "2026-03-04T05:06:07.000891Z", "by": 0, "price": "1.0", "raw": ""}
    assert codec.name_of(envelope) == EventName("test.moved", 1)
    assert codec.read_record(envelope)[0] == "test.moved.v1.Envelope"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"at": NOW.replace(tzinfo=None)}, "at: 2026-03-04T05:06:07.000891 has no time zone"),
        ({"by": 2**63}, "by"),
        ({"to": "\ud800"}, "surrogates not allowed"),
        ({"to": None}, "to"),
        ({"raw": b"\xff"}, "raw: 'utf-8' codec can't decode"),
        ({"price": Decimal("1.25")}, "Scale provided in schema does not match"),
        ({"to": "x" * 1_000_001}, "takes 1,000,151 bytes as Avro and the limit is 1,000,000"),
    ],
)
def test_what_cannot_be_written_is_refused_by_name(changes: dict[str, object], said: str) -> None:
    with pytest.raises(UnencodableEventError, match="Nothing was written") as refusal:
        moved(**changes)
    assert str(refusal.value).startswith("test.moved")
    assert said in str(refusal.value)


def test_an_event_that_was_not_declared_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="test.moved was not declared"):
        codec_of(EverythingHappened).encode(Moved(to="x"), uuid4(), NOW, ODD)


def test_damaged_bytes_are_never_an_event() -> None:
    registry = TypeRegistry([Moved], codec_of(Moved))
    whole = moved(to="a long way")
    for length in range(5, len(whole)):
        with pytest.raises(UndecodableEventError, match="test.moved at s-1 version 1 cannot be decoded"):
            registry.decode(stored(whole[:length], Moved), "s-1")
        with pytest.raises(EventSchemaError):
            registry.read_envelope(stored(whole[:length], Moved), "s-1")


def test_a_schema_that_is_unknown_or_of_something_else_is_named() -> None:
    codec = codec_of(Moved)
    codec.learn(7, '{"type":"record","name":"shop.Order","fields":[{"name":"id","type":"string"}]}')
    registry = TypeRegistry([Moved], codec)
    for schema_id, said in ((9, "its schema 9 is not in the registry at"), (7, "the schema shop.Order, which is not")):
        envelope = b"\x00" + schema_id.to_bytes(4) + b"\x0266"
        with pytest.raises(UndecodableEventError, match=said):
            registry.decode(stored(envelope, Moved), "s-1")
    assert codec.read_record(b"\x00\x00\x00\x00\x07\x0466") == ("shop.Order", {"id": "66"})


def test_without_a_registry_the_error_says_which_event_and_how_to_get_one() -> None:
    with pytest.raises(UndecodableEventError) as refusal:
        TypeRegistry([Moved]).decode(stored(moved(), Moved), "s-1")
    assert str(refusal.value).startswith(
        "test.moved at s-1 version 1 cannot be decoded: it is Avro of the registry's schema 1, and this store has no "
        'registry: open it with EventStore(..., codec=AvroCodec("http://registry"))'
    )


class Old(Event, type="test.versioned"):
    title: str
    when: datetime


class New(Event, type="test.versioned", version=2):
    name: str
    year: int

    @upcasts(from_version=1)
    def rename(data: Any) -> Any:
        return {"name": data["title"], "year": int(data["when"][:4])}


def test_upcasters_get_the_same_json_from_avro_as_from_json() -> None:
    codec = codec_of(Old, New)
    registry = TypeRegistry([New], codec)
    old = Old(title="a", when=NOW)

    for envelope in (codec.encode(old, uuid4(), NOW, ODD), write_envelope(old, uuid4(), NOW, ODD)):
        assert registry.decode(stored(envelope, New, 1), "s-1") == New(name="a", year=2026)


def test_fields_that_the_class_does_not_know_are_ignored_and_missing_ones_get_their_defaults() -> None:
    class Wider(Event, type="test.moved"):
        to: str
        further: str = "on"

    codec = codec_of(Moved)
    assert TypeRegistry([Wider], codec).decode(stored(moved(to="x"), Moved), "s-1") == Wider(to="x")
