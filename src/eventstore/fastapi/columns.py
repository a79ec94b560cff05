"""The columns of a read model as parameters: typed, and only those that can be compared."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from enum import Enum
from typing import Annotated, Any, Final, Literal, get_args, get_origin

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, create_model

from eventstore.core.definitions import SubscriptionDefinition
from eventstore.core.errors import ConfigurationError
from eventstore.core.rows import Row
from eventstore.fastapi.positions import Staleness
from eventstore.sql.columns import value_type
from eventstore.sql.tables import storages

LONGEST_TEXT: Final = 1_000
_RESERVED: Final = ("sort", "limit", "after", "stale")
_ORDERED: Final = (int, float, date, datetime)


def _without_nul(text: str) -> str:
    if "\0" in text:
        message = "a NUL character is in no text"
        raise ValueError(message)
    return text


def _as_number(value: object) -> object:
    return int(value) if isinstance(value, str) and value.lstrip("-").isdecimal() and len(value) < 20 else value  # noqa: PLR2004 - what fits 64 bits


_INT: Final = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
_FLOAT: Final = Annotated[float, Field(allow_inf_nan=False)]
_TEXT: Final = Annotated[str, Field(max_length=LONGEST_TEXT), AfterValidator(_without_nul)]
# Within a day of the calendar's ends, a time may have no equal in UTC.
_MOMENT: Final = Annotated[
    AwareDatetime, Field(ge=datetime(1, 1, 2, tzinfo=UTC), le=datetime(9999, 12, 30, tzinfo=UTC))
]


class Columns:
    """What of a read model's columns clients can name.

    Args:
        definition: A version with rows.

    Attributes:
        row: The class of its rows.
        key: The key's columns.
        types: The type of a parameter, by the column that is compared with it.

    Raises:
        ConfigurationError: A column has the name of a parameter that every list has.
    """

    def __init__(self, definition: SubscriptionDefinition) -> None:
        if definition.row is None:
            message = f"{definition.label} has no rows: write endpoints of your own on its tables"
            raise ConfigurationError(message)
        self.row: Final[type[Row]] = definition.row
        self.key: Final = definition.key
        self.types: Final[dict[str, Any]] = {}
        self._ordered: Final[list[str]] = []
        for name, (storage, _) in storages(self.row, self.key).items():
            kind = value_type(self.row.model_fields[name].annotation)
            # What identifies rows has one stored form that sorts as its values do.
            if name in _RESERVED:
                message = f"{self.row.__name__}.{name}: lists have a parameter of this name; rename the field"
                raise ConfigurationError(message)
            if (storage.key or kind is float) and kind is not bytes:
                self.types[name] = _parameter(kind)
                if kind in _ORDERED:
                    self._ordered.append(name)

    def list_parameters(self, name: str, usual_limit: int, longest: int) -> type[BaseModel]:
        """Make the model of a list's query: filters, order and page; anything else is refused.

        Args:
            name: Of the model.
            usual_limit: Rows per page.
            longest: Rows per page at most.
        """
        fields: dict[str, Any] = {}
        for column, kind in self.types.items():
            fields[f"{column}__eq"] = (kind | None, Field(None, alias=column))
        for column in self._ordered:
            for bound, text in (("min", "at least"), ("max", "at most")):
                described = Field(None, alias=f"{column}.{bound}", description=f"`{column}` is {text} this.")
                fields[f"{column}__{bound}"] = (self.types[column] | None, described)
        order = _one_of(f"{sign}{column}" for column in self.types for sign in ("", "-"))
        fields["sort"] = (
            order | None,
            Field(None, description="A column, with `-` before it for the other direction."),
        )
        fields["limit"] = (int, Field(usual_limit, ge=1, le=longest, description="Rows per page."))
        fields["after"] = (str | None, Field(None, max_length=4_096, description="`next` of the page before."))
        fields["stale"] = (Staleness, Field("refuse", description="`allow`: older rows, if newer ones are not there."))
        model: type[BaseModel] = create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
        return model


def _one_of(names: Iterable[str]) -> Any:
    allowed: Any = Literal
    return allowed[tuple(names)]


def _parameter(kind: Any) -> Any:
    if get_origin(kind) is Literal:
        values = get_args(kind)
        return Annotated[kind, BeforeValidator(_as_number)] if all(isinstance(value, int) for value in values) else kind
    if isinstance(kind, type) and issubclass(kind, Enum):
        numbers = all(isinstance(member.value, int) for member in kind)
        return Annotated[kind, BeforeValidator(_as_number)] if numbers else kind
    bounded: dict[Any, Any] = {int: _INT, float: _FLOAT, str: _TEXT, datetime: _MOMENT}
    return bounded.get(kind, kind)
