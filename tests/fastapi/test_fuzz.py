"""Whatever is sent, the service has an answer: schemathesis, on the description that the service gives of itself."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.fastapi.processes import Process


@pytest.fixture
def process(tmp_path: Path) -> Generator[Process]:
    process = Process(tmp_path)
    process.start()
    yield process
    process.stop()


def fuzz(process: Process, *options: str) -> int:
    """Run it, and give how many requests passed; streams of events have no end and are left to their own tests."""
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--no-color", "run", f"{process.address}/openapi.json"),
        *("--checks", "not_a_server_error", "--exclude-path-regex", "^/(events|changes)"),
        *("--generation-database", "none", "--request-timeout", "10", *options),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=process.directory)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in process.said()
    passed = re.search(r"generated, (\d+) passed", done.stdout)
    assert passed is not None, done.stdout
    return int(passed[1])


@pytest.mark.timeout(60)  # a process is started twice
def test_no_request_makes_the_service_fail(process: Process) -> None:
    assert (
        fuzz(process, "--phases", "coverage,fuzzing", "--max-examples", "10", "--max-time", "12", "--seed", "7") > 100
    )


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(5))
def test_no_request_of_many_makes_the_service_fail(process: Process, seed: int) -> None:
    assert fuzz(process, "--phases", "coverage,fuzzing,stateful", "--max-examples", "300", "--seed", str(seed)) > 4_000
