"""Every command, on real files, with its exit code."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, command, environment


def test_streams_lists_names_and_versions(cli: Cli) -> None:
    done = cli("streams", "task-")

    assert done.returncode == 0
    assert [line.split()[:2] for line in done.stdout.splitlines()[1:]] == [
        ["task-old", "2"],
        ["task-report", "5"],
        ["task-slides", "6"],
    ]


def test_json_gives_a_document_a_line(cli: Cli) -> None:
    rows = [json.loads(line) for line in cli("--json", "streams").stdout.splitlines()]

    assert {row["stream"]: row["version"] for row in rows}["task-slides"] == 6


def test_an_embedded_log_has_no_topics(cli: Cli) -> None:
    for action in ("plan", "apply", "check"):
        refused = cli("topics", action)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "SqliteLog has no topics: this command is for applications with a KafkaLog" in refused.stderr


def test_show_tells_what_each_event_changed(cli: Cli) -> None:
    done = cli("show", "task-report", "--at", "2")

    assert 'event  {"assignee": "ann", "previous": null}' in done.stdout
    assert done.stdout.rstrip().endswith('state  {"assignee": "ann"}')


def test_tail_gives_the_newest_events_in_order(cli: Cli) -> None:
    rows = [json.loads(line) for line in cli("--json", "tail", "-n", "2").stdout.splitlines()]

    assert [row["event_type"] for row in rows] == ["calendar.day_ended", "task.escalated"]


def test_tail_can_be_cut_off_by_a_pipe(database: Path) -> None:
    pipe = f"{' '.join(command('tail', '-n', '100'))} | head -n 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", pipe], env=environment(database), capture_output=True, text=True
    )

    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)


def test_following_shows_events_as_they_come_until_interrupted(database: Path) -> None:
    with subprocess.Popen(
        command("tail", "-f", "-n", "1"),
        env=environment(database),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as tail:
        assert tail.stdout is not None
        assert "task.escalated" in tail.stdout.readline()
        with closing(sqlite3.connect(database)) as db, db:
            db.execute(
                "INSERT INTO events SELECT 15, 'task-new', 1, event_type, 1, zeroblob(16), zeroblob(16), 1, 1, occurred_at, envelope "
                "FROM events WHERE position = 1"
            )
        assert "task-new v1" in tail.stdout.readline()
        tail.send_signal(signal.SIGINT)
        assert tail.wait() == 130


def test_projections_shows_positions_and_lag(cli: Cli) -> None:
    rows = [json.loads(line) for line in cli("--json", "projections").stdout.splitlines()]

    assert {(row["name"], row["version"]): row["state"] for row in rows} == {
        ("activity_feed", 1): "live",
        ("escalation", 1): "live",
        ("task_board", 1): "retired",
        ("task_board", 2): "live",
        ("workload", 1): "live",
    }


def test_a_read_model_can_be_rolled_back_and_the_newer_version_dropped(cli: Cli, database: Path) -> None:
    assert "task_board v1 is live again" in cli("projections", "rollback", "task_board").stdout
    assert cli("projections", "drop", "task_board", "2").returncode == 0

    with closing(sqlite3.connect(database.with_suffix(".read.db"))) as db:
        assert db.execute("SELECT count(*) FROM task_board").fetchone() == (2,)


def test_audit_finds_an_event_that_was_skipped(cli: Cli, database: Path) -> None:
    assert cli("audit").returncode == 0
    with closing(sqlite3.connect(database.with_suffix(".read.db"))) as db, db:
        db.execute("UPDATE eventstore_checkpoints SET event_count = event_count - 1 WHERE name = 'workload'")

    done = cli("audit", "workload")

    assert done.returncode == 1
    assert "1 events skipped" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("workload v1 partition 0: more than one run of events is wrong")


def test_a_new_version_is_planned_and_rebuilt(
    cli: Cli, database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for leftover in database.parent.glob("tasks.read.db*"):
        leftover.unlink()
    cli("projections")
    (tmp_path / "release.py").write_text(
        "from examples.task_domain import app, next_release\n"
        "from eventstore import EventStore\n"
        "def store():\n"
        "    old = app.store()\n"
        "    return EventStore(old.log, aggregates=[*old.application.aggregates.values()], projections=[next_release.TaskBoard])\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:.")

    assert "task_board v2: 13 events to read" in cli("rebuild", "task_board", "--plan", app="release:store").stdout
    done = cli("rebuild", "task_board", app="release:store")

    assert done.returncode == 0
    assert "task_board: read 13 events" in done.stdout


def test_rebuilding_shows_differences_and_how_to_accept_them(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "third.py").write_text(
        "from examples.task_domain import app, next_release\n"
        "from examples.task_domain.events import TaskCreated\n"
        "from eventstore import EventStore, Projection, Recorded, projects\n"
        "from examples.task_domain.next_release import TaskRow\n"
        "class Board(Projection[TaskRow], name='task_board', version=3, key='task_id'):\n"
        "    @projects\n"
        "    def created(self, row: TaskRow | None, event: TaskCreated, at: Recorded) -> TaskRow:\n"
        "        return TaskRow(task_id=at.stream.id, title=event.title, updated_at=at.occurred_at)\n"
        "def store():\n"
        "    old = app.store()\n"
        "    return EventStore(old.log, aggregates=[*old.application.aggregates.values()], projections=[Board])\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:.")

    refused = cli("rebuild", "task_board", app="third:store")
    accepted = cli("rebuild", "task_board", "--expect", "changed", "--expect", "extra", app="third:store")

    assert refused.returncode == 1
    assert "not switched: the live version stays. If these are wanted: --expect changed:assignee" in refused.stdout
    assert (accepted.returncode, "switched: readers see the new version" in accepted.stdout) == (0, True)


def test_rows_can_be_previewed_as_of_a_streams_version(cli: Cli) -> None:
    (row,) = [
        json.loads(line)
        for line in cli("--json", "rebuild", "task_board", "--stream", "task-report", "--at", "2").stdout.splitlines()
    ]

    assert (row["title"], row["assignee"]) == ("write the report", "ann")


def test_a_rebuild_that_does_not_run_has_no_progress(cli: Cli) -> None:
    assert cli("rebuild", "task_board", "--status").stdout == "no version of task_board is being built\n"
    assert json.loads(cli("--json", "rebuild", "task_board", "--status").stdout) == {
        "name": "task_board",
        "phase": None,
    }


def test_a_worker_runs_until_it_is_told_to_stop(database: Path) -> None:
    with subprocess.Popen(command("worker"), env=environment(database), stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline().startswith("working on task_board, workload, activity_feed, escalation")
        worker.send_signal(signal.SIGTERM)
        assert worker.wait() == 0
        assert worker.stdout.read().splitlines()[-1].startswith("stopped; ")


def test_an_export_is_imported_byte_for_byte(cli: Cli, tmp_path: Path) -> None:
    cli("export", str(tmp_path / "all.jsonl"))
    done = cli("import", str(tmp_path / "all.jsonl"), path=tmp_path / "new.db")
    again = cli("export", "-", path=tmp_path / "new.db")

    assert done.stdout == "imported 14 events; 0 were there already\n"
    assert again.stdout.splitlines()[1:] == (tmp_path / "all.jsonl").read_text().splitlines()[1:]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda lines: lines[:-1], "ends after line 15 without its last line"),
        (lambda lines: [*lines[:5], *lines[6:]], "the count or hash of the events does not match"),
        (lambda lines: [*lines[:3], lines[3].replace("task", "tusk", 1), *lines[4:]], "line 4 is damaged"),
        (lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]], "the count or hash of the events does not match"),
        (lambda lines: lines[:1], "ends after line 1 without its last line"),
    ],
)
def test_a_damaged_export_is_refused_before_anything_is_written(cli: Cli, tmp_path: Path, damage, said: str) -> None:
    lines = cli("export", "-").stdout.splitlines(keepends=True)

    done = cli("import", given="".join(damage(lines)), path=tmp_path / "new.db")

    assert done.returncode == 4
    assert said in done.stderr
    assert cli("streams", path=tmp_path / "new.db").stdout == "no streams\n"


def test_something_else_is_no_export(cli: Cli, tmp_path: Path) -> None:
    done = cli("import", given="hello\n", path=tmp_path / "new.db")

    assert (done.returncode, done.stderr) == (2, "error: line 1 is no line of an export; nothing was written\n")


def test_an_import_into_a_log_with_other_events_is_refused(cli: Cli, tmp_path: Path) -> None:
    other = cli("export", "-").stdout
    with closing(sqlite3.connect(tmp_path / "copy" / "tasks.db")) as db, db:
        db.execute("UPDATE events SET command_id = randomblob(16) WHERE stream = 'task-old'")

    done = cli("import", given=other)

    assert done.returncode == 2
    assert "task-old has other events than the import, from version 1 on" in done.stderr


def test_doctor_is_content_with_a_sound_store(cli: Cli) -> None:
    done = cli("--json", "doctor")

    assert done.returncode == 0
    assert {json.loads(line)["result"] for line in done.stdout.splitlines()} == {"ok"}


def test_doctor_reports_an_event_that_cannot_be_read(cli: Cli, database: Path) -> None:
    with closing(sqlite3.connect(database)) as db, db:
        db.execute("UPDATE events SET event_type = 'task.unheard' WHERE stream = 'task-old' AND version = 2")

    done = cli("doctor")

    assert done.returncode == 1
    assert "task.unheard at task-old version 2" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("app", "said"),
    [
        ("", "say which application"),
        ("nowhere", "write module:app"),
        ("no.such.module:app", "cannot be imported from here"),
        ("os:nothing", "has no nothing"),
        ("sys:nothing", "sys has no nothing"),
        ("os:rename", "the function could not make a store (TypeError"),
        ("..:app", "cannot be imported from here"),
        (":app", "write module:app"),
        ("os:sep", "is a str"),
        ("os:getcwd", "is a str"),
    ],
)
def test_a_wrong_app_gets_a_clear_error(cli: Cli, app: str, said: str) -> None:
    done = cli("streams", app=app)

    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_log_that_is_not_there_is_not_created(cli: Cli, tmp_path: Path) -> None:
    done = cli("streams", path=tmp_path / "typo.db")

    assert done.returncode == 2
    assert "there is no event log at" in done.stderr
    assert not (tmp_path / "typo.db").exists()


def test_a_file_that_is_no_database_is_left_alone(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear Sir or Madam, " * 100)

    done = cli("streams", path=tmp_path / "letter.txt")

    assert done.returncode == 4
    assert "is no SQLite database" in done.stderr
    assert (tmp_path / "letter.txt").read_text().startswith("Dear")


def test_control_characters_in_data_cannot_rewrite_the_terminal(cli: Cli, database: Path) -> None:
    with closing(sqlite3.connect(database)) as db, db:
        db.execute(
            "UPDATE events SET envelope = CAST(replace(CAST(envelope AS TEXT), 'forget this', 'red \\u001b[31m') AS BLOB)"
        )

    done = cli("show", "task-old")

    assert "\x1b" not in done.stdout
    assert "red" in done.stdout


def test_the_version_is_told(cli: Cli) -> None:
    assert cli("--version").stdout.strip() == "0.1.0"


def test_erase_asks_and_then_erases_for_good(cli: Cli) -> None:
    refused = cli("erase", "task-report", "2", given="n\n")
    done = cli("erase", "task-report", "2", given="y\n")
    shown = cli("show", "task-report")
    rows = [json.loads(line) for line in cli("--json", "show", "task-report").stdout.splitlines()]

    assert (refused.returncode, done.returncode) == (1, 0)
    assert "It cannot be undone" in done.stderr
    assert "erased: task-report version 2" in done.stdout + done.stderr
    assert "    event  (erased)" in shown.stdout
    assert [row["erased"] for row in rows] == [False, True, False, False, False]
    assert (rows[1]["data"], rows[1]["changed"]) == (None, {})
    assert cli("audit").returncode == cli("doctor").returncode == 0


def test_erase_says_what_there_is_not(cli: Cli) -> None:
    no_event = cli("erase", "task-report", "99", "--yes")
    no_aggregate = cli("erase", "unheard-1", "1", "--yes")

    assert "there is no event task-report version 99" in no_event.stderr
    assert "no aggregate of category 'unheard'" in no_aggregate.stderr
    assert no_event.returncode == no_aggregate.returncode != 0


def test_tail_shows_that_an_event_was_erased(cli: Cli) -> None:
    done = cli("--json", "erase", "task-report", "5", "--yes")

    assert json.loads(done.stdout) == {"stream": "task-report", "version": 5, "erased": True}
    assert "(erased)" in cli("tail", "-n", "100").stdout
