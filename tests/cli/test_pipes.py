"""Every command works in a pipe: whoever reads it, whatever becomes of the reader, and when it fails."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import typer

from eventstore.cli.app import app
from tests.cli.conftest import APP, environment
from tests.cli.forking import Ended, Forks, forking

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = ROOT / "deploy/environments.toml"
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
LOCK = '{"subjects": {}}'
EXPORT = '{"format": "eventstore-export"}\n'


@dataclass(frozen=True)
class Example:
    """How a command is run on the tour's files so that it has something to say."""

    arguments: str = ""
    code: int = 0
    given: str = ""
    stop: bool = False
    app: str = APP
    before: Callable[[Path], object] = lambda _: None


def assigned(database: Path) -> tuple[int, str, int, str]:
    """Give an event that the read model of workloads handles."""
    with closing(sqlite3.connect(database)) as db:
        (found,) = db.execute(
            "SELECT position, stream, version, event_type FROM events WHERE event_type = 'task.assigned' LIMIT 1"
        )
    return found


def halted(database: Path) -> None:
    """Have a read model stand still."""
    position, stream, version, event_type = assigned(database)
    with closing(sqlite3.connect(database.with_suffix(".read.db"))) as db, db:
        db.execute(
            "UPDATE eventstore_checkpoints SET next_offset = ?, failure_place = ?, failure_cause = 'ValueError: x', "
            "failure_remedy = 'fix it', failure_since = 1 WHERE name = 'workload'",
            (position, f"{event_type} at {stream} version {version} (offset {position})"),
        )


def parked(database: Path) -> None:
    """Have a read model go on behind an event that it could not process."""
    position, stream, version, event_type = assigned(database)
    with closing(sqlite3.connect(database.with_suffix(".read.db"))) as db, db:
        db.execute(
            'INSERT INTO eventstore_dead_letters (id, name, version, partition, "offset", stream, event_version, '
            "event_type, cause, parked_at) VALUES (1, 'workload', 1, '0', ?, ?, ?, ?, 'ValueError: x', 1)",
            (position, stream, version, event_type),
        )


NO_KAFKA = Example(code=2)
EMBEDDED = {
    "new": Example("helpdesk"),
    "streams": Example(),
    "show": Example("task-report"),
    "tail": Example("-n 100"),
    "erase": Example("task-report 2 --yes"),
    "worker": Example(stop=True),
    "rebuild": Example("task_board --expect changed --expect extra", app="tests.cli.piping:third"),
    "lag": Example(),
    "why": Example("task_board report"),
    "audit": Example(),
    "export": Example(),
    "import": Example(given=EXPORT, code=2),
    "deploy diff": Example(f"--environments {ENVIRONMENTS}"),
    "deploy render": Example(f"--environments {ENVIRONMENTS} --output rendered"),
    "doctor": Example(),
    "errors": Example("REBALANCE"),
    "plan": Example("--events-per-second 20 --figures"),
    "projections": Example(),
    "projections rollback": Example("task_board"),
    "projections drop": Example("task_board 1"),
    "projections accept": Example("task_board"),
    "dead-letters": Example(before=parked),
    "dead-letters retry": Example("1", before=parked),
    "dead-letters discard": Example("1", before=parked),
    "dead-letters park": Example("workload", before=halted),
    "metrics list": Example(),
    "metrics dashboard": Example(),
    "metrics rules": Example(),
    "outbox sql": Example("tests.kafka.shipping:outbox"),
    "outbox connector": Example("tests.kafka.shipping:outbox"),
    "schemas show": Example(),
    "schemas lock": Example(),
    "schemas check": Example(before=lambda database: (database.parent / "schemas.lock.json").write_text(LOCK)),
    "schemas register": Example(code=2),
}
ON_KAFKA = {
    "inbox": Example(stop=True),
    "inbox status": Example(),
    "inbox park": Example("notices", code=2),
    "inbox dead list": Example("notices"),
    "inbox dead retry": Example("notices 1", code=2),
    "inbox dead discard": Example("notices 1", code=2),
    "relay": Example(stop=True),
    "topics plan": Example(),
    "topics apply": Example(),
    "topics check": Example(),
    "topics rights": Example("writer ann"),
}
ELSEWHERE = {"dev kafka": "tests/cli/test_development.py"}
"""What takes too long to be run so many times."""


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Give every command of the command line that does something."""
    if not hasattr(command, "commands"):
        yield " ".join(path)
        return
    if command.invoke_without_command and path:
        yield " ".join(path)
    for name, inner in command.commands.items():
        yield from leaves(inner, (*path, name))


def test_every_command_is_tried() -> None:
    assert {*leaves(typer.main.get_command(app))} == {*EMBEDDED, *ON_KAFKA, *ELSEWHERE}


@pytest.fixture(scope="module")
def forks() -> Generator[Forks]:
    with forking() as started:
        yield started


class Runs:
    """Runs one example again and again, each time on files of its own."""

    def __init__(self, forks: Forks, files: Path, place: Path, changes: dict[str, str]) -> None:
        self._forks, self._files, self._place, self._changes = forks, files, place, changes
        self._count = 0

    def __call__(self, name: str, example: Example, *options: str, deaf: bool = False, **changes: str) -> Ended:
        self._count += 1
        here = self._place / f"run-{self._count}"
        shutil.copytree(self._files, here)
        example.before(here / "tasks.db")
        settings = {**environment(here / "tasks.db", example.app), "PYTHONPATH": f"{ROOT}", **self._changes, **changes}
        arguments = [*options, *name.split(), *example.arguments.split()]
        return self._forks.run(arguments, settings, here, example.given, stop=example.stop, deaf=deaf)

    def check(self, name: str, example: Example) -> None:
        """Run it for a person, for a program, and for nobody."""
        plain = self(name, example)
        assert (plain.code, "Traceback" in plain.err) == (example.code, False), plain
        assert not CONTROL.search(plain.out + plain.err), plain
        assert (plain.err.startswith("error: "), plain.out) == (True, "") if example.code else plain.out, plain
        program = self(name, example, "--json")
        assert program.code == example.code, program
        for line in program.out.splitlines():
            json.loads(line)
        deaf = self(name, example, deaf=True)
        assert deaf.code == example.code, deaf
        assert "Traceback" not in deaf.err, deaf
        assert "BrokenPipe" not in deaf.err, deaf


@pytest.mark.parametrize("name", sorted({*EMBEDDED, *ON_KAFKA}))
def test_a_wrong_option_is_told_on_the_other_channel(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        app([*name.split(), "--no-such-option"])
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, "")
    assert "--no-such-option" in said.err


@pytest.mark.parametrize("name", EMBEDDED)
def test_a_command_works_in_a_pipe(name: str, forks: Forks, tour: Path, tmp_path: Path) -> None:
    Runs(forks, tour, tmp_path, {}).check(name, EMBEDDED[name])


@pytest.fixture(scope="module")
def on_kafka(forks: Forks, kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """The example of a relay and an inbox, whose topics are there."""
    place = tmp_path_factory.mktemp("kafka")
    files = place / "files"
    files.mkdir()
    changes = {"PIPES_KAFKA": kafka_bootstrap, "PIPES_PREFIX": f"p{uuid4().hex[:8]}"}
    runs = Runs(forks, files, place, {**changes, "EVENTSTORE_APP": "tests.cli.piping:store"})
    runs("topics apply", ON_KAFKA["topics apply"])
    runs("inbox", ON_KAFKA["inbox"])
    return runs


@pytest.mark.kafka
@pytest.mark.timeout(90)  # the first one makes topics and has an inbox begin
@pytest.mark.parametrize("name", ON_KAFKA)
def test_a_command_about_kafka_works_in_a_pipe(name: str, on_kafka: Runs) -> None:
    on_kafka.check(name, ON_KAFKA[name])
