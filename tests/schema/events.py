"""Events with a field of every type that Avro has, and codecs that need no registry."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field, NaiveDatetime, RootModel

from eventstore import Event
from eventstore.schema import AvroCodec
from eventstore.schema.envelope import derive


class Priority(Enum):
    LOW = "low"
    HIGH = "high"

    @classmethod
    def _missing_(cls, value: object) -> Priority:
        return cls.LOW


class Level(IntEnum):
    ONE = 1
    TWO = 2


class Shade(Enum):
    DARK = "dark-grey"
    LIGHT = "light-grey"


class Circle(BaseModel):
    kind: Literal["circle"] = "circle"
    radius: float


class Square(BaseModel):
    kind: Literal["square"] = "square"
    side: int


class Part(BaseModel):
    sku: str
    count: int = 1
    parts: list[Part] = []


class Tags(RootModel[list[str]]):
    pass


class EverythingHappened(Event, type="test.everything"):
    text: str
    number: int
    ratio: float
    flag: bool
    raw: bytes
    identity: UUID
    day: date
    clock: time
    moment: datetime
    aware: AwareDatetime
    local: NaiveDatetime
    took: timedelta
    price: Annotated[Decimal, Field(max_digits=12, decimal_places=2)]
    priority: Priority
    level: Level
    shade: Shade
    word: Literal["yes", "no"]
    maybe: int | None = None
    named: str | None = "nobody"
    either: int | str | bool | None = None
    when: date | datetime | None = None
    shape: Annotated[Circle | Square, Field(discriminator="kind")]
    shapes: list[Circle | Square] = []
    part: Part
    counts: dict[str, int] = Field(default_factory=dict)
    owners: dict[UUID, Part] = Field(default_factory=dict)
    per_level: dict[Priority, list[date]] = Field(default_factory=dict)
    names: frozenset[str] = frozenset()
    days: set[date] = set()
    pair: tuple[int, int] | None = None
    row: tuple[Priority, ...] = ()
    tags: Tags = Tags([])


def codec_of(*classes: type[Event], first_id: int = 1) -> AvroCodec:
    """Give a codec that writes and reads these classes, as if they were registered."""
    codec = AvroCodec("http://localhost")
    for schema_id, cls in enumerate(classes, first_id):
        codec.adopt(derive(cls), schema_id)
    return codec
