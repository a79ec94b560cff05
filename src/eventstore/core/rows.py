"""Rows of query stores."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TypeAlias

from pydantic import BaseModel, ConfigDict

Key: TypeAlias = tuple[Hashable, ...]
"""A row's key: the values of its key columns, in order."""


class Row(BaseModel):
    """One row of a read model: pydantic fields, mapped to the columns of a real SQL table.

    Plain types become columns (str, int, float, bool, bytes, date, datetime, Decimal, UUID, enums); lists,
    dicts and nested models become JSON.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
