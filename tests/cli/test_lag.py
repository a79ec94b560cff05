"""`eventstore lag`: what it shows, and what a health check gets."""

from __future__ import annotations

import json
import os
import pty
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from tests.cli.conftest import Cli, command, environment


def unpublish(database: Path, where: str, **values: object) -> None:
    """Change positions of the copy as if a worker had left them so."""
    changes = ", ".join(f"{column} = :{column}" for column in values)
    with closing(sqlite3.connect(database.with_suffix(".read.db"))) as db, db:
        db.execute(f"UPDATE eventstore_checkpoints SET {changes} WHERE {where}", values)


def behind(database: Path) -> None:
    unpublish(database, "name = 'workload'", next_offset=5, moved_at=1)


def halted(database: Path) -> None:
    failure = {"failure_place": "task.created at task-1 version 1 (offset 5)", "failure_cause": "ValueError: no"}
    since = 1_700_000_000_000_000
    unpublish(database, "name = 'workload'", failure_remedy="Fix it", failure_since=since, next_offset=5, **failure)


def test_what_has_caught_up_is_idle_and_fine(cli: Cli) -> None:
    done = cli("lag", "--max-events", "0", "--max-seconds", "0")

    assert done.returncode == 0
    assert [line.split()[:5] for line in done.stdout.splitlines()[1:]] == [
        [name, version, "idle", "0", "0.0"]
        for name, version in (("activity_feed", "1"), ("escalation", "1"), ("task_board", "2"), ("workload", "1"))
    ]


def test_what_is_behind_fails_a_health_check_by_events_or_seconds(cli: Cli, database: Path) -> None:
    behind(database)

    assert cli("lag", "--stalled-after", "1e12", "--max-events", "9").returncode == 0
    assert cli("lag", "--stalled-after", "1e12", "--max-events", "8").returncode == 1
    assert cli("lag", "--stalled-after", "1e12", "--max-seconds", "0").returncode == 1
    assert cli("lag", "task_board", "--max-events", "0").returncode == 0


def test_what_is_stalled_fails_in_a_way_of_its_own(cli: Cli, database: Path) -> None:
    behind(database)
    done = cli("lag", "--stalled-after", "0")

    assert done.returncode == 5
    assert "workload       1        stalled  9" in done.stdout


def test_a_blocked_one_tells_event_cause_and_remedy(cli: Cli, database: Path) -> None:
    halted(database)
    done = cli("lag")
    (row,) = [json.loads(line) for line in cli("--json", "lag", "workload").stdout.splitlines()]

    assert done.returncode == 5
    assert done.stdout.splitlines()[-4:] == [
        "",
        "workload v1 partition 0 is blocked by task.created at task-1 version 1 (offset 5) since 2023-11-14 22:13:20",
        "  ValueError: no",
        "  Fix it",
    ]
    assert (row["state"], row["events"], row["failure"]["since"]) == ("blocked", 9, "2023-11-14T22:13:20+00:00")


def test_the_overview_of_projections_tells_what_is_halted_on_lines_of_their_own(cli: Cli, database: Path) -> None:
    halted(database)
    done = cli("projections")

    assert done.returncode == 1
    assert done.stdout.splitlines()[-3:] == [
        "",
        "workload v1 is halted at task.created at task-1 version 1 (offset 5): ValueError: no",
        "  Fix it",
    ]


def test_watching_shows_changes_until_interrupted(database: Path) -> None:
    with subprocess.Popen(
        command("--json", "lag", "workload", "--watch", "--interval", "0.1"),
        env=environment(database),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as watch:
        assert watch.stdout is not None
        assert json.loads(watch.stdout.readline())["state"] == "idle"
        halted(database)
        while json.loads(watch.stdout.readline())["state"] != "blocked":
            pass
        watch.send_signal(signal.SIGINT)
        assert watch.wait() == 130


def test_watching_in_a_terminal_redraws_one_table(database: Path) -> None:
    terminal, side = pty.openpty()
    with subprocess.Popen(
        command("lag", "--watch", "--interval", "0.1"),
        env={**environment(database), "TERM": "xterm", "LINES": "40"},
        stdin=side,
        stdout=side,
        stderr=side,
    ) as watch:
        os.close(side)
        shown = b""
        while shown.count(b"workload") < 3:
            shown += os.read(terminal, 65_536)
        watch.send_signal(signal.SIGINT)
        assert watch.wait() == 130
    os.close(terminal)
    assert b"\x1b[1A" in shown  # the cursor goes up to draw over
