"""A closed Kafka log leaves nothing behind: no task, thread, file, socket or warning."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.kafka


@pytest.mark.timeout(60)
async def test_closing_leaves_nothing_behind(tmp_path: Path, kafka_bootstrap: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-X", "dev", "-W", "error", "-m", "tests.kafka.closing", kafka_bootstrap, str(tmp_path),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    left, warned = await process.communicate()
    lines = [line for line in warned.decode().splitlines() if "NotLeader" not in line]
    assert (left.decode(), lines, process.returncode) == ("", [], 0)
