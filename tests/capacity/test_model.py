"""The model of capacity: it agrees with what was measured, and more of anything never takes less."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import capacity_page
from eventstore import ConfigurationError
from eventstore.capacity import Demand, Plan, figures, plan, warnings
from eventstore.capacity.model import absent_on_disk, rewritten_bytes
from eventstore.kafka import bloom
from eventstore.kafka.topics import Kind, wanted_topics

ROOT = Path(__file__).parent.parent.parent
MEASURED: dict[str, dict[str, Any]] = json.loads((ROOT / "benchmarks/capacity.json").read_text())
SIZES = ("100000", "1000000", "10000000")
TOLERATED = 0.25
DAY = 86_400


def demand_of(measured: dict[str, Any]) -> Demand:
    """Give the demand that leads to a benchmark's log: all of its events in one day."""
    rate = measured["events"] / DAY
    return Demand(
        events_per_second=rate,
        peak=rate,
        event_bytes=measured["envelope_bytes"],
        streams=measured["streams"],
        days=1,
        id_bytes=measured["id_bytes"],
        replication=1,
        processes=1,
    )


PREDICTIONS: dict[str, Callable[[Plan], float]] = {
    "topic_bytes": lambda found: found.log_bytes,
    "compacted_bytes": lambda found: found.log_bytes,
    "index_bytes": lambda found: found.index_bytes,
    "tree_bytes": lambda found: found.index_cache_bytes,
    "restore_peak_bytes": lambda found: found.process_memory_bytes,
    # The machine was shared with other programs, so the time that passed says less than the processor's.
    "restore_processor_seconds": lambda found: found.restore_seconds,
    "takeover_without_index_processor_seconds": lambda found: found.cold_takeover_seconds - found.takeover_seconds,
    "build_processor_seconds": lambda found: found.rebuild_seconds,
    # Most of these is the session of the killed process, in which nobody needs a processor.
    "takeover_standby_seconds": lambda found: found.takeover_seconds,
    "takeover_restarted_seconds": lambda found: found.takeover_seconds,
}


NOT_MEASURED = {("10000000", "takeover_without_index_processor_seconds")}
"""It is a restore, which was measured, and a takeover; the page says so."""


@pytest.mark.parametrize(
    ("size", "name"), sorted({(size, name) for size in SIZES for name in PREDICTIONS} - NOT_MEASURED)
)
def test_the_model_is_within_a_quarter_of_what_was_measured(size: str, name: str) -> None:
    measured = MEASURED[size]
    predicted = PREDICTIONS[name](plan(demand_of(measured)))
    assert abs(predicted / measured[name] - 1) <= TOLERATED, f"predicted {predicted:g}, measured {measured[name]:g}"


def test_all_sizes_were_measured_with_nothing_missing_after_compaction() -> None:
    assert MEASURED.keys() == {*SIZES}
    assert [found["streams"] for found in MEASURED.values()] == [10_000, 100_000, 1_000_000]


def test_the_page_shows_what_was_recorded() -> None:
    assert capacity_page.table() in capacity_page.PAGE.read_text(), "python -m benchmarks.capacity_page"


# -- properties

RATES = st.floats(0.001, 1e5)
DEMANDS = st.builds(
    lambda rate, factor, size, streams, days, copies: Demand(rate, rate * factor, size, streams, days, replication=copies),
    RATES, st.floats(1, 20), st.floats(100, 1e5), st.integers(1, 10**9), st.floats(1, 4_000), st.integers(1, 5),
)  # fmt: skip


def whole(found: Plan) -> dict[str, float]:
    """Give what is taken altogether: with more brokers each one may have less to do."""
    each = {"broker_disk_bytes", "broker_in_bytes", "broker_out_bytes", "broker_memory_bytes"}
    spread = {"rewritten_bytes_per_day", "compaction_seconds"}
    taken = {name: getattr(found, name) for name in found.__slots__}
    del taken["index_per_stream_bytes"]
    return {name: value * (found.brokers if name in each | spread else 1) for name, value in taken.items()}


@given(DEMANDS, st.floats(1, 10), st.sampled_from(["rate", "event_bytes", "days", "streams", "replication"]))
def test_more_of_anything_never_takes_less(demand: Demand, factor: float, what: str) -> None:
    if what == "rate":
        more = replace(demand, events_per_second=demand.events_per_second * factor, peak=demand.peak * factor)
    elif what in {"streams", "replication"}:
        more = replace(demand, **{what: getattr(demand, what) + round(factor)})
    else:
        more = replace(demand, **{what: getattr(demand, what) * factor})
    less, found = whole(plan(demand)), whole(plan(more))
    # Where partitions grow with the rate, each has fewer keys to compact, and may do with fewer passes.
    partitions_grew = found["partitions"] > less["partitions"]
    skipped = {"rewritten_bytes_per_day", "compaction_seconds"} if partitions_grew else set()
    assert {name for name, value in less.items() if found[name] < value * (1 - 1e-9)} <= skipped


@given(DEMANDS)
def test_a_plan_is_one_that_can_be_run(demand: Demand) -> None:
    found = plan(demand)
    assert found.brokers >= demand.replication
    assert found.processes >= 2
    assert found.partitions >= 2 * found.processes
    assert found.partitions % 12 == 0
    assert found.cold_takeover_seconds >= found.takeover_seconds >= demand.session_seconds
    assert found.broker_disk_bytes * figures.FILLED.value <= demand.disk_bytes * figures.FILLED.value * (1 + 1e-9)
    assert 0 <= found.absent_on_disk <= 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"events_per_second": 0}, "events_per_second is 0: give a number above 0"),
        ({"days": -1}, "days is -1"),
        ({"replication": 0}, "replication is 0"),
        ({"peak": 1}, "the peak, 1 events/s, is below the average, 10"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Demand(**{"events_per_second": 10, "peak": 20, "event_bytes": 300, "streams": 5, "days": 1} | changes)


def test_a_plan_that_is_hard_to_run_says_so() -> None:
    small = Demand(events_per_second=1, peak=1, event_bytes=300, streams=1_000, days=30)
    assert not warnings(plan(small))
    large = replace(small, events_per_second=5_000, peak=5_000, days=3_650, streams=10**8)
    assert [line.split(" ")[0] for line in warnings(plan(large))] == ["a", "compaction", "one"]


# -- the figures are those of the code


def test_figures_of_the_code_are_the_codes() -> None:
    assert figures.FILTER_BITS.value == bloom._BITS
    from eventstore.kafka import KafkaOptions
    from eventstore.kafka.names import Names

    (events, *_) = (t for t in wanted_topics(Names("x"), ["task"], KafkaOptions(), 3) if t.kind is Kind.EVENTS)
    assert events.settings["max.compaction.lag.ms"] == str(round(figures.COMPACTED_EVERY.value * DAY * 1_000))
    assert Demand(1, 1, 1, 1, 1).session_seconds == KafkaOptions().session_seconds


def test_a_filter_of_the_planned_size_lets_as_many_through() -> None:
    streams = bloom.StreamFilter()
    streams.add(f"task-{number}" for number in range(1_000_000))
    streams.complete = True
    through = sum(not streams.lacks(f"other-{number}") for number in range(200_000)) / 200_000
    assert through == pytest.approx(absent_on_disk(1_000_000), rel=0.5)


def test_every_figure_has_a_source() -> None:
    for figure in figures.FIGURES:
        assert figure.source
        assert figure.value > 0
    assert len({figure.name for figure in figures.FIGURES}) == len(figures.FIGURES)


def test_a_topic_with_more_new_keys_than_the_cleaner_holds_is_rewritten_more_than_once() -> None:
    keys = figures.CLEANER_KEYS.value
    assert rewritten_bytes(1e9, keys * 4, 4) == 1e9
    assert rewritten_bytes(1e9, keys * 4 + 4, 4) == 2e9
