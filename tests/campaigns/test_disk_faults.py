"""Every system call with which SQLite touches the log's files is failed in turn: killed, EIO, ENOSPC."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections import Counter as Tally
from pathlib import Path

import pytest

from tests.campaigns.judge import Evidence, judge

CALLS = "openat,pwrite64,write,fdatasync,fsync,ftruncate,fallocate,unlink,fchmod,fchown,mmap"
FAULTS = ("signal=KILL", "error=EIO", "error=ENOSPC")
WORKLOADS = ("create", "append", "checkpoint")
pytestmark = pytest.mark.skipif(
    shutil.which("strace") is None and os.environ.get("CI") != "true", reason="strace is not installed"
)


def traced(path: Path, workload: str, inject: str | None, report: Path) -> subprocess.CompletedProcess[str]:
    files = [option for suffix in ("", "-wal", "-shm", "-journal") for option in ("-P", f"{path}{suffix}")]
    faults = ["-e", f"inject={CALLS}:{inject}"] if inject else []
    return subprocess.run(
        ["strace", "-f", "-qq", "-o", str(report), "-e", f"trace={CALLS}", *files, *faults,
         sys.executable, "-m", "tests.campaigns.writer", str(path), workload],
        capture_output=True, text=True,
    )  # fmt: skip


async def prepared(directory: Path, workload: str, name: str) -> tuple[Path, Evidence]:
    """Give a file for the workload: none yet for `create`, one with events otherwise."""
    path, evidence = directory / f"{name}.db", Evidence()
    if workload != "create":
        done = subprocess.run(
            [sys.executable, "-m", "tests.campaigns.writer", str(path), "append"], stdout=subprocess.PIPE, text=True
        )
        evidence.hear(done.stdout)
    return path, evidence


async def calls_of(directory: Path, workload: str) -> int:
    """Count the calls of the thread that makes most of them: strace counts per thread."""
    path, _ = await prepared(directory, workload, "dry")
    traced(path, workload, None, directory / "dry.txt")
    by_thread = Tally(line.split(maxsplit=1)[0] for line in (directory / "dry.txt").read_text().splitlines())
    return max(by_thread.values())


async def fail_every(directory: Path, workload: str, fault: str, step: int) -> tuple[int, Tally[str]]:
    outcomes: Tally[str] = Tally()
    runs = 0
    for index in range(1, await calls_of(directory, workload) + 1, step):
        path, evidence = await prepared(directory, workload, f"{fault[-4:]}-{index}")
        done = traced(path, workload, f"{fault}:when={index}", directory / "faults.txt")
        if "KILL" not in fault:
            assert done.returncode == 0, f"{workload} {fault} {index}: {done.stderr}"
        evidence.hear(done.stdout)
        await judge(path, evidence)
        outcomes.update(evidence.errors)
        runs += 1
        for leftover in directory.glob(f"{path.name}*"):
            leftover.unlink()
    return runs, outcomes


@pytest.mark.timeout(120)
@pytest.mark.parametrize("fault", FAULTS)
async def test_some_failed_system_calls_lose_nothing(tmp_path: Path, fault: str) -> None:
    runs, _ = await fail_every(tmp_path, "append", fault, step=9)
    assert runs > 2


@pytest.mark.campaign
@pytest.mark.parametrize("workload", WORKLOADS)
@pytest.mark.parametrize("fault", FAULTS)
async def test_every_failed_system_call_loses_nothing(tmp_path: Path, workload: str, fault: str) -> None:
    started = time.monotonic()
    runs, outcomes = await fail_every(tmp_path, workload, fault, step=1)
    print(f"{workload} {fault}: {runs} runs in {time.monotonic() - started:,.0f} s, {dict(outcomes)}")
