"""`eventstore why`: what made a row."""

from __future__ import annotations

import json

from tests.cli.conftest import Cli


def test_the_events_that_made_a_row_are_shown_with_the_row(cli: Cli) -> None:
    done = cli("why", "workload", "ann")

    assert done.returncode == 0
    events, _, row = done.stdout.partition("\n\n")
    assert [line.split()[0] for line in events.splitlines()] == ["2", "5"]
    assert [line.partition("Z")[0].split("  ")[-1] for line in events.splitlines()] == [
        '{"assignee": "ann", "previous": null}',
        '{"assignee": "ben", "previous": "ann"}',
    ]
    assert row == 'the row: {"assignee": "ann", "open_tasks": 0, "done_tasks": 0}\n'


def test_programs_get_an_event_a_line_in_full(cli: Cli) -> None:
    rows = [json.loads(line) for line in cli("--json", "why", "task_board", "slides").stdout.splitlines()]

    assert [row["version"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[0]["data"] == {"title": "draw the slides", "due": "2026-01-15"}


def test_a_row_that_was_deleted_is_explained_too(cli: Cli) -> None:
    assert cli("why", "task_board", "old").stdout.endswith("\n\nthe row was deleted\n")


def test_what_cannot_be_explained_is_refused_with_what_can(cli: Cli) -> None:
    for arguments, said in (
        (
            ("activity_feed", "1"),
            "activity_feed is no row projection of this application (known: task_board, workload)",
        ),
        (("workload", "nobody"), "no event that workload v1 has processed concerns workload nobody: check the key"),
        (("workload", "a", "b"), "workload is keyed by assignee: give 1 values"),
    ):
        refused = cli("why", *arguments)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert said in refused.stderr
