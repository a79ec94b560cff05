"""The rolling hash: which sequences it tells apart, and what it says about the difference."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from eventstore.core.completeness import EMPTY_HASH, DifferenceSearch, Trail, extend

IDS = st.lists(st.uuids().map(lambda found: found.bytes), min_size=1, max_size=60, unique=True)


def trail(ids: list[bytes]) -> Trail:
    return Trail(len(ids), extend(EMPTY_HASH, ids))


def found(processed: list[bytes], logged: list[bytes]) -> int | None:
    """Feed the log, whose offsets have gaps, until the search is over."""
    search = DifferenceSearch(trail(processed), trail(logged))
    assert search.is_possible
    offsets = (search.feed(event_id, 10 + 3 * number) for number, event_id in enumerate(logged))
    return next((offset for offset in offsets if offset is not None), None)


@given(IDS, st.data())
def test_it_does_not_matter_how_events_were_batched(ids: list[bytes], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(ids)))
    assert extend(extend(EMPTY_HASH, ids[:cut]), ids[cut:]) == trail(ids).event_hash


@given(IDS, st.data())
def test_another_order_gives_another_hash(ids: list[bytes], data: st.DataObject) -> None:
    other = data.draw(st.permutations(ids))
    assert (trail(other) == trail(ids)) is (other == ids)


@given(IDS, st.data())
def test_a_run_that_was_skipped_is_found(ids: list[bytes], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(ids) - 1))
    length = data.draw(st.integers(1, len(ids) - first))
    assert found(ids[:first] + ids[first + length :], ids) == 10 + 3 * first


@given(IDS, st.data())
def test_a_run_that_was_processed_twice_is_found(ids: list[bytes], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(ids) - 1))
    length = data.draw(st.integers(1, len(ids) - first))
    run = ids[first : first + length]
    assert found(ids[:first] + run + run + ids[first + length :], ids) == 10 + 3 * first


def test_what_one_run_does_not_explain_is_not_blamed_on_one() -> None:
    ids = [UUID(int=number << 64 | 1).bytes for number in range(1, 50)]
    assert found(ids[:7] + ids[8:20] + ids[21:], ids) is None
