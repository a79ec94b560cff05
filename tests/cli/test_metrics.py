"""`metrics` names what is measured, and `worker --metrics-port` serves it, and whether the worker is well."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Column, MetaData, String, Table

from eventstore import EventStore, Recorded, SqliteLog, SqlProjection, projects
from eventstore.telemetry.catalog import METRICS
from examples.task_domain.aggregates import Task
from examples.task_domain.events import TaskCreated
from tests.cli.conftest import APP, Cli, command, environment


def test_every_metric_is_listed_with_both_its_names(cli: Cli) -> None:
    rows = [json.loads(line) for line in cli("--json", "metrics", "list").stdout.splitlines()]
    assert [(row["metric"], row["prometheus"]) for row in rows] == [
        (metric.name, metric.exposed_name) for metric in METRICS
    ]


def test_dashboard_and_rules_are_json(cli: Cli) -> None:
    assert json.loads(cli("metrics", "dashboard", "--title", "Tasks").stdout)["title"] == "Tasks"
    (group,) = json.loads(cli("metrics", "rules", "--runbook", "https://docs.example").stdout)["groups"]
    assert group["rules"][0]["annotations"]["runbook_url"].startswith("https://docs.example#eventstore")


@contextmanager
def running(*arguments: str, database: Path, app: str = APP) -> Generator[tuple[subprocess.Popen[str], str]]:
    """Run a worker, and give it with where it serves what."""
    with subprocess.Popen(
        command(*arguments),
        env=environment(database, app) | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    ) as worker:
        try:
            assert worker.stdout is not None
            found = re.search(r"(http://\S+)/metrics", worker.stdout.readline())
            assert found is not None
            assert "working on" in worker.stdout.readline()
            yield worker, found[1]
        finally:
            worker.send_signal(signal.SIGTERM)
        assert worker.wait() == 0


def asked(url: str) -> tuple[int, object]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)


def test_a_worker_serves_its_metrics_to_prometheus(database: Path) -> None:
    with (
        running("worker", "--metrics-port", "0", database=database) as (_, url),
        urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer,
    ):
        text = answer.read().decode()
    assert "# HELP eventsourcing_projection_lag_time_seconds Age of the oldest event" in text


def test_a_worker_says_whether_it_is_live_and_ready(database: Path) -> None:
    with running("worker", "--metrics-port", "0", database=database) as (_, url):
        for path in ("live", "ready"):
            assert asked(f"{url}/{path}") == (200, {"status": "ok", "failing": []})
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{url}/secrets", timeout=5)


def test_a_worker_whose_event_loop_hangs_is_not_live(database: Path) -> None:
    with running("worker", "--metrics-port", "0", database=database, app=f"{__name__}:hanging") as (_, url):
        while not database.with_name("hangs").exists():
            time.sleep(0.01)
        assert asked(f"{url}/live") == (503, {"status": "failing", "failing": ["the event loop does not answer"]})


def hanging() -> EventStore:
    """Make a store whose read model keeps the event loop to itself for longer than a probe waits."""
    database = Path(os.environ["TASKS_DB"])

    class Hanging(
        SqlProjection,
        name="hanging",
        version=1,
        tables=[Table("h", MetaData(), Column("id", String, primary_key=True))],
    ):
        @projects
        async def created(self, db: object, event: TaskCreated, at: Recorded) -> None:
            if at.version == 1 and not database.with_name("hangs").exists():
                database.with_name("hangs").touch()
                time.sleep(6)

    return EventStore(
        SqliteLog(database), aggregates=[Task], projections=[Hanging], query_store=database.with_name("other.db")
    )
