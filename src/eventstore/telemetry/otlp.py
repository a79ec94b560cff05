"""What was measured, for OpenTelemetry: pushed to any of its metric exporters, without its instruments on the hot path."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Final, cast

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from eventstore.background import Background
from eventstore.telemetry import catalog
from eventstore.telemetry.measurements import Distribution, Measurements, Sample

_LOGGER: Final = logging.getLogger(__name__)


@asynccontextmanager
async def pushing(
    measurements: Measurements, exporter: MetricExporter, resource: Resource | None = None, every: float = 30.0
) -> AsyncGenerator[None]:
    """Push everything that was measured while the block runs, and once more at its end.

    Args:
        measurements: Of `Telemetry.measurements`.
        exporter: For example `OTLPMetricExporter()`; it is shut down at the end.
        resource: What the numbers are of; by default what OpenTelemetry's environment variables say.
        every: Seconds between two pushes.
    """
    push = _Push(measurements, exporter, resource or Resource.create())
    background = Background()
    background.start(push.run(every), "eventstore-metrics")
    try:
        yield
    finally:
        await background.close()
        await push.once()
        await asyncio.to_thread(cast("Callable[[], None]", exporter.shutdown))  # pyright: ignore[reportUnknownMemberType]


class _Push:
    def __init__(self, measurements: Measurements, exporter: MetricExporter, resource: Resource) -> None:
        self._measurements: Final = measurements
        self._exporter: Final = exporter
        self._resource: Final = resource
        self._began: Final = time.time_ns()

    async def run(self, every: float) -> None:
        while True:
            await asyncio.sleep(every)
            await self.once()

    async def once(self) -> None:
        # In a thread: exporters wait for the network. One that fails has the next push, which has everything again.
        try:
            export = cast("Callable[[MetricsData], MetricExportResult]", self._exporter.export)  # pyright: ignore[reportUnknownMemberType]
            result = await asyncio.to_thread(export, self._collected())
        except Exception:
            _LOGGER.exception("metrics could not be pushed")
            return
        if result is not MetricExportResult.SUCCESS:
            _LOGGER.warning("metrics could not be pushed; the next push has them again")

    def _collected(self) -> MetricsData:
        by_metric: dict[catalog.Metric, list[Sample]] = defaultdict(list)
        for sample in self._measurements.samples():
            by_metric[sample.metric].append(sample)
        now = time.time_ns()
        metrics = [
            Metric(metric.name, metric.description, metric.unit, self._data(metric, samples, now))
            for metric, samples in by_metric.items()
        ]
        scope = InstrumentationScope("eventstore", version("eventstore"))
        return MetricsData([ResourceMetrics(self._resource, [ScopeMetrics(scope, metrics, "")], "")])

    def _data(self, metric: catalog.Metric, samples: list[Sample], now: int) -> Sum | Gauge | Histogram:
        if metric.kind == "histogram":
            points = [self._distribution(sample, now) for sample in samples]
            return Histogram(points, AggregationTemporality.CUMULATIVE)
        numbers = [
            NumberDataPoint(_attributes(sample), self._began, now, sample.value)
            for sample in samples
            if not isinstance(sample.value, Distribution)
        ]
        if metric.kind == "counter":
            return Sum(numbers, AggregationTemporality.CUMULATIVE, is_monotonic=True)
        return Gauge(numbers)

    def _distribution(self, sample: Sample, now: int) -> HistogramDataPoint:
        assert isinstance(sample.value, Distribution)  # noqa: S101 - by its kind
        counts, total, least, most = sample.value
        bounds = list(sample.metric.buckets)
        return HistogramDataPoint(
            _attributes(sample), self._began, now, sum(counts), total, counts, bounds, least, most
        )


def _attributes(sample: Sample) -> dict[str, str]:
    return dict(zip(sample.metric.labels, sample.labels, strict=True))
