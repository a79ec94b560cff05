"""What the README shows is what happens."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
TUTORIAL = (ROOT / "examples/task_domain/README.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_readme_is_short_and_shows_code_early() -> None:
    lines = README.splitlines()
    assert len(lines) <= 150
    assert lines.index("```python") < 30


def test_the_code_of_the_readme_prints_what_it_says(tmp_path: Path) -> None:
    (code,) = blocks(README, "python")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    said = re.search(r"It prints `(.*)`", README)
    assert said is not None
    assert done.stdout.strip() == said[1]


def test_the_shown_beginning_of_the_tour_is_its_real_output() -> None:
    done = subprocess.run([sys.executable, "-m", "examples.task_domain"], capture_output=True, text=True, check=True)
    assert any(done.stdout.startswith(block) for block in blocks(README, "text"))


@pytest.mark.parametrize("page", ["README.md", "examples/task_domain/README.md", "CONTRIBUTING.md"])
def test_every_local_link_leads_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert ((ROOT / page).parent / target).exists(), target


def test_the_code_of_the_tutorial_runs_in_order(tmp_path: Path) -> None:
    code = "\n".join(blocks(TUTORIAL, "python"))
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    for expected in blocks(TUTORIAL, "text"):
        for line in expected.splitlines():
            assert line in done.stdout
