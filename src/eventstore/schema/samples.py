"""Sample events: some of every event class, made of its own schema, the same each time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, Final, cast
from uuid import UUID

from pydantic import ValidationError

from eventstore.core.errors import ConfigurationError
from eventstore.core.events import Event
from eventstore.schema.compatibility import names_in
from eventstore.schema.forms import AvroSchema

_DEPTH: Final = 4
_PLAIN: Final[Mapping[str, tuple[object, ...]]] = {
    "null": (None,),
    "boolean": (False, True, True),
    "long": (1, 7, 1_000_000),
    "double": (0.5, 1.0, 2.25),
    "string": ("a", "text", "Zo\u00eb"),
    "bytes": (b"a", b"\x00", b"text"),
}
_MEANT: Final[Mapping[str, tuple[object, ...]]] = {
    "uuid": tuple(UUID(int=(0x4000 << 64) | (0x8 << 60) | number) for number in (1, 2, 3)),
    "date": (date(2024, 2, 29), date(1999, 12, 31), date(2038, 1, 19)),
    "time-micros": (time(0, 0), time(12, 30), time(23, 59, 59, 999999)),
    "timestamp-micros": tuple(datetime(year, 2, 28, 12, 30, 15, 123456, UTC) for year in (2024, 1999, 2038)),
    "local-timestamp-micros": tuple(datetime(year, 2, 28, 12, 30, 15, 123456) for year in (2024, 1999, 2038)),  # noqa: DTZ001 - has none
}
VARIANTS: Final = 3
"""How many samples there are of a class: the least it can hold, something in everything, more in everything."""


def samples_of(cls: type[Event], data: AvroSchema) -> list[Event]:
    """Make samples of an event class; fields that do not take what is made take their `Field(examples=[...])`.

    Args:
        cls: The class.
        data: The schema of its data.

    Raises:
        ConfigurationError: A field takes neither; names it.
    """
    names = names_in(data)
    return [_sample(cls, cast("dict[str, Any]", data), names, variant) for variant in range(VARIANTS)]


def _sample(cls: type[Event], data: Mapping[str, Any], names: Mapping[str, Any], variant: int) -> Event:
    made = {field["name"]: _made(field["type"], names, variant, 0) for field in data["fields"]}
    examples = {name: field.examples for name, field in cls.model_fields.items() if field.examples}
    made |= {name: given[variant % len(given)] for name, given in examples.items() if name in made}
    try:
        return cls.model_validate(made, by_name=True, by_alias=False)
    except ValidationError as cause:
        first = cause.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the event"
        top = first["loc"][0] if first["loc"] else "each field"
        message = (
            f"{cls.event_type}: data.{where}: no sample can be made ({first['msg']}): "
            f"give {top} examples: Field(examples=[...])"
        )
        raise ConfigurationError(message) from cause


def _made(schema: AvroSchema, names: Mapping[str, Any], variant: int, depth: int) -> Any:
    """Make a value of a type; deep inside a type that holds itself, the least that ends it."""
    if isinstance(schema, str) and schema in names:
        schema = cast("AvroSchema", names[schema])
    if isinstance(schema, list):
        if "null" in schema and (variant == 0 or depth > _DEPTH):
            return None
        branches = [branch for branch in schema if branch != "null"]
        return _made(branches[variant % len(branches)], names, variant, depth)
    if isinstance(schema, str):
        return _PLAIN[schema][variant]
    if schema.get("logicalType") == "decimal":
        return _number(schema["precision"], schema["scale"], variant)
    if "logicalType" in schema:
        return _MEANT[schema["logicalType"]][variant]
    return _composed(schema, names, variant, depth + 1)


def _composed(schema: Mapping[str, Any], names: Mapping[str, Any], variant: int, depth: int) -> Any:
    count = 0 if depth > _DEPTH else variant
    match schema["type"]:
        case "record":
            return {field["name"]: _made(field["type"], names, variant, depth) for field in schema["fields"]}
        case "enum":
            return schema["symbols"][variant % len(schema["symbols"])]
        case "array":
            return [_made(schema["items"], names, place % VARIANTS, depth) for place in range(count)]
        case _:
            return {f"key{place}": _made(schema["values"], names, place % VARIANTS, depth) for place in range(count)}


def _number(precision: int, scale: int, variant: int) -> Decimal:
    digits = ("1", "12", "9" * precision)[variant][:precision]
    return Decimal(digits).scaleb(-scale)
