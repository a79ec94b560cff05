"""`metrics` names what is measured, and `worker --metrics-port` serves it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import urllib.request
from pathlib import Path

from eventstore.telemetry.catalog import METRICS
from tests.cli.conftest import Cli, command, environment


def test_every_metric_is_listed_with_both_its_names(cli: Cli) -> None:
    rows = [json.loads(line) for line in cli("--json", "metrics", "list").stdout.splitlines()]
    assert [(row["metric"], row["prometheus"]) for row in rows] == [
        (metric.name, metric.exposed_name) for metric in METRICS
    ]


def test_dashboard_and_rules_are_json(cli: Cli) -> None:
    assert json.loads(cli("metrics", "dashboard", "--title", "Tasks").stdout)["title"] == "Tasks"
    (group,) = json.loads(cli("metrics", "rules", "--runbook", "https://docs.example").stdout)["groups"]
    assert group["rules"][0]["annotations"]["runbook_url"].startswith("https://docs.example#eventstore")


def test_a_worker_serves_its_metrics_to_prometheus(database: Path) -> None:
    with subprocess.Popen(
        command("worker", "--metrics-port", "0"),
        env=environment(database) | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    ) as worker:
        try:
            assert worker.stdout is not None
            found = re.search(r"http://\S+/metrics", worker.stdout.readline())
            assert found is not None
            assert "working on" in worker.stdout.readline()
            with urllib.request.urlopen(found[0], timeout=5) as answer:
                text = answer.read().decode()
        finally:
            worker.send_signal(signal.SIGTERM)
        assert worker.wait() == 0
    assert "# HELP eventsourcing_projection_lag_time_seconds Age of the oldest event" in text
