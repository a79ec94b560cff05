"""`eventstore plan`, as a person and as a program sees it."""

from __future__ import annotations

import json
import subprocess

from tests.cli.conftest import command

ASKED = ("plan", "--events-per-second", "20", "--streams", "1000000", "--event-bytes", "350")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False)


def test_a_plan_needs_no_application_and_fits_a_screen() -> None:
    done = run(*ASKED, "--retention", "90")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) <= 24
    assert lines[1].split() == ["events", "in", "the", "log", "155,520,000"]
    assert any(line.startswith("takeover after a kill") and line.endswith(" s") for line in map(str.rstrip, lines))


def test_a_program_gets_numbers_with_the_demand_and_on_request_their_sources() -> None:
    (found,) = [json.loads(line) for line in run("--json", *ASKED, "--retention", "1", "--figures").stdout.splitlines()]
    assert found["plan"]["events"] == 20 * 86_400
    assert found["demand"]["peak"] == 100
    assert found["warnings"] == []
    assert all(figure["source"] for figure in found["figures"])
    assert "figures" not in json.loads(run("--json", *ASKED).stdout)


def test_forever_is_ten_years() -> None:
    found = json.loads(run("--json", *ASKED, "--retention", "forever").stdout)
    assert found["demand"]["days"] == 3650
    assert any("not ready for more than an hour" in line for line in found["warnings"])


def test_what_makes_no_sense_is_refused_in_a_sentence() -> None:
    done = run(*ASKED, "--retention", "a year")
    assert done.returncode == 2
    assert done.stderr.strip() == "error: --retention a year: give a number of days, or forever"
    assert "peak, 10 events/s, is below the average" in run(*ASKED, "--peak", "0.5").stderr
