"""Avro schemas derived from events, and what is refused."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any
from uuid import UUID

import pytest
from fastavro import parse_schema
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, JsonValue, PlainSerializer, SecretStr

from eventstore import Event
from eventstore.core.errors import ConfigurationError
from eventstore.schema import AvroCodec
from eventstore.schema.derivation import derive_data
from eventstore.schema.envelope import derive
from tests.schema.events import EverythingHappened, Priority


def fields_of(cls: type[Event]) -> dict[str, Any]:
    schema: Any = derive_data(cls, "here").schema
    return {field["name"]: field for field in schema["fields"]}


def test_every_type_has_its_type_in_avro() -> None:
    types = {name: field["type"] for name, field in fields_of(EverythingHappened).items()}

    assert types["identity"] == {"type": "string", "logicalType": "uuid"}
    assert types["day"] == {"type": "int", "logicalType": "date"}
    assert types["clock"] == {"type": "long", "logicalType": "time-micros"}
    assert types["moment"] == types["aware"] == {"type": "long", "logicalType": "timestamp-micros"}
    assert types["local"] == {"type": "long", "logicalType": "local-timestamp-micros"}
    assert types["price"] == {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}
    assert types["priority"] == {
        "type": "enum", "name": "here.data.Priority", "symbols": ["low", "high"], "default": "low",
    }  # fmt: skip
    assert (types["level"], types["shade"], types["word"], types["took"]) == ("long", "string", "string", "string")
    assert types["either"] == ["null", "long", "string", "boolean"]
    assert [branch["name"] for branch in types["shape"]] == ["here.data.Circle", "here.data.Square"]
    assert types["shapes"] == {"type": "array", "items": ["here.data.Circle", "here.data.Square"]}
    assert types["part"]["fields"][2]["type"] == {"type": "array", "items": "here.data.Part"}
    assert types["owners"] == {"type": "map", "values": "here.data.Part"}
    assert types["pair"] == ["null", {"type": "array", "items": "long"}]
    assert types["tags"] == {"type": "array", "items": "string"}


def test_the_envelope_is_a_record_that_the_avro_library_accepts() -> None:
    derived = derive(EverythingHappened, "shop")

    assert derived.name == "shop.test.everything.v1.Envelope"
    schema: Any = parse_schema(derived.schema)
    assert [field["name"] for field in schema["fields"]] == [
        "event_id", "event_type", "occurred_at", "data", "metadata",
    ]  # fmt: skip


def test_defaults_are_of_the_first_branch_and_written_as_avro_has_them() -> None:
    class Defaulted(Event, type="test.defaulted"):
        nothing: int | None = None
        something: int | None = 7
        day: date = date(1970, 1, 3)
        price: Annotated[Decimal, Field(max_digits=5, decimal_places=2)] = Decimal("1.5")
        priority: Priority = Priority.HIGH
        several: str | int | None = 5
        counts: dict[str, int] = Field(default_factory=dict)
        made: str = Field(default_factory=lambda: "another each time")

    fields = fields_of(Defaulted)
    assert (fields["nothing"]["type"], fields["nothing"]["default"]) == (["null", "long"], None)
    assert (fields["something"]["type"], fields["something"]["default"]) == (["long", "null"], 7)
    assert (fields["several"]["type"], fields["several"]["default"]) == (["long", "null", "string"], 5)
    assert fields["day"]["default"] == 2
    assert fields["price"]["default"] == "\x00\x96"
    assert fields["priority"]["default"] == "high"
    assert fields["counts"]["default"] == {}
    assert "default" not in fields["made"]
    parse_schema(derive(Defaulted).schema)


def test_other_names_for_reading_become_aliases() -> None:
    class Renamed(Event, type="test.renamed"):
        title: str = Field("", validation_alias=AliasChoices("title", "name"))

    assert fields_of(Renamed)["title"]["aliases"] == ["name"]


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")
    name: str


class Seconds(BaseModel):
    model_config = ConfigDict(ser_json_timedelta="float")
    took: timedelta


class Item(BaseModel):
    weight: Decimal


def other_item() -> type[BaseModel]:
    class Item(BaseModel):
        name: str

    return Item


OtherItem: Any = other_item()
AnotherItem: Any = other_item()


class Mixed(Enum):
    ONE = 1
    TWO = "two"


REFUSED: list[tuple[Any, str]] = [
    (JsonValue, "data.field: Avro has no type for a value of any type: name an exact type"),
    (Any, "data.field: Avro has no type for a value of any type"),
    (dict[str, Any], "data.field{}: Avro has no type for a value of any type"),
    (list[list[object]], "data.field[][]: Avro has no type for a value of any type"),
    (Decimal, "data.field: Avro needs to know how many digits and places a decimal has: annotate it as"),
    (list[Item], "data.field[].weight: Avro needs to know how many digits"),
    (dict[date, int], "data.field: the keys of Avro's maps are strings: use str, int, UUID or an enum"),
    (tuple[int, str], "data.field: Avro has no type for a tuple of several types: make it a model"),
    (list[int] | list[str], "data.field: two types of the union are both 'array' in Avro: keep one of them"),
    (UUID | str, "data.field: two types of the union are both 'string' in Avro"),
    (SecretStr, "data.field: it has a serializer of its own"),
    (Annotated[str, PlainSerializer(str.upper)], "data.field: it has a serializer of its own: annotate it as what"),
    (
        Seconds,
        "data.field: Seconds sets ser_json_timedelta, and upcasters would get other JSON from Avro: leave it out",
    ),
    (Loose, "data.field: Loose allows extra fields: name them"),
    (Mixed, "data.field: the choice of [1, 'two'] is not of one type"),
    (complex, "data.field: Avro has no type for what pydantic calls 'complex'"),
    (tuple[Item | None, OtherItem], "data.field[0].weight: Avro needs to know"),
    (tuple[OtherItem, ...] | AnotherItem, "data.field: two classes are named Item: rename one"),
]


@pytest.mark.parametrize(("annotation", "said"), REFUSED, ids=[said[:40] for _, said in REFUSED])
def test_what_avro_cannot_express_is_refused_with_its_path(annotation: Any, said: str) -> None:
    class Refused(Event, type="task.refused"):
        field: annotation

    with pytest.raises(ConfigurationError) as refusal:
        AvroCodec("http://localhost").declare([Refused])
    assert str(refusal.value).startswith("task.refused: data.field")
    assert said in str(refusal.value)


def test_a_namespace_is_dotted_lower_case_words() -> None:
    with pytest.raises(ConfigurationError, match="use dotted lower case words"):
        AvroCodec("http://localhost", namespace="Shop-1")
