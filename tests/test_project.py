"""The project keeps to its own rules."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import eventstore

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src").rglob("*.py"))
OPTIONAL = {
    "sqlalchemy", "aiosqlite", "asyncpg", "aiokafka", "confluent_kafka", "fastavro", "avro", "fastapi", "typer", "rich", "pytest",
}  # fmt: skip


def python(code: str) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    ).stdout


def test_importing_the_package_takes_less_than_300_ms() -> None:
    # Processor time: what others do on the machine meanwhile is not the package's fault.
    code = "import time; began = time.process_time(); import eventstore; print(time.process_time() - began)"
    assert min(float(python(code)) for _ in range(4)) < 0.3


def test_importing_the_package_pulls_in_nothing_optional() -> None:
    loaded = set(python("import eventstore, sys; print(*{name.partition('.')[0] for name in sys.modules})").split())
    assert not loaded & OPTIONAL


def test_the_public_names_are_few_and_there() -> None:
    assert len(eventstore.__all__) <= 30
    assert len(set(eventstore.__all__)) == len(eventstore.__all__)
    assert all(hasattr(eventstore, name) for name in eventstore.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = eventstore.nothing


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_a_file_is_short_and_says_what_it_is_for(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree)
    assert len(text.splitlines()) <= 380
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            documented = len((ast.get_docstring(node, clean=False) or "").splitlines())
            assert (node.end_lineno or 0) - node.lineno - documented <= 50, node.name


@pytest.mark.parametrize("path", sorted((ROOT / "docs/adr").glob("*.md")), ids=lambda path: path.stem)
def test_a_decision_fits_a_page(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) < 80
    assert path.stem.startswith("0000") or all(f"## {part}" in text for part in ("Context", "Decision", "Consequences"))


def test_locked_requirements_hold_hashes_and_no_addresses() -> None:
    for name in ("runtime", "dev", "build"):
        text = (ROOT / f"requirements/{name}.lock").read_text()
        assert text.count("--hash=sha256:") > 10
        assert not re.search(r"https?://|file:", text)
