"""A dashboard for Grafana, made from the catalogue: every metric is on it, and every query names a metric that exists."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from eventstore.telemetry import catalog
from eventstore.telemetry.catalog import METRICS, Metric

_WIDTH: Final = 24
_HEIGHT: Final = 8
_COLUMNS: Final = 3
_UNITS: Final = {"s": "s", "1": "percentunit"}
_SELECTOR: Final = '{job=~"$job"}'


class _Row(NamedTuple):
    title: str
    metrics: tuple[Metric, ...]


_ROWS: Final = (
    _Row(
        "Commands",
        (catalog.COMMAND_DURATION, catalog.COMMIT_DURATION, catalog.COMMIT_BATCH_SIZE, catalog.APPENDED_EVENTS),
    ),
    _Row("Trouble", (catalog.APPEND_CONFLICTS, catalog.APPEND_FAILURES, catalog.DEAD_LETTERS, catalog.VOID_RECORDS)),
    _Row(
        "Read models",
        (
            catalog.LAG_SECONDS,
            catalog.LAG_EVENTS,
            catalog.VISIBILITY_DELAY,
            catalog.PROJECTED_EVENTS,
            catalog.PROJECTION_DURATION,
            catalog.PROJECTION_STATE,
            catalog.REBUILD_PROGRESS,
        ),
    ),
    _Row(
        "Ownership and index",
        (catalog.OWNER_STATE, catalog.OWNER_FENCES, catalog.INDEX_LAG, catalog.REPLAYED_EVENTS),
    ),
)


def dashboard(title: str) -> dict[str, Any]:
    """Give the model of a dashboard, to be imported in Grafana.

    Args:
        title: How it is called.
    """
    assert {metric for row in _ROWS for metric in row.metrics} == {*METRICS}  # noqa: S101 - all are on it
    panels: list[dict[str, Any]] = []
    y = 0
    for row in _ROWS:
        panels.append(
            {"type": "row", "title": row.title, "collapsed": False, "panels": [], "gridPos": _at(0, y, _WIDTH, 1)}
        )
        y += 1
        width = _WIDTH // _COLUMNS
        for number, metric in enumerate(row.metrics):
            place = _at(number % _COLUMNS * width, y + number // _COLUMNS * _HEIGHT, width, _HEIGHT)
            panels.append(_panel(metric, place))
        y += -(-len(row.metrics) // _COLUMNS) * _HEIGHT
    for number, panel in enumerate(panels, 1):
        panel["id"] = number
    return {
        "title": title,
        "uid": "eventstore",
        "tags": ["eventstore"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_source(), _job()]},
        "annotations": {"list": []},
        "panels": panels,
    }


def queries(metric: Metric) -> list[tuple[str, str]]:
    """Give what a panel asks Prometheus for a metric: expressions, each with the legend of its lines."""
    name, by = metric.exposed_name, ", ".join(metric.labels)
    legend = " ".join(f"{{{{{label}}}}}" for label in metric.labels) or "all"
    grouped = f" by ({by})" if by else ""
    match metric.kind:
        case "counter":
            return [(f"sum{grouped} (rate({name}{_SELECTOR}[$__rate_interval]))", legend)]
        case "gauge":
            return [(f"max{grouped} ({name}{_SELECTOR})", legend)]
        case "histogram":
            inner = f"sum by (le{', ' + by if by else ''}) (rate({name}_bucket{_SELECTOR}[$__rate_interval]))"
            return [
                (f"histogram_quantile({quantile}, {inner})", f"p{quantile * 100:g} {legend}")
                for quantile in (0.5, 0.99)
            ]


def _panel(metric: Metric, place: dict[str, int]) -> dict[str, Any]:
    unit = _UNITS.get(metric.unit, "short")
    return {
        "type": "timeseries",
        "title": metric.name.removeprefix("eventsourcing.").replace(".", " ")
        + (" per second" if metric.kind == "counter" else ""),
        "description": metric.description,
        "datasource": {"type": "prometheus", "uid": "${source}"},
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + number), "expr": expression, "legendFormat": legend}
            for number, (expression, legend) in enumerate(queries(metric))
        ],
    }


def _at(x: int, y: int, width: int, height: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": width, "h": height}


def _source() -> dict[str, Any]:
    return {"type": "datasource", "name": "source", "label": "Prometheus", "query": "prometheus", "hide": 0}


def _job() -> dict[str, Any]:
    return {
        "type": "query",
        "name": "job",
        "label": "Job",
        "datasource": {"type": "prometheus", "uid": "${source}"},
        "query": f"label_values({catalog.COMMIT_DURATION.exposed_name}_count, job)",
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
        "refresh": 2,
    }
