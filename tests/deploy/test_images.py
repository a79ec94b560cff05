"""The images cannot be built here, but what their recipes do is done here, and what they promise is read from them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.manifests import DEPLOY, Manifests

ROOT = DEPLOY.parent
RECIPE = DEPLOY / "Containerfile"
RECIPES = (RECIPE, DEPLOY / "components/connect/Containerfile")


def instructions(path: Path) -> Iterator[tuple[str, str]]:
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, rest = line.partition(" ")
            yield name, rest


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.parent.name)
def test_every_stage_says_which_version_it_begins_with_and_runs_without_a_shell(recipe: Path) -> None:
    stages: set[str] = set()
    for name, rest in instructions(recipe):
        if name == "FROM":
            image, _, stage = rest.partition(" AS ")
            assert image in stages or re.search(r":\d[\w.-]*\d[\w.-]*$", image), image
            stages.add(stage)
        if name in {"RUN", "ENTRYPOINT", "CMD"}:
            assert isinstance(json.loads(rest), list)
    assert [rest for name, rest in instructions(recipe) if name == "USER"][-1].partition(":")[0].isdigit()


def test_the_user_and_the_directories_are_those_of_the_manifests() -> None:
    (user,) = [rest for name, rest in instructions(RECIPE) if name == "USER"]
    for pods in Manifests.of_environment("production").pods():
        if "tasks" in pods.owner:
            context = pods.spec["securityContext"]
            assert user == f"{context['runAsUser']}:{context['runAsGroup']}"
    assert ("ENTRYPOINT", '["eventstore"]') in instructions(RECIPE)


def test_whatever_is_copied_is_there_and_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copied = [rest.split() for name, rest in instructions(RECIPE) if name == "COPY" and "--from" not in rest]
    assert len(copied) >= 4
    for *sources, _ in copied:
        for source in sources:
            assert (ROOT / source).exists(), source
            assert f"!{source.partition('/')[0]}" in ignored


def install(prefix: Path) -> Path:
    """Do what the first stage does, with its directories under a prefix; give the installation."""
    build = prefix / "build"
    build.mkdir(parents=True)

    def placed(text: str) -> str:
        return re.sub(r"^/(build|opt)\b", lambda found: f"{prefix}/{found[1]}", text)

    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    for name, rest in instructions(RECIPE):
        if name == "FROM" and not rest.endswith(" AS build"):
            break
        if name == "ENV":
            environment |= dict(re.findall(r"(\w+)=(\w+)", rest)) | {"SOURCE_DATE_EPOCH": "1700000000"}
            del environment["PIP_NO_CACHE_DIR"]  # what tests fetched once is fetched once
        if name == "COPY":
            *sources, target = rest.split()
            for source in sources:
                place = build / target / (Path(source).name if target.endswith("/") else "")
                place.parent.mkdir(parents=True, exist_ok=True)
                subprocess.run(["cp", "--recursive", str(ROOT / source), str(place)], check=True)
        if name == "RUN":
            command = [placed(word) for word in json.loads(rest)]
            command[0] = sys.executable if command[0] == "python" else command[0]
            done = subprocess.run(command, cwd=build, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, f"{rest}\n{done.stdout}\n{done.stderr}"
    return prefix / "opt/eventstore"


@pytest.mark.timeout(300)  # some fifty packages are installed; 30 s on a quiet machine
def test_what_the_image_does_to_install_works_and_holds_everything_the_manifests_run(tmp_path: Path) -> None:
    python = install(tmp_path) / "bin/python"
    eventstore = python.with_name("eventstore")
    environment = {
        "PATH": f"{python.parent}:/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "TASKS_DB": str(tmp_path / "t.db"),
    }

    def run(*command: str) -> str:
        done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run(str(eventstore), "--app", "examples.task_domain.app:store", "doctor")
    everything = "import eventstore.kafka, asyncpg, uvicorn, examples.task_service.app, prometheus_client, fastavro"
    run(str(python), "-W", "error", "-c", everything)
    missing = subprocess.run([str(python), "-m", "pip"], capture_output=True)
    assert missing.returncode != 0
    assert not re.search(
        rf"{re.escape(str(ROOT))}", run(str(python), "-c", "import eventstore; print(eventstore.__file__)")
    )


@pytest.mark.campaign
@pytest.mark.timeout(600)
def test_two_builds_have_the_same_files_to_the_bytecode(tmp_path: Path) -> None:
    first = digest(install(tmp_path / "image"))
    shutil.rmtree(tmp_path / "image")
    assert digest(install(tmp_path / "image")) == first


def digest(directory: Path) -> str:
    """Hash names and contents of all files; links are what they point at."""
    total = hashlib.sha256()
    for path in sorted(directory.rglob("*")):
        if path.is_file() and not path.is_symlink():
            total.update(f"{path.relative_to(directory)}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
