"""What was measured so far, in plain numbers: cheap enough for every command, and read by whoever exposes them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from math import inf
from typing import Final, NamedTuple, TypeAlias

from eventstore.telemetry.catalog import METRICS, Metric

Labels: TypeAlias = tuple[str, ...]


class Distribution(NamedTuple):
    """The values of one series of a histogram.

    Attributes:
        counts: How many there were per bucket; the last one is for those above every bound.
        total: Their sum.
        least: The smallest one.
        most: The largest one.
    """

    counts: tuple[int, ...]
    total: float
    least: float
    most: float


class Sample(NamedTuple):
    """One series as it stands.

    Attributes:
        metric: What it measures.
        labels: The values of the metric's labels, in their order.
        value: A number, or a histogram's values.
    """

    metric: Metric
    labels: Labels
    value: float | Distribution


class Series:
    """The values of one combination of labels, counted by size.

    Args:
        bounds: The upper bounds of the buckets.
    """

    __slots__ = ("_bounds", "counts", "least", "most", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds: Final = bounds
        self.counts: Final = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.least = inf
        self.most = -inf

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value
        # Compared by hand: two calls of built-in functions take as long as all the rest.
        self.least = min(self.least, value)
        self.most = max(self.most, value)


class Histogram:
    """Counts values by size; one series per combination of labels."""

    __slots__ = ("_series", "metric")

    def __init__(self, metric: Metric) -> None:
        self.metric: Final = metric
        self._series: Final[dict[Labels, Series]] = {}

    def series(self, labels: Labels) -> Series:
        """Give the series of some labels; it has begun then, though without values."""
        return self._series.get(labels) or self._series.setdefault(labels, Series(self.metric.buckets))

    def observe(self, labels: Labels, value: float) -> None:
        """Count a value."""
        self.series(labels).observe(value)

    def samples(self) -> Iterator[Sample]:
        """Give every series."""
        for labels, series in list(self._series.items()):
            value = Distribution(tuple(series.counts), series.total, series.least, series.most)
            yield Sample(self.metric, labels, value)


class Number:
    """A counter or a gauge; one series per combination of labels."""

    __slots__ = ("_series", "metric")

    def __init__(self, metric: Metric) -> None:
        self.metric: Final = metric
        self._series: dict[Labels, float] = {}

    def add(self, amount: float, labels: Labels = ()) -> None:
        """Let a series grow."""
        self._series[labels] = self._series.get(labels, 0.0) + amount

    def become(self, series: Mapping[Labels, float]) -> None:
        """Replace all series: those that are not named have ended."""
        self._series = dict(series)

    def samples(self) -> Iterator[Sample]:
        """Give every series."""
        for labels, value in list(self._series.items()):
            yield Sample(self.metric, labels, value)


class Measurements:
    """All instruments of a process; written by one thread, read by any."""

    def __init__(self) -> None:
        self._histograms: Final = {metric: Histogram(metric) for metric in METRICS if metric.kind == "histogram"}
        self._numbers: Final = {metric: Number(metric) for metric in METRICS if metric.kind != "histogram"}

    def histogram(self, metric: Metric) -> Histogram:
        """Give a histogram of the catalogue."""
        return self._histograms[metric]

    def number(self, metric: Metric) -> Number:
        """Give a counter or gauge of the catalogue."""
        return self._numbers[metric]

    def samples(self) -> Iterable[Sample]:
        """Give every series of every metric, as it stands now."""
        for histogram in self._histograms.values():
            yield from histogram.samples()
        for number in self._numbers.values():
            yield from number.samples()
