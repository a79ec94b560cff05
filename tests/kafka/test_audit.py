"""Audits of read models that were built from Kafka, by another process."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest

from eventstore.kafka import KafkaLog
from tests.kafka import audited
from tests.read.planted import reading_wrongly
from tests.read.shop import Accounts, Owners, caught_up, fill

pytestmark = pytest.mark.kafka


async def audit() -> tuple[int, list[dict[str, Any]]]:
    """Run `eventstore audit` in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "eventstore.cli", "--app", "tests.kafka.audited:store", "--json", "audit"),
        env=os.environ,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, [json.loads(line) for line in out.splitlines()]


@pytest.mark.parametrize(
    ("times", "code", "verdict"), [({}, 0, None), (0, 1, "1 events skipped"), (2, 1, "1 events too many")]
)
async def test_another_process_proves_completeness_and_places_a_planted_skip_and_a_planted_double(
    tmp_path: Path, kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch, times: Any, code: int, verdict: str | None
) -> None:
    monkeypatch.setenv("AUDITED_KAFKA", kafka_bootstrap)
    monkeypatch.setenv("AUDITED_PREFIX", f"t{uuid4().hex[:8]}")
    monkeypatch.setenv("AUDITED_DIRECTORY", str(tmp_path))
    planted = cast("type[KafkaLog]", reading_wrongly(KafkaLog, {"account-3 version 2": times} if verdict else {}))
    async with audited.store(planted, "worker") as store:
        await cast("KafkaLog", store.log).serving()
        ill = store.log.partition_of("account-3")
        await fill(store, accounts=6, deposits=2)
        await caught_up(store, Accounts)
        await caught_up(store, Owners)

    returned, rows = await audit()
    wrong = [row for row in rows if not row["clean"]]

    assert (returned, len(rows)) == (code, 4)
    assert [(row["partition"], row["verdict"]) for row in wrong] == ([(ill, verdict)] * 2 if verdict else [])
    for row in wrong:
        assert row["event"] == f"account.deposited at account-3 version 2 (offset {row['differs_from']})"
