"""Commands: requests in the imperative, which an aggregate may reject."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Command(BaseModel):
    """A request to one aggregate: immutable, validated when it is built, and refused when it has unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
