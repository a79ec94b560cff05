"""`deploy render` writes files, `deploy diff` says what about them has changed."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from eventstore.deploy import render
from eventstore.deploy.rendering import differences, write
from examples.task_domain.app import store as tasks
from tests.cli.conftest import APP, command
from tests.deploy.applications import FILE, ROOT, drawn


class Folder:
    """A copy of the file of environments, and what is rendered from it."""

    def __init__(self, path: Path) -> None:
        self.path, self.file = path, path / "environments.toml"
        self.file.write_text(FILE.read_text())

    def run(self, *arguments: str, app: str = APP) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command("--app", app, *arguments, "--environments", str(self.file)),
            cwd=ROOT,
            env={**os.environ, "NO_COLOR": "1", "COLUMNS": "80"},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_a_change_of_the_environment_shows_as_a_diff(folder: Folder) -> None:
    assert folder.run("deploy", "render", "--env", "dev").returncode == 0
    assert [path.name for path in (folder.path / "rendered").iterdir()] == ["dev"]
    folder.file.write_text(folder.file.read_text().replace("partitions = 4", "partitions = 6", 1))
    found = folder.run("--json", "deploy", "diff", "--env", "dev")
    (difference,) = json.loads(found.stdout)["differences"][:1]
    lines = difference["diff"].splitlines()
    assert (found.returncode, difference["file"], difference["state"]) == (1, "topics.yaml", "changed")
    changed = folder.path / "rendered/dev/topics.yaml"
    assert lines[:2] == [f"--- {changed}", f"+++ {changed} (rendered)"]
    assert lines.count("-  partitions: 4") == lines.count("+  partitions: 6") == 5


def test_missing_and_left_over_files_are_found_and_put_right(tmp_path: Path) -> None:
    files = render(drawn(tasks, "dev"))
    write(files, tmp_path)
    (tmp_path / "scaling.yaml").rename(tmp_path / "old.yaml")
    (tmp_path / "own.yaml").write_text("# by hand\n")
    found = differences(files, tmp_path)
    assert [(each.file.name, each.state) for each in found] == [("scaling.yaml", "missing"), ("old.yaml", "left over")]
    assert "+kind: ScaledObject" in found[0].lines
    assert "-kind: ScaledObject" in found[1].lines
    write(files, tmp_path)
    assert differences(files, tmp_path) == []
    assert {path.name for path in tmp_path.iterdir()} == {*files, "own.yaml"}


def test_a_wrong_name_of_an_environment_is_answered_with_the_right_ones(folder: Folder) -> None:
    found = folder.run("deploy", "render", "--env", "prod")
    assert (found.returncode, found.stdout) == (2, "")
    assert f"there is no environment 'prod' in {folder.file}; there is dev, staging, production" in found.stderr


def test_nothing_is_written_if_one_environment_is_wrong(folder: Folder) -> None:
    folder.file.write_text(folder.file.read_text().replace("most = 4", "most = 400"))
    found = folder.run("deploy", "render")
    assert found.returncode == 2
    assert "[staging] workers: from 1 to 400 of them cannot be" in found.stderr
    assert not (folder.path / "rendered").exists()


def test_an_application_that_is_not_on_kafka_is_told_what_to_do(folder: Folder) -> None:
    found = folder.run("deploy", "render", app="tests.deploy.applications:embedded")
    assert found.returncode == 2
    assert "make it KafkaLog(Connection.from_environment(), ...) there" in found.stderr
