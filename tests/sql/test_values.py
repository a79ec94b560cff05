"""Every value comes back as it was written, whatever its type, from both databases."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Annotated, Any, Literal, NewType
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from eventstore import ConfigurationError, Row
from eventstore.core.definitions import SubscriptionDefinition
from eventstore.environment import SystemClock
from eventstore.sql.store import SqlQueryStore

Name = NewType("Name", str)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Inner(BaseModel):
    name: str
    parts: list[int]


class Everything(Row):
    key: str
    number: int
    ratio: float
    flag: bool
    raw: bytes
    day: date
    moment: datetime
    price: Decimal
    uuid: UUID
    colour: Colour
    level: Level
    tags: list[str]
    inner: Inner
    by_name: dict[str, int]
    maybe: int | None
    perhaps: Inner | None
    word: Literal["a", "b"]
    name: Name
    noted: Annotated[str, "a note"]


ROWS = st.builds(
    Everything,
    key=TEXT,
    number=st.integers(-(2**63), 2**63 - 1),
    ratio=st.floats(allow_nan=False, allow_infinity=False),
    flag=st.booleans(),
    raw=st.binary(max_size=20),
    day=st.dates(),
    moment=st.datetimes(timezones=st.just(UTC)),
    price=st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9),
    uuid=st.uuids(),
    colour=st.sampled_from(Colour),
    level=st.sampled_from(Level),
    tags=st.lists(TEXT, max_size=3),
    inner=st.builds(Inner, name=TEXT, parts=st.lists(st.integers(-100, 100), max_size=3)),
    by_name=st.dictionaries(TEXT, st.integers(-100, 100), max_size=3),
    maybe=st.none() | st.integers(-5, 5),
    perhaps=st.none() | st.builds(Inner, name=TEXT, parts=st.just([])),
    word=st.sampled_from(["a", "b"]),
    name=TEXT,
    noted=TEXT,
)
DEFINITION = SubscriptionDefinition("everything", 1, "code", frozenset({"x"}), row=Everything, key=("key",))


async def there_and_back(where: str, rows: list[Everything]) -> None:
    wanted = {(row.key,): row for row in rows}
    async with SqlQueryStore(where, clock=SystemClock()) as store:
        await store.register(DEFINITION, "log")
        for _ in range(2):  # inserted first, replaced then
            async with store.transaction() as transaction:
                await transaction.rows(DEFINITION, [*wanted])
                await transaction.write(DEFINITION, wanted)
        async with store.transaction() as transaction:
            found = await transaction.rows(DEFINITION, [*wanted])
        one_by_one = {key: await store.row(DEFINITION, key) for key in wanted}
    assert found == wanted
    assert one_by_one == wanted


SETTINGS = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@SETTINGS
@given(rows=st.lists(ROWS, min_size=1, max_size=5))
async def test_values_survive_sqlite(tmp_path: Path, rows: list[Everything]) -> None:
    await there_and_back(str(tmp_path / "read.db"), rows)


@pytest.mark.postgres
@SETTINGS
@given(rows=st.lists(ROWS, min_size=1, max_size=5))
async def test_values_survive_postgresql(postgres_database: str, rows: list[Everything]) -> None:
    await there_and_back(postgres_database, rows)


@pytest.mark.parametrize(
    ("annotation", "key", "said"),
    [
        (complex, "key", "a complex cannot be stored in a column"),
        (int | str, "key", "cannot be stored in a column"),
        (object, "key", "cannot be stored in a column"),
        (float, "value", "cannot be part of a key"),
        (list[int], "value", "cannot be part of a key"),
        (int | None, "value", "cannot be part of a key"),
    ],
)
async def test_a_field_that_cannot_be_stored_is_refused_with_what_can(
    tmp_path: Path, annotation: Any, key: str, said: str
) -> None:
    from pydantic import create_model

    row = create_model(
        "Bad", __base__=Row, __config__=None, key=(str, ...), value=(annotation, ...), __cls_kwargs__={}
    ) if annotation not in (complex, object) else type(
        "Bad", (Row,), {"__annotations__": {"key": str, "value": annotation}, "model_config": {"arbitrary_types_allowed": True}}
    )  # fmt: skip
    definition = SubscriptionDefinition("bad", 1, "code", frozenset({"x"}), row=row, key=(key,))
    async with SqlQueryStore(str(tmp_path / "read.db"), clock=SystemClock()) as store:
        with pytest.raises(ConfigurationError, match=said):
            await store.register(definition, "log")
