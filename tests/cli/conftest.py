"""A finished tour of the task domain, and the command line run on it as a user would: in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

APP = "examples.task_domain.app:store"
Cli: TypeAlias = Callable[..., "subprocess.CompletedProcess[str]"]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "eventstore.cli", *arguments]


def environment(database: Path, app: str = APP) -> dict[str, str]:
    return {**os.environ, "TASKS_DB": str(database), "EVENTSTORE_APP": app, "COLUMNS": "100", "NO_COLOR": "1"}


@pytest.fixture(scope="session")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory in which the tour left its files."""
    directory = tmp_path_factory.mktemp("tour")
    subprocess.run(
        [sys.executable, "-m", "examples.task_domain", "--keep", str(directory)], check=True, stdout=subprocess.DEVNULL
    )
    return directory


@pytest.fixture
def database(tour: Path, tmp_path: Path) -> Path:
    """A copy of its log and read models."""
    shutil.copytree(tour, tmp_path / "copy")
    return tmp_path / "copy" / "tasks.db"


@pytest.fixture
def cli(database: Path) -> Cli:
    """Run the command line on the copy."""

    def run(*arguments: str, app: str = APP, path: Path = database, given: str | None = None):
        return subprocess.run(
            command(*arguments), env=environment(path, app), capture_output=True, text=True, input=given, check=False
        )

    return run
