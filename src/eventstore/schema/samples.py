"""Values for sample events: the same each time, a few of every type."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final, TypeAlias
from uuid import UUID

from pydantic import ValidationError

from eventstore.core.errors import ConfigurationError
from eventstore.core.events import Event

VARIANTS: Final = 3
"""How many samples there are of an event: the least it can hold, something in everything, more in everything."""

DEPTH: Final = 4
"""How deep a type that holds itself is filled."""

Sampler: TypeAlias = Callable[[int, int], Any]
"""Gives the value of a variant, at a depth."""

_DATES: Final = (date(2024, 2, 29), date(1999, 12, 31), date(2038, 1, 19))
_CLOCK: Final = time(12, 30, 15, 123456)
_VALUES: Final[Mapping[str, Sequence[object]]] = {
    "none": (None,),
    "bool": (False, True, True),
    "int": (1, 7, 1_000_000),
    "float": (0.5, 1.0, 2.25),
    "str": ("a", "text", "Zo\u00eb"),
    "bytes": (b"a", b"\x00", b"text"),
    "uuid": [UUID(int=(0x4000 << 64) | (0x8 << 60) | number) for number in (1, 2, 3)],
    "date": _DATES,
    "time": (time(0, 0), _CLOCK, time(23, 59, 59, 999999)),
    "timedelta": (timedelta(0), timedelta(days=1, seconds=5), timedelta(microseconds=1)),
    "moment": [datetime.combine(day, _CLOCK, UTC) for day in _DATES],
    "local": [datetime.combine(day, _CLOCK) for day in _DATES],
}


def chosen(values: Sequence[object]) -> Sampler:
    """Give a value of several per variant."""
    return lambda variant, _depth: values[variant % len(values)]


def simple(kind: str) -> Sampler:
    """Give values of a simple type."""
    return chosen(_VALUES[kind])


def decimals(precision: int, scale: int) -> Sampler:
    """Give numbers of few and of all digits."""
    return chosen([Decimal(digits[:precision]).scaleb(-scale) for digits in ("1", "12", "9" * precision)])


def several(item: Sampler) -> Sampler:
    """Give none, one and two of something; none deep inside a type that holds itself."""

    def sample(variant: int, depth: int) -> list[Any]:
        return [item(place + variant, depth + 1) for place in range(0 if depth > DEPTH else variant)]

    return sample


def exactly(count: int, item: Sampler) -> Sampler:
    """Give so many of something."""
    return lambda variant, depth: [item(place + variant, depth + 1) for place in range(count)]


def samples_of(cls: type[Event], sampler: Sampler) -> list[Event]:
    """Make samples of an event class; fields with rules of their own need `Field(examples=[...])`.

    Args:
        cls: The class.
        sampler: Gives its data.

    Raises:
        ConfigurationError: A field does not take what is made for it; names it.
    """
    return [_sample(cls, sampler(variant, 0)) for variant in range(VARIANTS)]


def _sample(cls: type[Event], data: object) -> Event:
    try:
        return cls.model_validate(data, strict=False, by_name=True, by_alias=False)
    except ValidationError as cause:
        first = cause.errors(include_url=False)[0]
        where = ".".join(map(str, ("data", *first["loc"])))
        names = [part for part in first["loc"] if isinstance(part, str)]
        message = (
            f"{cls.event_type}: {where}: no sample can be made ({first['msg']}): "
            f"give {names[-1] if names else 'its fields'} examples: Field(examples=[...])"
        )
        raise ConfigurationError(message) from cause
