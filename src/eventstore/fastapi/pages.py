"""Pages of a list: a row's place in an order is its cursor, so pages neither skip nor repeat rows that stay."""

from __future__ import annotations

import base64
import binascii
import operator
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from sqlalchemy import ColumnElement, Select, Table, and_, or_, select, tuple_

from eventstore.core.rows import Row
from eventstore.fastapi.columns import Columns
from eventstore.fastapi.problems import RefusedError, misunderstood

_INVALID: Final = misunderstood("invalid-cursor")
_CONFIG: Final = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")


class Order:
    """Rows in order of a column, those without a value last, and of the key.

    Args:
        columns: The read model's.
        sort: The column, with `-` before it for the other direction; None for the key alone.
    """

    def __init__(self, columns: Columns, sort: str | None) -> None:
        self._key: Final = columns.key
        self._sort: Final = sort
        self._column: Final = sort.removeprefix("-") if sort else None
        self._descending: Final = sort is not None and sort.startswith("-")
        place: Any = columns.types[self._column] | None if self._column else None
        keys = tuple(columns.types[name] for name in columns.key)
        kind: Any = tuple[(Literal[sort] if sort else None, place, *keys)]  # type: ignore[misc]
        self._cursor: Final[TypeAdapter[tuple[Any, ...]]] = TypeAdapter(kind, config=_CONFIG)

    def cursor(self, row: Row) -> str:
        """Give the place of a row."""
        place = getattr(row, self._column) if self._column else None
        plain = (self._sort, place, *(getattr(row, name) for name in self._key))
        return base64.urlsafe_b64encode(self._cursor.dump_json(plain)).decode().rstrip("=")

    def page(self, table: Table, filters: list[ColumnElement[bool]], after: str | None, limit: int) -> Select[Any]:
        """Select a page, and one row more if there is a next one.

        Raises:
            RefusedError: The cursor is none of this order.
        """
        keys = [table.c[name] for name in self._key]
        query = select(table).where(*filters).limit(limit + 1)
        if after is not None:
            query = query.where(self._behind(table, after))
        if self._column is None:
            return query.order_by(*keys)
        column = table.c[self._column]
        return query.order_by(column.is_(None), column.desc() if self._descending else column.asc(), *keys)

    def _behind(self, table: Table, after: str) -> ColumnElement[bool]:
        _, place, *key = self._read(after)
        columns = [table.c[name] for name in self._key]
        # Typed as the columns are: their values may be stored in another form.
        later_key = tuple_(*columns) > tuple_(*key, types=[column.type for column in columns])
        if self._column is None:
            return later_key
        column = table.c[self._column]
        if place is None:
            return and_(column.is_(None), later_key)
        later = column < place if self._descending else column > place
        return or_(later, and_(column == place, later_key), column.is_(None))

    def _read(self, after: str) -> tuple[Any, ...]:
        try:
            return self._cursor.validate_json(base64.b64decode(after + "=" * (-len(after) % 4), b"-_", validate=True))
        except (ValidationError, binascii.Error, ValueError) as error:
            detail = "after takes `next` of the page before, with the same sort"
            raise RefusedError(_INVALID, detail) from error


def filters_of(table: Table, columns: Columns, wanted: BaseModel) -> list[ColumnElement[bool]]:
    """Give the conditions that a list's query names."""
    conditions: list[ColumnElement[bool]] = []
    given = wanted.model_fields_set
    for name in columns.types:
        for suffix, compare in _COMPARISONS.items():
            field = f"{name}__{suffix}"
            if field in given:
                conditions.append(compare(table.c[name], getattr(wanted, field)))
    return conditions


_COMPARISONS: Final[dict[str, Any]] = {"eq": operator.eq, "min": operator.ge, "max": operator.le}
