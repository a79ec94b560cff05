"""The pytest plug-in where there is nothing to run Kafka with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("fixture", ["kafka_bootstrap", "kafka_installation", "schema_registry_url"])
@pytest.mark.parametrize(("ci", "outcome"), [("", "1 skipped"), ("true", "1 error")])
def test_a_test_that_needs_a_server_is_skipped_but_fails_in_continuous_integration(
    tmp_path: Path, fixture: str, ci: str, outcome: str
) -> None:
    (tmp_path / "test_it.py").write_text(f"def test_it({fixture}): pass\n")
    hidden = {"JAVA_HOME", "KAFKA_BOOTSTRAP", "SCHEMA_REGISTRY_URL"}
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env={**environment, "PATH": str(tmp_path), "CI": ci, "EVENTSTORE_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
    )
    assert outcome in done.stdout
    said = "install Maven" if fixture == "schema_registry_url" else "Install Java 17 or newer and Maven"
    assert said in done.stdout
