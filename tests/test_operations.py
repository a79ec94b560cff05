"""What the pages on operations show can be typed, and leads somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
import typer

from eventstore.cli.app import app
from eventstore.telemetry.alerts import ALERTS

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs/operations").glob("*.md"))
COMMAND = re.compile(r"(?:^ *|`)(eventstore (?:--\S+ )?[a-z][^`#\n]*)", re.MULTILINE)


def commands() -> list[str]:
    found = {match.strip() for page in PAGES for match in COMMAND.findall(page.read_text())}
    return sorted(command for command in found if "..." not in command)


@pytest.mark.parametrize("written", commands())
def test_a_command_that_is_shown_is_one_with_all_it_needs(written: str) -> None:
    """Parsed as typed, but not run; a command that is only named may lack what it needs."""
    words = shlex.split(written)[1:]
    command: click.Command = typer.main.get_command(app)
    context = command.make_context("eventstore", list(words), resilient_parsing=len(words) == 1)
    while isinstance(command, click.Group) and (rest := [*context._protected_args, *context.args]):
        name, found, arguments = command.resolve_command(context, rest)
        assert found is not None, f"there is no {name}"
        only_named = not arguments
        context = found.make_context(name, arguments, parent=context, resilient_parsing=only_named)
        command = found


def test_commands_are_shown_at_all() -> None:
    assert len(commands()) > 15


def test_every_alert_is_on_the_page_with_its_severity_and_a_link_to_its_entry() -> None:
    rows = re.findall(
        r"^\| \[(\w+)\]\(\.\./telemetry\.md#(\w+)\) \| (\w+) \|",
        (ROOT / "docs/operations/alerts.md").read_text(),
        re.MULTILINE,
    )
    assert {(name, severity) for name, _, severity in rows} == {(alert.name, alert.severity) for alert in ALERTS}
    assert all(anchor == name.lower() for name, anchor, _ in rows)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_files_that_a_page_names_exist(page: Path) -> None:
    for named in re.findall(r"`((?:tests|src|benchmarks|requirements|docs)/[\w/.*-]+)`", page.read_text()):
        assert list(ROOT.glob(named)), named
    assert f"operations/{page.name}" in (ROOT / "mkdocs.yml").read_text()
