"""The same service on Apache Kafka: whichever process is asked, the answers are the same."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from eventstore.kafka import KafkaLog, KafkaOptions
from tests.fastapi.serving import application, asked, store_on

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]  # a group of two members is formed first


async def test_two_processes_answer_as_one(kafka_bootstrap: str, tmp_path: Path) -> None:
    prefix = f"t{uuid4().hex[:8]}"

    def log(name: str) -> KafkaLog:
        options = KafkaOptions(partitions=2, directory=tmp_path / name)
        return KafkaLog(kafka_bootstrap, prefix=prefix, options=options)

    async with (
        asked(application(lambda: store_on(log("a"), tmp_path))) as one,
        asked(application(lambda: store_on(log("b"), tmp_path))) as other,
    ):
        for number in range(6):
            task, (first, second) = f"t{number}", (one, other) if number % 2 else (other, one)
            done = await first.create(task, "write", Idempotency_Key="k")
            again = await second.create(task, "write", Idempotency_Key="k")
            assert (done.status_code, again.status_code, again.json()) == (201, 201, done.json())
            reused = await second.create(task, "another", Idempotency_Key="k")
            assert (reused.status_code, reused.json()["type"]) == (422, "urn:eventstore:key-reused")
            told = await second.client.get(f"/tasks/{task}/commands/{done.json()['command_id']}")
            assert (told.status_code, told.json()) == (200, done.json())
            assert (await second.client.get(f"/tasks/{task}/commands/{uuid4()}")).status_code == 404
            sent = {"Eventstore-Position": done.headers["eventstore-position"], "Prefer": "wait=20"}
            assert (await second.client.get(f"/task-board/{task}", headers=sent)).status_code == 200
            stale = await first.command(task, "complete-task", If_Match='"9"')
            assert (stale.status_code, stale.json()["actual_version"]) == (412, 1)
        for service in (one, other):
            assert (await service.client.get("/health/ready")).status_code == 200
            forged = {"Eventstore-Position": f"{prefix}.task.events/0@999999"}
            assert (await service.client.get("/task-board", headers=forged)).status_code == 400
