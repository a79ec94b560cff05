"""Prometheus reads a service's metrics, which hold names and numbers, and nothing that requests carried."""

from __future__ import annotations

from pathlib import Path

from eventstore import Settings
from eventstore.fastapi import metrics_router
from eventstore.telemetry import Telemetry
from eventstore.testing.memory import MemoryLog
from tests.fastapi.serving import application, asked, store_on

SECRET = "canary-7f3a"


async def test_commands_over_http_are_measured_and_their_content_is_not_shown(tmp_path: Path) -> None:
    telemetry = Telemetry()
    settings = Settings(telemetry=telemetry)
    app = application(lambda: store_on(MemoryLog(), tmp_path, settings), None, metrics_router(telemetry))
    async with asked(app) as service:
        assert (await service.create(SECRET, title=SECRET)).status_code == 201
        answer = await service.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'eventsourcing_command_duration_seconds_count{command="CreateTask",outcome="executed"} 1.0' in answer.text
    assert SECRET not in answer.text
