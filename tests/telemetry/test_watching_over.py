"""Dashboard and alerts fit what is measured: Grafana's model, promtool and a real Prometheus say so."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from eventstore.telemetry import Telemetry
from eventstore.telemetry.alerts import ALERTS, Alert, rules
from eventstore.telemetry.catalog import METRICS
from eventstore.telemetry.dashboard import dashboard
from eventstore.telemetry.measurements import Measurements
from eventstore.telemetry.prometheus import served

RUNBOOK = Path(__file__).parents[2] / "docs" / "telemetry.md"
LABEL_VALUES = {
    "command": "Count",
    "outcome": "unknown",
    "projection": "totals",
    "state": "blocked",
    "partition": "0",
    "error": "E",
}

# What makes an alert fire, and what does not, as series of one value a minute.
FIRING: Mapping[str, Mapping[str, str]] = {
    "EventstoreProjectionBlocked": {'eventsourcing_projection_partitions{projection="x",state="blocked"}': "1+0x30"},
    "EventstoreProjectionStalled": {'eventsourcing_projection_partitions{projection="x",state="stalled"}': "1+0x30"},
    "EventstoreProjectionLate": {'eventsourcing_projection_lag_time_seconds{projection="x",partition="0"}': "61+0x30"},
    "EventstoreDeadLetters": {'eventsourcing_dead_letters{projection="x"}': "1+0x30"},
    "EventstoreCommandsFail": {
        'eventsourcing_command_duration_seconds_count{command="C",outcome="executed"}': "0+98x30",
        'eventsourcing_command_duration_seconds_count{command="C",outcome="failed"}': "0+2x30",
    },
    "EventstoreOutcomesUnknown": {
        'eventsourcing_command_duration_seconds_count{command="C",outcome="unknown"}': "0x20 1x10"
    },
    "EventstoreCommandsSlow": {
        'eventsourcing_command_duration_seconds_bucket{outcome="executed",le="1.0"}': "0+90x30",
        'eventsourcing_command_duration_seconds_bucket{outcome="executed",le="2.5"}': "0+100x30",
        'eventsourcing_command_duration_seconds_bucket{outcome="executed",le="+Inf"}': "0+100x30",
    },
    "EventstoreConflicts": {
        "eventsourcing_append_conflicts_total": "0+30x30",
        'eventsourcing_command_duration_seconds_count{command="C",outcome="executed"}': "0+100x30",
    },
    "EventstoreFenced": {"eventsourcing_owner_fences_total": "0+1x30"},
    "EventstorePartitionNotServed": {'eventsourcing_owner_partitions{instance="i",state="restoring"}': "1+0x30"},
    "EventstoreIndexBehind": {'eventsourcing_index_lag{instance="i"}': "60000+0x30"},
    "EventstoreVoidRecords": {"eventsourcing_log_void_records": "3x20 4x10"},
}
QUIET: Mapping[str, Mapping[str, str]] = {
    "EventstoreProjectionBlocked": {'eventsourcing_projection_partitions{projection="x",state="idle"}': "1+0x30"},
    "EventstoreProjectionStalled": {'eventsourcing_projection_partitions{projection="x",state="running"}': "1+0x30"},
    "EventstoreProjectionLate": {'eventsourcing_projection_lag_time_seconds{projection="x",partition="0"}': "59+0x30"},
    "EventstoreDeadLetters": {'eventsourcing_dead_letters{projection="x"}': "0+0x30"},
    "EventstoreCommandsFail": {
        'eventsourcing_command_duration_seconds_count{command="C",outcome="executed"}': "0+98x30",
        'eventsourcing_command_duration_seconds_count{command="C",outcome="rejected"}': "0+50x30",
    },
    "EventstoreOutcomesUnknown": {
        'eventsourcing_command_duration_seconds_count{command="C",outcome="unknown"}': "1+0x30"
    },
    "EventstoreCommandsSlow": {
        'eventsourcing_command_duration_seconds_bucket{outcome="executed",le="0.5"}': "0+100x30",
        'eventsourcing_command_duration_seconds_bucket{outcome="executed",le="+Inf"}': "0+100x30",
    },
    "EventstoreConflicts": {
        "eventsourcing_append_conflicts_total": "0+10x30",
        'eventsourcing_command_duration_seconds_count{command="C",outcome="executed"}': "0+100x30",
    },
    "EventstoreFenced": {"eventsourcing_owner_fences_total": "7+0x30"},
    "EventstorePartitionNotServed": {'eventsourcing_owner_partitions{instance="i",state="serving"}': "1+0x30"},
    "EventstoreIndexBehind": {'eventsourcing_index_lag{instance="i"}': "40000+0x30"},
    "EventstoreVoidRecords": {"eventsourcing_log_void_records": "3+0x30"},
}


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        message = f"{name} is missing: apt-get install prometheus"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return found


def run(*command: str | Path) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def rules_file(tmp_path: Path) -> Path:
    path = tmp_path / "rules.json"
    path.write_text(json.dumps(rules("https://docs.example/telemetry")))
    return path


def test_prometheus_accepts_the_rules(rules_file: Path) -> None:
    assert f"{len(ALERTS)} rules found" in run(tool("promtool"), "check", "rules", rules_file)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_fires_when_it_should_and_not_otherwise(alert: Alert, rules_file: Path, tmp_path: Path) -> None:
    def case(series: Mapping[str, str], *, fires: bool) -> dict[str, Any]:
        firing = f'count(ALERTS{{alertname="{alert.name}",alertstate="firing"}}) or vector(0)'
        return {
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "promql_expr_test": [
                {"expr": firing, "eval_time": "25m", "exp_samples": [{"labels": "{}", "value": int(fires)}]}
            ],
        }

    path = tmp_path / "tests.json"
    cases = [case(FIRING[alert.name], fires=True), case(QUIET[alert.name], fires=False)]
    path.write_text(json.dumps({"rule_files": [str(rules_file)], "evaluation_interval": "1m", "tests": cases}))
    run(tool("promtool"), "test", "rules", path)


def test_every_alert_has_a_section_in_the_runbook_and_no_section_is_left_over() -> None:
    sections = set(re.findall(r"^### (Eventstore\w+)$", RUNBOOK.read_text(), re.MULTILINE))
    assert sections == {alert.name for alert in ALERTS}


def test_alerts_and_dashboard_name_only_metrics_that_exist() -> None:
    named = set(re.findall(r"eventsourcing_\w+", json.dumps([rules(""), dashboard("x")])))
    known = {f"{metric.exposed_name}{end}" for metric in METRICS for end in ("", "_bucket", "_count", "_sum")}
    assert named - known == set()


def test_grafana_knows_every_field_of_the_dashboard() -> None:
    register_default_plugins()
    model = dashboard("eventstore")
    again = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(model)))
    assert lost(model, again) == []


def lost(before: Any, after: Any, path: str = "") -> list[str]:
    if isinstance(before, dict):
        return [
            found
            for key, value in before.items()
            for found in (lost(value, after[key], f"{path}.{key}") if key in after else [f"{path}.{key}"])
        ]
    if isinstance(before, list):
        pairs = enumerate(zip(before, after, strict=True))
        return [found for index, (one, other) in pairs for found in lost(one, other, f"{path}[{index}]")]
    return [] if before == after else [path]


@pytest.fixture
def prometheus(tmp_path: Path) -> Generator[str]:
    """A real Prometheus that scrapes every metric of the catalogue each fifth of a second."""
    binary = tool("prometheus")
    telemetry = Telemetry(traces=False)
    grow(telemetry.measurements)
    with served(telemetry.measurements, 0) as port, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        own = probe.getsockname()[1]
        probe.close()
        scrape = {"job_name": "shop", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
        config = {"global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"}, "scrape_configs": [scrape]}
        (tmp_path / "prometheus.json").write_text(json.dumps(config))
        server = subprocess.Popen(
            [
                binary,
                f"--config.file={tmp_path / 'prometheus.json'}",
                f"--storage.tsdb.path={tmp_path / 'data'}",
                f"--web.listen-address=127.0.0.1:{own}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield f"http://127.0.0.1:{own}"
        finally:
            server.kill()
            server.wait()


def grow(measurements: Measurements) -> None:
    for metric in METRICS:
        labels = tuple(LABEL_VALUES[label] for label in metric.labels)
        if metric.kind == "histogram":
            measurements.histogram(metric).observe(labels, 0.01)
        else:
            measurements.number(metric).add(1, labels)


def ask(prometheus: str, expression: str) -> list[Any]:
    address = f"{prometheus}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(address, timeout=5) as answer:
        found: list[Any] = json.loads(answer.read())["data"]["result"]
    return found


@pytest.mark.timeout(40)  # a server is started, and scrapes some times
def test_every_query_of_the_dashboard_finds_something_in_a_real_prometheus(prometheus: str) -> None:
    deadline = time.monotonic() + 30
    expressions = [
        target["expr"].replace("$__rate_interval", "10s").replace("$job", ".*")
        for panel in dashboard("x")["panels"]
        for target in panel.get("targets", [])
    ]
    assert len(expressions) > len(METRICS)
    while expressions:
        try:
            expressions = [expression for expression in expressions if not ask(prometheus, expression)]
        except OSError:  # it is not up yet
            assert time.monotonic() < deadline
        assert time.monotonic() < deadline, expressions
        time.sleep(0.2)
