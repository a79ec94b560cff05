"""Changes of an event class between two releases: which of them break something, where, and which do not."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, NamedTuple
from uuid import UUID

from pydantic import AliasChoices, BaseModel, Field, NaiveDatetime, create_model

from eventstore import Event

Fields = Mapping[str, Any]
REQUIRED: Any = ...


class Change(NamedTuple):
    """The fields of the event before and after, and for a breaking one the path that has to be named."""

    name: str
    before: Fields
    after: Fields
    path: str = ""


def event(fields: Fields) -> type[Event]:
    """Make the class of one release."""
    return create_model("Changed", __base__=Event, __cls_kwargs__={"type": "test.changed"}, **fields)


def model(name: str, **fields: Any) -> type[BaseModel]:
    return create_model(name, **fields)


def enum(*symbols: str, default: str | None = None) -> type[Enum]:
    found: Any = Enum("Priority", {symbol.upper(): symbol for symbol in symbols})
    if default is not None:
        found._missing_ = classmethod(lambda cls, value: cls(default))
    return found


def number(digits: int, places: int) -> Any:
    return Annotated[Decimal, Field(max_digits=digits, decimal_places=places)]


ADDRESS = model("Address", street=(str, ...), zip=(str, ""))
TITLE: Fields = {"title": (str, ...)}

BREAKING = [
    Change("a field without a default is new", TITLE, {**TITLE, "due": (date, ...)}, "data.due"),
    Change("a field that had no default is gone", {**TITLE, "due": (date, ...)}, TITLE, "data.due"),
    Change("an optional field without a default is new", TITLE, {**TITLE, "due": (date | None, ...)}, "data.due"),
    Change("a field has another name", TITLE, {"name": (str, ...)}, "data.name"),
    Change(
        "a required field has another name, with the old one as an alias",
        TITLE,
        {"name": (str, Field(validation_alias=AliasChoices("name", "title")))},
        "data.title",
    ),
    Change("text becomes a number", {"size": (str, ...)}, {"size": (int, ...)}, "data.size"),
    Change("a whole number becomes a fraction", {"size": (int, ...)}, {"size": (float, ...)}, "data.size"),
    Change("a number becomes a flag", {"size": (int, ...)}, {"size": (bool, ...)}, "data.size"),
    Change("None is no longer allowed", {"due": (date | None, None)}, {"due": (date, date.min)}, "data.due"),
    Change("None is allowed from now on", {"due": (date, ...)}, {"due": (date | None, None)}, "data.due"),
    Change("one value becomes a list", {"owner": (str, "")}, {"owner": (list[str], [])}, "data.owner"),
    Change("a list becomes a map", {"sizes": (list[int], [])}, {"sizes": (dict[str, int], {})}, "data.sizes"),
    Change("the items of a list change", {"sizes": (list[int], [])}, {"sizes": (list[str], [])}, "data.sizes[]"),
    Change("the values of a map change", {"by": (dict[str, int], {})}, {"by": (dict[str, str], {})}, "data.by{}"),
    Change("a symbol is gone", {"p": (enum("low", "high"), ...)}, {"p": (enum("low"), ...)}, "data.p"),
    Change(
        "a symbol is new and the enum has no default",
        {"p": (enum("low", "high"), ...)},
        {"p": (enum("low", "high", "top"), ...)},
        "data.p",
    ),
    Change("a decimal has other places", {"m": (number(9, 2), ...)}, {"m": (number(9, 3), ...)}, "data.m"),
    Change("a moment becomes a local time", {"at": (datetime, ...)}, {"at": (NaiveDatetime, ...)}, "data.at"),
    Change("an id becomes any text", {"owner": (UUID, ...)}, {"owner": (str, ...)}, "data.owner"),
    Change("a type of a union is gone", {"v": (int | str, 0)}, {"v": (int, 0)}, "data.v"),
    Change("a type of a union is new", {"v": (int, 0)}, {"v": (int | str, 0)}, "data.v"),
    Change(
        "a field of a nested model is new and has no default",
        {"to": (list[ADDRESS], [])},
        {"to": (list[model("Address", street=(str, ...), zip=(str, ""), city=(str, ...))], [])},
        "data.to[].city",
    ),
    Change(
        "a nested model has another name",
        {"to": (ADDRESS | None, None)},
        {"to": (model("Place", street=(str, ...), zip=(str, "")) | None, None)},
        "data.to",
    ),
]

HARMLESS = [
    Change("nothing", TITLE, TITLE),
    Change("a field with a default is new", TITLE, {**TITLE, "size": (int, 0)}),
    Change("an optional field is new", TITLE, {**TITLE, "due": (date | None, None)}),
    Change("a field with a default is gone", {**TITLE, "size": (int, 0)}, TITLE),
    Change("an optional field is gone", {**TITLE, "due": (date | None, None)}, TITLE),
    Change("a list that may be empty is new", TITLE, {**TITLE, "tags": (list[str], Field(default_factory=list))}),
    Change("a map with a default is new", TITLE, {**TITLE, "by": (dict[str, int], {})}),
    Change("a nested model with a default is new", TITLE, {**TITLE, "to": (ADDRESS | None, None)}),
    Change("an enum with a default is new", TITLE, {**TITLE, "p": (enum("low"), enum("low")("low"))}),
    Change("a decimal with a default is new", TITLE, {**TITLE, "m": (number(9, 2), Decimal("1.5"))}),
    Change("the order of the fields", {**TITLE, "size": (int, 0)}, {"size": (int, 0), **TITLE}),
    Change("another default", {"size": (int, 0)}, {"size": (int, 7)}),
    Change("a default where there was none", {"size": (int, ...)}, {"size": (int, 7)}),
    Change("no default where there was one", {"size": (int, 7)}, {"size": (int, ...)}),
    Change("None becomes the default", {"due": (date | None, ...)}, {"due": (date | None, None)}),
    Change("something becomes the default of what may be None", {"n": (int | None, None)}, {"n": (int | None, 3)}),
    Change(
        "a field with a default has another name, with the old one as an alias",
        {"title": (str, "")},
        {"name": (str, Field("", validation_alias=AliasChoices("name", "title")))},
    ),
    Change(
        "the name is read under another one, too",
        TITLE,
        {"title": (str, Field(validation_alias=AliasChoices("title", "t")))},
    ),
    Change(
        "a symbol is new and the released enum has a default",
        {"p": (enum("low", "high", default="low"), ...)},
        {"p": (enum("low", "high", "top", default="low"), ...)},
    ),
    Change("a list becomes a set", {"tags": (list[str], [])}, {"tags": (set[str], set())}),
    Change("text is described", TITLE, {"title": (str, Field(description="what it is about"))}),
    Change(
        "a field with a default of a nested model is new",
        {"to": (list[ADDRESS], [])},
        {"to": (list[model("Address", street=(str, ...), zip=(str, ""), city=(str, ""))], [])},
    ),
    Change("a union in another order", {"v": (int | str, 0)}, {"v": (str | int, 0)}),
]
