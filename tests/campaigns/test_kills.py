"""kill -9 at random points under load: nothing acknowledged is lost, nothing is there in part."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.campaigns.judge import Evidence, judge


async def kill_again_and_again(path: Path, kills: int) -> tuple[int, Evidence]:
    seed = int(os.environ.get("SEED", random.randrange(2**32)))
    print(f"seed {seed}")
    chance, evidence, events = random.Random(seed), Evidence(), 0
    for _ in range(kills):
        with subprocess.Popen(
            [sys.executable, "-m", "tests.campaigns.writer", str(path), "load"], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            first = writer.stdout.readline()
            time.sleep(chance.uniform(0, 0.15))
            writer.send_signal(signal.SIGKILL)
            evidence.hear(first + writer.stdout.read())
        events = await judge(path, evidence)
    return events, evidence


@pytest.mark.timeout(120)
async def test_a_writer_that_is_killed_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    events, evidence = await kill_again_and_again(tmp_path / "log.db", 10)
    assert len(evidence.done) > 10
    assert events > 10


@pytest.mark.campaign
async def test_three_hundred_kills_lose_nothing(tmp_path: Path) -> None:
    started, (kills, files, events, done) = time.monotonic(), (0, 0, 0, 0)
    while kills < 300:
        files += 1
        found, evidence = await kill_again_and_again(tmp_path / f"log-{files}.db", 50)
        kills, events, done = kills + 50, events + found, done + len(evidence.done)
    seconds = time.monotonic() - started
    print(f"{kills} kills, {done:,} acknowledged commands, {events:,} events, all in order, in {seconds:,.0f} s")
