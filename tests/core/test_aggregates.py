"""States are independent copies, and fingerprints see code and nothing else."""

from __future__ import annotations

from datetime import date
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from eventstore import Aggregate, Event, evolves
from eventstore.core.aggregates import read_snapshot, write_snapshot
from eventstore.core.fingerprints import fingerprint
from eventstore.core.records import Snapshot


class Inner(BaseModel):
    names: list[str] = Field(default_factory=list)


class Grew(Event, type="plant.grew"):
    name: str
    on: date


class Plant(Aggregate, category="plant"):
    names: list[str] = Field(default_factory=list)
    by_day: dict[date, int] = Field(default_factory=dict)
    inner: Inner = Field(default_factory=Inner)
    seen: set[str] = Field(default_factory=set)
    fixed: tuple[int, ...] = (1, 2)
    last: date | None = None

    @evolves
    def grew(self, event: Grew) -> None:
        self.names.append(event.name)
        self.by_day[event.on] = self.by_day.get(event.on, 0) + 1
        self.inner.names.append(event.name)
        self.seen.add(event.name)
        self.last = event.on


EVENTS = st.lists(st.builds(Grew, name=st.text(max_size=3), on=st.dates()), max_size=8)


@given(EVENTS, EVENTS)
def test_evolving_a_copy_never_changes_the_original(before: list[Grew], after: list[Grew]) -> None:
    plant = Plant.initial("1")
    for event in before:
        plant.evolve(event, 7)
    image = plant.model_dump()
    twin = plant.copy_state()
    for event in after:
        twin.evolve(event, 8)
    assert plant.model_dump() == image
    assert (plant.id, plant.version, twin.version) == ("1", len(before), len(before) + len(after))


@given(EVENTS)
def test_a_snapshot_gives_an_equal_state(events: list[Grew]) -> None:
    plant = Plant.initial("1")
    for event in events:
        plant.evolve(event, 7)
    snapshot = Snapshot(plant.version, plant.occurred_at, plant.fingerprint, write_snapshot(plant))
    found = read_snapshot(Plant, "1", snapshot)
    assert found == plant
    assert found is not None
    assert (found.id, found.version, found.occurred_at) == (plant.id, plant.version, plant.occurred_at)


def test_a_snapshot_that_does_not_fit_is_ignored() -> None:
    assert read_snapshot(Plant, "1", Snapshot(1, 1, "", b'{"names":7}')) is None


def test_two_initial_states_share_nothing() -> None:
    one, other = Plant.initial("1"), Plant.initial("2")
    one.evolve(Grew(name="a", on=date(2026, 1, 1)))
    assert other.names == []
    assert str(other.stream) == "plant-2"


def versions_of_a_function() -> list[Any]:
    def plain(row, event):
        return row.total + event.amount

    def annotated(row, event):
        """Add up."""
        # a comment
        return row.total + event.amount

    def changed(row, event):
        return row.total - event.amount

    annotated.__name__ = changed.__name__ = plain.__name__
    return [plain, annotated, changed]


def test_fingerprints_ignore_comments_and_docstrings_but_not_code() -> None:
    plain, annotated, changed = (fingerprint("shape", one).replace("x", "") for one in versions_of_a_function())
    assert len({plain, changed}) == 2
    assert fingerprint("a") != fingerprint("b")
    del annotated


def test_a_function_without_source_has_a_fingerprint_of_its_name() -> None:
    scope: dict[str, Any] = {}
    exec("def ghost(): pass", scope)
    assert fingerprint("", scope["ghost"]) == fingerprint("", scope["ghost"])
