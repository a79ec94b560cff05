"""Every guardrail of the documentation is enforced by something that exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/operations/guardrails.md").read_text()
ROWS = [line.split(" | ")[-1] for line in PAGE.splitlines() if line.startswith("| ")][1:]
CHECKS = sorted(set(re.findall(r"`([^`]+)`", " ".join(ROWS))))


def test_every_guardrail_names_what_enforces_it() -> None:
    assert len(ROWS) > 20
    assert all("`" in row for row in ROWS)


@pytest.mark.parametrize("check", CHECKS)
def test_what_enforces_a_guardrail_exists(check: str) -> None:
    if check == "make check":
        assert "lint-imports" in (ROOT / "Makefile").read_text()
        return
    path, _, name = check.partition("::")
    text = (ROOT / path).read_text()
    if name:
        defined = {
            node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        assert name in defined


def kafka_sources() -> dict[str, str]:
    return {path.name: path.read_text() for path in (ROOT / "src/eventstore/kafka").glob("*.py")}


def dictionary_values(text: str, key: str) -> list[object]:
    """Give what a key is set to in the dictionaries of some code."""
    return [
        ast.literal_eval(value)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Dict)
        for name, value in zip(node.keys, node.values, strict=True)
        if isinstance(name, ast.Constant) and name.value == key
    ]


def test_no_consumer_commits_by_itself() -> None:
    sources = kafka_sources()
    settings = [value for text in sources.values() for value in dictionary_values(text, "enable.auto.commit")]
    consumers = sum(text.count("Consumer(") for text in sources.values())
    assert set(settings) == {False}
    assert len(settings) >= consumers > 4


def test_every_record_is_acknowledged_by_all_copies_in_sync() -> None:
    sources = kafka_sources()
    # The client refuses to be idempotent with fewer acknowledgements than all.
    kept = {"acks": "all", "enable.idempotence": True}
    found = [(name, value) for text in sources.values() for name in kept for value in dictionary_values(text, name)]
    producers = sum(len(re.findall(r"\bProducer\(", text)) for text in sources.values())
    assert all(kept[name] == value for name, value in found)
    assert len(found) >= producers > 1
    assert re.search(r"^_ACKS_ALL: Final = -1$", sources["wire.py"], re.MULTILINE)
    assert re.findall(r"ProduceRequest\([^,]+, (\w+)", sources["wire.py"]) == ["_ACKS_ALL"]
