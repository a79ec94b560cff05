"""How one type of a field stands in Avro: its schema, how values are handed to the writer, and how defaults are written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final, NamedTuple, TypeAlias, cast
from uuid import UUID

from pydantic_core import to_jsonable_python

from eventstore.core.records import to_micros
from eventstore.schema.samples import DEPTH, Sampler, chosen, decimals, several, simple

AvroSchema: TypeAlias = str | dict[str, Any] | list[Any]
"""A schema as JSON: the name of a type, an object, or the branches of a union."""
Convert: TypeAlias = Callable[[Any], Any]

_NAIVE_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - the epoch of times without a zone
_DAY_ZERO: Final = date(1970, 1, 1)
_MICROSECOND: Final = timedelta(microseconds=1)


def _no_union(_value: object) -> str:
    return ""


class Form(NamedTuple):
    """How values of one type are written.

    Attributes:
        schema: The type in Avro; records and enums by their names.
        python: The classes of the values.
        encode: From what the event holds to what the writer takes; None where that is the same.
        default: From a value to a default in a schema; None where that is the same.
        branch_of: Of a union: the name of the branch that a value is of.
        sample: Gives values of the type.
    """

    schema: AvroSchema
    python: tuple[type, ...]
    encode: Convert | None = None
    default: Convert | None = None
    branch_of: Callable[[Any], str] = _no_union
    sample: Sampler = simple("none")

    @property
    def branch(self) -> str:
        """The name that tells the type from others in a union."""
        return branch_name(self.schema)

    def encoded(self, value: Any) -> Any:
        """Give what the writer takes for a value."""
        return value if self.encode is None else self.encode(value)

    def as_default(self, value: Any) -> Any:
        """Give how a schema writes a default."""
        return value if self.default is None else self.default(value)


def branch_name(schema: AvroSchema) -> str:
    """Give the name of a type among the branches of a union; records and enums are given by their names."""
    if isinstance(schema, list):
        return "union"
    return schema if isinstance(schema, str) else cast("str", schema["type"])


def iso_duration(value: timedelta) -> str:
    """Write a duration as JSON has it."""
    return cast("str", to_jsonable_python(value))


def with_zone(value: datetime) -> datetime:
    """Accept a time that names a moment.

    Raises:
        ValueError: It has no zone.
    """
    if value.tzinfo is None:
        message = f"{value.isoformat()} has no time zone, so it is no moment: annotate the field as NaiveDatetime"
        raise ValueError(message)
    return value


def without_zone(value: datetime) -> datetime:
    """Accept a time that every zone reads differently.

    Raises:
        ValueError: It has a zone.
    """
    if value.tzinfo is not None:
        message = f"{value.isoformat()} has a time zone and the field is for times without"
        raise ValueError(message)
    return value


def zoneless_time(value: time) -> time:
    """Accept a time of day.

    Raises:
        ValueError: It has a zone, which Avro cannot keep.
    """
    if value.tzinfo is not None:
        message = f"{value.isoformat()} has a time zone, which Avro's time of day cannot keep"
        raise ValueError(message)
    return value


def utf8(value: bytes) -> bytes:
    """Accept what JSON can hold, too: upcasters and people get events as JSON.

    Raises:
        ValueError: It is no UTF-8.
    """
    value.decode()
    return value


def member_value(value: object) -> object:
    """Give the value of an enum's member, which may have been replaced by its value already."""
    return value.value if isinstance(value, Enum) else value


def _days(value: date) -> int:
    return (value - _DAY_ZERO).days


def _of_the_day(value: time) -> int:
    return _of_the_epoch(datetime.combine(_DAY_ZERO, value))


def _of_the_epoch(value: datetime) -> int:
    return (value - _NAIVE_EPOCH) // _MICROSECOND


def _latin(value: bytes) -> str:
    return value.decode("latin-1")


def _unscaled(scale: int) -> Convert:
    def as_bytes(value: Decimal) -> str:
        number = int(value.scaleb(scale))
        return number.to_bytes((number.bit_length() + 8) // 8, signed=True).decode("latin-1")

    return as_bytes


def _simple(kind: str, name: str, python: type, encode: Convert | None = None, default: Convert | None = None) -> Form:
    """Give the form of a type; a logical one is named with what it is written as, for example `"long/time-micros"`."""
    base, _, meaning = name.partition("/")
    schema: AvroSchema = {"type": base, "logicalType": meaning} if meaning else base
    return Form(schema, (python,), encode, default, sample=simple(kind))


SIMPLE: Final[Mapping[str, Form]] = {
    "str": _simple("str", "string", str),
    "int": _simple("int", "long", int),
    "float": _simple("float", "double", float),
    "bool": _simple("bool", "boolean", bool),
    "none": _simple("none", "null", type(None)),
    "bytes": _simple("bytes", "bytes", bytes, utf8, _latin),
    "uuid": _simple("uuid", "string/uuid", UUID, None, str),
    "date": _simple("date", "int/date", date, None, _days),
    "time": _simple("time", "long/time-micros", time, zoneless_time, _of_the_day),
    "timedelta": _simple("timedelta", "string", timedelta, iso_duration, iso_duration),
}
"""By the type of the node in pydantic's core schema, where nothing else about the node matters."""

MOMENT: Final = _simple("moment", "long/timestamp-micros", datetime, with_zone, to_micros)
LOCAL: Final = _simple("local", "long/local-timestamp-micros", datetime, without_zone, _of_the_epoch)


def chosen_from(values: Sequence[object], kind: str) -> Form:
    """Give the form of a choice of values, or of an enum's members, that are written as one simple type."""
    form = SIMPLE[kind]._replace(sample=chosen(values))
    members = {type(value) for value in values if isinstance(value, Enum)}
    if not members:
        return form
    return form._replace(python=(*members, *form.python), encode=member_value, default=member_value)


def decimal_form(precision: int, scale: int) -> Form:
    """Give the form of a decimal number."""
    schema = {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}
    return Form(schema, (Decimal,), None, _unscaled(scale), sample=decimals(precision, scale))


def listed(item: Form, python: type) -> Form:
    """Give the form of an array: always handed over as a list, since a tuple would name the branch of a union."""
    encode = item.encode

    def write(values: Iterable[Any]) -> list[Any]:
        return [*values] if encode is None else [encode(value) for value in values]

    def default(values: Iterable[Any]) -> list[Any]:
        return [item.as_default(value) for value in values]

    same = python is list and encode is None
    schema = {"type": "array", "items": item.schema}
    return Form(schema, (python,), None if same else write, default, sample=several(item.sample))


def mapped(key: Convert | None, keys: Sampler, value: Form) -> Form:
    """Give the form of a map."""
    name = key or str

    def write(items: Mapping[Any, Any]) -> dict[str, Any]:
        return {name(key): value.encoded(item) for key, item in items.items()}

    def default(items: Mapping[Any, Any]) -> dict[str, Any]:
        return {name(key): value.as_default(item) for key, item in items.items()}

    def sample(variant: int, depth: int) -> dict[Any, Any]:
        names = several(keys)(variant, depth)
        return dict(zip(names, several(value.sample)(variant, depth), strict=True))

    same = key is None and value.encode is None
    return Form({"type": "map", "values": value.schema}, (dict,), None if same else write, default, sample=sample)


def optional(form: Form) -> Form:
    """Give the form of a value that may be None."""
    encode = form.encode

    def write(value: Any) -> Any:
        return None if value is None else form.encoded(value)

    def default(value: Any) -> Any:
        return None if value is None else form.as_default(value)

    def branch_of(value: Any) -> str:
        return "null" if value is None else form.branch_of(value) or form.branch

    branches = form.schema if isinstance(form.schema, list) else [form.schema]

    def sample(variant: int, depth: int) -> Any:
        return None if variant == 0 or depth > DEPTH else form.sample(variant, depth)

    python = (type(None), *form.python)
    return Form(["null", *branches], python, None if encode is None else write, default, branch_of, sample)


def union(forms: Sequence[Form]) -> Form:
    """Give the form of a union of several types besides None; every value is handed over with its branch's name."""
    by_class = {cls: form for form in forms for cls in form.python}

    def form_of(value: object) -> Form:
        for cls in type(value).__mro__:
            if cls in by_class:
                return by_class[cls]
        message = f"a {type(value).__name__} is none of {', '.join(form.branch for form in forms)}"
        raise ValueError(message)

    def write(value: object) -> tuple[str, Any]:
        form = form_of(value)
        return form.branch, form.encoded(value)

    def default(value: object) -> Any:
        return form_of(value).as_default(value)

    def branch_of(value: object) -> str:
        return form_of(value).branch

    def sample(variant: int, depth: int) -> Any:
        return forms[variant % len(forms)].sample(variant, depth)

    return Form([form.schema for form in forms], tuple(by_class), write, default, branch_of, sample)


def rooted(form: Form, cls: type) -> Form:
    """Give the form of a model that stands for its one value."""

    def write(value: Any) -> Any:
        return form.encoded(value.root)

    def default(value: Any) -> Any:
        return form.as_default(value.root)

    return form._replace(python=(cls,), encode=write, default=default)
