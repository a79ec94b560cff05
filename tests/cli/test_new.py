"""`eventstore new` makes a project that works as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("COV", "PYTEST", "EVENTSTORE"))}
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=cwd, env=plain, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("new")
    made = run("eventstore.cli", "new", "help-desk", cwd=place)
    assert made.returncode == 0, made.stderr
    return place / "help-desk"


def test_the_tests_of_a_new_project_pass(project: Path) -> None:
    done = run("pytest", "-q", "-W", "error", cwd=project)
    assert (done.returncode, "4 passed" in done.stdout) == (0, True), done.stdout


def test_a_new_project_runs_and_the_commands_of_its_readme_work(project: Path) -> None:
    first, second = run("help_desk", cwd=project), run("help_desk", cwd=project)
    assert (first.stdout, second.returncode) == ("1 The printer is on fire\n", 0), first.stderr + second.stderr
    assert second.stdout.splitlines() == ["1 The printer is on fire", "2 The printer is on fire"]
    for command in (["tail"], ["show", "ticket-1"], ["projections"], ["doctor"]):
        done = run("eventstore.cli", "--app", "help_desk.app:store", *command, cwd=project)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.timeout(90)  # mypy reads pydantic for the first time
def test_a_new_project_passes_strict_checks(project: Path) -> None:
    for command in (["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy", "."]):
        done = run(*command, cwd=project)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["json", "class", "3x", "eventstore", "tests"])
def test_a_name_that_cannot_be_a_package_is_refused(name: str, tmp_path: Path) -> None:
    done = run("eventstore.cli", "new", name, cwd=tmp_path)
    assert (done.returncode, [*tmp_path.iterdir()]) == (2, [])
    assert name in done.stderr


def test_a_directory_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    done = run("eventstore.cli", "new", str(tmp_path), cwd=ROOT)
    assert (done.returncode, "not empty: nothing was written" in done.stderr) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
