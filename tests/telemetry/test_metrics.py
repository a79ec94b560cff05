"""What a store does is counted and timed, and exposed as it is."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData
from prometheus_client.parser import text_string_to_metric_families

from eventstore import CommandRejectedError, EventStore, OnError, Recorded, Row, Settings, SqliteLog, projects
from eventstore import Projection as RowProjection
from eventstore.core.errors import ConfigurationError, EventStoreError
from eventstore.ports import EventLog
from eventstore.telemetry import Telemetry, catalog
from eventstore.telemetry.catalog import METRICS, Metric
from eventstore.telemetry.measurements import Distribution, Histogram, Measurements
from eventstore.telemetry.otlp import pushing
from eventstore.telemetry.prometheus import exposition, served
from eventstore.telemetry.watching import look
from eventstore.testing.faults import FaultyLog
from eventstore.testing.memory import MemoryLog
from tests.waiting import until
from tests.write.domain import Count, Counted, Counter, CountUpTo, Fail


class Total(Row):
    counter: str
    total: int


class Totals(RowProjection[Total], name="totals", version=1, key="counter"):
    @projects
    def counted(self, row: Total | None, event: Counted, at: Recorded) -> Total:
        return Total(counter=at.stream.id, total=(row.total if row else 0) + event.by)


class Picky(RowProjection[Total], name="picky", version=1, key="counter", on_error=OnError.dead_letter()):
    @projects
    def counted(self, row: Total | None, event: Counted, at: Recorded) -> Total:
        raise ValueError("never")


def store_of(log: EventLog, telemetry: Telemetry, *projections: type[RowProjection[Total]], place: Path) -> EventStore:
    return EventStore(
        log,
        aggregates=[Counter],
        projections=projections,
        query_store=place / "read.db",
        settings=Settings(telemetry=telemetry),
    )


def value(measurements: Measurements, metric: Metric, *labels: str) -> float | Distribution | None:
    found = {(sample.metric, sample.labels): sample.value for sample in measurements.samples()}
    return found.get((metric, labels))


def count(measurements: Measurements, metric: Metric, *labels: str) -> int:
    found = value(measurements, metric, *labels)
    return sum(found.counts) if isinstance(found, Distribution) else 0


async def test_commands_are_timed_by_what_became_of_them(tmp_path: Path) -> None:
    telemetry = Telemetry()
    log = FaultyLog(MemoryLog(partitions=1))
    async with store_of(log, telemetry, place=tmp_path) as store:
        await store.execute(Counter, "a", Count())
        with pytest.raises(CommandRejectedError):
            await store.execute(Counter, "a", CountUpTo(limit=0))
        with pytest.raises(ZeroDivisionError):
            await store.execute(Counter, "a", Fail())
        with pytest.raises(EventStoreError):
            await store.execute(Counter, "a", Count(), expected_version=9)
        log.fail("commit", "refuse")
        with pytest.raises(EventStoreError):
            await store.execute(Counter, "a", Count())
        log.fail("commit", "hang")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await store.execute(Counter, "a", Count())
        log.released.set()
    wanted = {"executed": "Count", "rejected": "CountUpTo", "failed": "Fail", "conflict": "Count"}
    wanted |= {"unavailable": "Count", "cancelled": "Count"}
    counts = {how: count(telemetry.measurements, catalog.COMMAND_DURATION, name, how) for how, name in wanted.items()}
    assert counts == dict.fromkeys(wanted, 1)


async def test_a_group_commit_is_counted_with_its_size_events_and_failures(tmp_path: Path) -> None:
    telemetry = Telemetry()
    log = FaultyLog(MemoryLog(partitions=1))
    async with store_of(log, telemetry, place=tmp_path) as store:
        await asyncio.gather(*(store.execute(Counter, str(n), Count(times=2)) for n in range(10)))
        log.fail("commit", "refuse")
        with pytest.raises(EventStoreError):
            await store.execute(Counter, "a", Count())
    seen = telemetry.measurements
    sizes = value(seen, catalog.COMMIT_BATCH_SIZE)
    assert isinstance(sizes, Distribution)
    assert (sizes.total, value(seen, catalog.APPENDED_EVENTS)) == (10, 20)
    assert value(seen, catalog.APPEND_FAILURES, "LogUnavailableError") == 1


async def test_conflicts_between_processes_and_replayed_events_are_counted(tmp_path: Path) -> None:
    one, other = Telemetry(), Telemetry()
    async with (
        store_of(SqliteLog(tmp_path / "log.db"), one, place=tmp_path) as first,
        store_of(SqliteLog(tmp_path / "log.db"), other, place=tmp_path) as second,
    ):
        await first.execute(Counter, "a", Count(times=3))
        await second.execute(Counter, "a", Count())
        await first.execute(Counter, "a", Count())
    assert value(other.measurements, catalog.REPLAYED_EVENTS) == 3
    assert value(one.measurements, catalog.APPEND_CONFLICTS) == 1


async def test_read_models_are_counted_and_their_lag_and_dead_letters_seen(tmp_path: Path) -> None:
    telemetry = Telemetry(refresh_seconds=60)
    async with store_of(MemoryLog(partitions=1), telemetry, Totals, Picky, place=tmp_path) as store:
        done = await store.execute(Counter, "a", Count(times=3))
        await store.wait_for(Totals, done.token)
        await store.wait_for(Picky, done.token)
        await look(store, telemetry.measurements)
    seen = telemetry.measurements
    assert value(seen, catalog.PROJECTED_EVENTS, "totals") == 3
    assert count(seen, catalog.VISIBILITY_DELAY, "totals") == count(seen, catalog.PROJECTION_DURATION, "totals") > 0
    assert value(seen, catalog.LAG_EVENTS, "totals", "p0") == value(seen, catalog.LAG_SECONDS, "totals", "p0") == 0
    assert value(seen, catalog.PROJECTION_STATE, "totals", "idle") == 1
    assert value(seen, catalog.DEAD_LETTERS, "picky") == 3


async def test_lag_is_looked_at_while_the_store_is_open(tmp_path: Path) -> None:
    telemetry = Telemetry(refresh_seconds=0.01)
    async with store_of(MemoryLog(partitions=1), telemetry, Totals, place=tmp_path):
        await until(lambda: value(telemetry.measurements, catalog.LAG_EVENTS, "totals", "p0") is not None)


async def test_nothing_is_wrapped_or_run_without_telemetry(tmp_path: Path) -> None:
    log = MemoryLog(partitions=1)
    async with EventStore(log, aggregates=[Counter], query_store=tmp_path / "read.db") as store:
        before = {task.get_name() for task in asyncio.all_tasks()}
        await store.execute(Counter, "a", Count())
    assert not {name for name in before if "telemetry" in name}


def test_prometheus_reads_what_was_measured_with_the_names_of_the_catalogue() -> None:
    telemetry = Telemetry(traces=False)
    telemetry.measurements.histogram(catalog.COMMAND_DURATION).observe(("Count", "executed"), 0.003)
    telemetry.measurements.histogram(catalog.COMMAND_DURATION).observe(("Count", "executed"), 99)
    telemetry.measurements.number(catalog.APPENDED_EVENTS).add(7)
    families = {
        family.name: family for family in text_string_to_metric_families(exposition(telemetry.measurements).decode())
    }
    assert families.keys() == {metric.exposed_name.removesuffix("_total") for metric in METRICS}
    assert {family.documentation for family in families.values()} == {metric.description for metric in METRICS}
    (events,) = families["eventsourcing_append_events"].samples
    assert (events.name, events.value) == ("eventsourcing_append_events_total", 7)
    durations = {
        (sample.name.rpartition("_")[2], sample.labels.get("le")): sample.value
        for sample in families["eventsourcing_command_duration_seconds"].samples
    }
    assert durations["bucket", "0.0025"] == 0
    assert durations["bucket", "0.005"] == durations["bucket", "10.0"] == 1
    assert durations["bucket", "+Inf"] == durations["count", None] == 2
    assert durations["sum", None] == pytest.approx(99.003)


def test_a_process_without_http_of_its_own_serves_its_metrics() -> None:
    telemetry = Telemetry(traces=False)
    telemetry.measurements.number(catalog.APPENDED_EVENTS).add(7)
    with served(telemetry.measurements, 0) as port:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            assert "eventsourcing_append_events_total 7.0" in answer.read().decode()
        with pytest.raises(ConfigurationError, match="choose another port"), served(telemetry.measurements, port):
            pass


class Kept(MetricExporter):
    def __init__(self, *failures: Exception | MetricExportResult) -> None:
        super().__init__()
        self.pushed: list[MetricsData] = []
        self.failures = list(failures)
        self.closed = False

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: object) -> MetricExportResult:
        if self.failures:
            failure = self.failures.pop()
            if isinstance(failure, Exception):
                raise failure
            return failure
        self.pushed.append(metrics_data)
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: object) -> None:
        self.closed = True


def numbers(data: MetricsData) -> dict[str, object]:
    (resource,) = data.resource_metrics
    (scope,) = resource.scope_metrics
    return {metric.name: metric.data.data_points[0] for metric in scope.metrics}


async def test_opentelemetry_gets_the_same_numbers_at_the_end_and_in_between() -> None:
    measurements, exporter = Measurements(), Kept()
    measurements.histogram(catalog.COMMIT_DURATION).observe((), 0.003)
    async with pushing(measurements, exporter, every=0.01):
        await until(lambda: bool(exporter.pushed))
        measurements.number(catalog.APPENDED_EVENTS).add(7)
    last = numbers(exporter.pushed[-1])
    assert last["eventsourcing.append.events"].value == 7  # type: ignore[attr-defined]
    point = last["eventsourcing.commit.duration"]
    assert (point.count, point.sum, point.min, point.max) == (1, 0.003, 0.003, 0.003)  # type: ignore[attr-defined]
    assert exporter.closed


async def test_a_push_that_fails_is_reported_and_the_next_one_has_everything(
    caplog: pytest.LogCaptureFixture,
) -> None:
    measurements, exporter = Measurements(), Kept(OSError("no network"), MetricExportResult.FAILURE)
    measurements.number(catalog.APPENDED_EVENTS).add(7)
    async with pushing(measurements, exporter, every=0.01):
        await until(lambda: bool(exporter.pushed))
    assert len([record for record in caplog.records if "could not be pushed" in record.message]) == 2
    assert numbers(exporter.pushed[0])["eventsourcing.append.events"].value == 7  # type: ignore[attr-defined]


@pytest.mark.parametrize(("values", "counts"), [([0.5, 1.0], (2, 0, 0)), ([1.1, 2.0], (0, 2, 0)), ([3.0], (0, 0, 1))])
def test_a_value_counts_in_the_bucket_whose_bound_it_does_not_exceed(
    values: Sequence[float], counts: tuple[int, ...]
) -> None:
    histogram = Histogram(Metric("x", "histogram", "s", "", (), (1.0, 2.0)))
    for one in values:
        histogram.observe((), one)
    (sample,) = histogram.samples()
    assert sample.value == Distribution(counts, sum(values), min(values), max(values))
