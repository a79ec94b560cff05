"""What was measured, for Prometheus: as text, or over HTTP for processes that serve nothing else."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from eventstore.telemetry.catalog import METRICS
from eventstore.telemetry.catalog import Metric as Described
from eventstore.telemetry.endpoint import Page, endpoint
from eventstore.telemetry.measurements import Distribution, Measurements, Sample

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
"""Of what `exposition` gives."""
METRICS_PATH = "/metrics"
"""Where Prometheus looks."""


def exposition(measurements: Measurements) -> bytes:
    """Give everything that was measured so far in Prometheus's text format.

    Args:
        measurements: Of `Telemetry.measurements`.
    """
    return generate_latest(_registry(measurements))


@contextmanager
def served(measurements: Measurements, port: int, address: str = "127.0.0.1") -> Generator[int]:
    """Serve what is measured at `/metrics`, in a thread of its own, until the block ends.

    Args:
        measurements: Of `Telemetry.measurements`.
        port: Where to listen; 0 for any free port.
        address: On which address; metrics hold names of commands and read models, so by default only this machine's.

    Yields:
        The port.

    Raises:
        ConfigurationError: The port cannot be listened on.
    """
    with endpoint({METRICS_PATH: page_of(measurements)}, port, address) as found:
        yield found


def page_of(measurements: Measurements) -> Callable[[], Page]:
    """Give the page that Prometheus reads, for an endpoint that also has others.

    Args:
        measurements: Of `Telemetry.measurements`.
    """
    return lambda: Page(200, CONTENT_TYPE, exposition(measurements))


def _registry(measurements: Measurements) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Measured(measurements))
    return registry


class _Measured(Collector):
    def __init__(self, measurements: Measurements) -> None:
        self._measurements = measurements

    def collect(self) -> Iterator[Metric]:
        families = {metric: _family(metric) for metric in METRICS}
        for sample in self._measurements.samples():
            _add(families[sample.metric], sample)
        yield from families.values()


def _family(metric: Described) -> CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily:
    name, labels = metric.exposed_name, list(metric.labels)
    match metric.kind:
        case "counter":
            return CounterMetricFamily(name, metric.description, labels=labels)
        case "gauge":
            return GaugeMetricFamily(name, metric.description, labels=labels)
        case "histogram":
            return HistogramMetricFamily(name, metric.description, labels=labels)


def _add(family: CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily, sample: Sample) -> None:
    labels, value = list(sample.labels), sample.value
    if isinstance(value, Distribution):
        assert isinstance(family, HistogramMetricFamily)  # noqa: S101 - by its kind
        bounds = [*map(str, sample.metric.buckets), "+Inf"]
        family.add_metric(labels, list(zip(bounds, accumulate(value.counts), strict=True)), value.total)
    else:
        assert not isinstance(family, HistogramMetricFamily)  # noqa: S101 - by its kind
        family.add_metric(labels, value)
