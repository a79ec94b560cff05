"""`eventstore schemas`: what people and pipelines get to see, with and without a registry."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pytest

import examples.task_domain
from eventstore.cli.app import app
from eventstore.cli.failures import exit_codes

APPLICATION = """
import os
from eventstore import Aggregate, Command, Event, EventStore, SqliteLog, decides, evolves
from eventstore.schema import AvroCodec

class Noted(Event, type="note.noted"):
    text: str
    %s

class Note(Command):
    text: str

class Pad(Aggregate, category="note"):
    @decides
    def note(self, command: Note) -> Noted:
        return Noted(text=command.text)

    @evolves
    def noted(self, event: Noted) -> None:
        pass

def store():
    url = os.environ.get("REGISTRY")
    codec = AvroCodec(url, namespace=os.environ["NAMESPACE"]) if url else None
    return EventStore(SqliteLog("notes.db"), aggregates=[Pad], publications=PUBLICATIONS, codec=codec)

PUBLICATIONS = []
"""

PUBLICATION = """
from eventstore import Recorded
from eventstore.publishing import Publication, publishes

class PublicNote(Event, type="public.note"):
    length: int

class Feed(Publication, name="feed"):
    @publishes("shop.notes", "shop.audit")
    def noted(self, event: Noted, at: Recorded) -> PublicNote:
        return PublicNote(length=len(event.text))

PUBLICATIONS = [Feed]
"""


class Done(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    out: str
    error: str


Schemas = Callable[..., Done]


@pytest.fixture
def schemas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Schemas:
    """Run `eventstore schemas` in this process, on an application with one event, which may have a second field."""
    module = f"notes_{uuid4().hex}"
    for name, value in {"EVENTSTORE_APP": f"{module}:store", "COLUMNS": "200", "NAMESPACE": module}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def run(*arguments: str, field: str = "", registry: str = "", as_json: bool = False, publication: str = "") -> Done:
        (tmp_path / f"{module}.py").write_text(APPLICATION % field + publication)
        sys.modules.pop(module, None)
        importlib.invalidate_caches()
        monkeypatch.setenv("REGISTRY", registry)
        code = 0
        try:
            with exit_codes(debug=False):
                app([*(["--json"] if as_json else []), "schemas", *arguments], standalone_mode=False)
        except SystemExit as ended:
            code = int(ended.code or 0)
        return Done(code, *capsys.readouterr())

    return run


def test_the_schemas_of_the_task_domain_are_shown(schemas: Schemas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENTSTORE_APP", "examples.task_domain.app:store")
    lines = schemas("show").out.splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["event", "field", "type", "default"],
        ["task.created", "v1", "title", "string", "-"],
        ["due", "null", "|", "date", "null"],
    ]


def test_the_task_domain_reads_what_it_once_wrote(schemas: Schemas, monkeypatch: pytest.MonkeyPatch) -> None:
    # Its lock file holds the bytes of a release: they may neither be read otherwise nor be written otherwise now.
    monkeypatch.setenv("EVENTSTORE_APP", "examples.task_domain.app:store")
    locked = Path(examples.task_domain.__file__).with_name("schemas.lock.json")
    done = schemas("check", "--file", str(locked))
    assert (done.code, {line.split()[0] for line in done.out.splitlines()}) == (0, {"ok"})
    schemas("lock", "--file", "anew.json")
    assert Path("anew.json").read_text() == locked.read_text()


def test_one_schema_is_shown_in_full_and_all_of_them_to_programs(schemas: Schemas) -> None:
    whole = json.loads(schemas("show", "note.noted").out)
    assert whole["name"] == "note.noted.v1.Envelope"
    assert json.loads(schemas("show", as_json=True).out) == {
        "event": "note.noted", "subject": "note.noted.v1.Envelope", "schema": whole,
    }  # fmt: skip
    unknown = schemas("show", "note.nothing")
    assert (unknown.code, unknown.error) == (
        2, "error: this application emits no event 'note.nothing' (it emits: note.noted)\n",
    )  # fmt: skip


def test_the_lock_file_lets_a_pipeline_stop_a_breaking_change(schemas: Schemas, tmp_path: Path) -> None:
    nothing = schemas("check")
    assert nothing.code == 2
    assert "there is nothing to compare with: write schemas.lock.json" in nothing.error

    assert schemas("lock").out.splitlines()[1].split() == ["note.noted.v1.Envelope", "1"]
    assert schemas("lock").out == "no changes: schemas.lock.json holds all schemas of this code\n"
    assert schemas("check").code == 0

    before = (tmp_path / "schemas.lock.json").read_bytes()
    for arguments in (("check",), ("lock",)):
        broken = schemas(*arguments, field="by: str")
        assert broken.code == 1
        assert broken.out.splitlines()[-2:] == [
            "fail  note.noted v1  data.by: it is new and has no default: stored events cannot be read",
            "      give it a default, or raise the class's version and add an upcaster",
        ]
    assert (tmp_path / "schemas.lock.json").read_bytes() == before
    (row,) = map(json.loads, schemas("check", field="by: str", as_json=True).out.splitlines())
    assert (row["result"], row["event"], row["path"]) == ("fail", "note.noted v1", "data.by")

    widened = schemas("check", field='by: str = ""')
    assert widened.code == 0
    assert (
        "warn  note.noted v1  has changed, compatibly, and is not in the lock file yet\n      eventstore schemas lock\n"
        in widened.out
    )


@pytest.mark.timeout(90)  # it may be the first, which waits for the registry to start
def test_only_register_registers(schemas: Schemas, schema_registry_url: str) -> None:
    here = schema_registry_url
    assert "is new, and is not in the registry yet" in schemas("check", registry=here).out
    assert "is new, and is not in the registry yet" in schemas("check", registry=here).out

    assert schemas("register", registry=here).code == 0
    assert schemas("check", registry=here).out == "ok    note.noted v1  is registered\n"

    refused = schemas("register", registry=here, field="by: str")
    assert refused.code == 1
    assert "data.by: it is new and has no default: stored events cannot be read" in refused.out
    assert schemas("register", registry=here, field='by: str = ""').code == 0


@pytest.mark.timeout(90)  # it may be the first, which waits for the registry to start
def test_public_events_are_registered_under_each_of_their_topics(schemas: Schemas, schema_registry_url: str) -> None:
    shown = [
        json.loads(line)["subject"] for line in schemas("show", as_json=True, publication=PUBLICATION).out.splitlines()
    ]
    public = "public.note.v1.Envelope"
    assert shown == ["note.noted.v1.Envelope", f"shop.notes-{public}", f"shop.audit-{public}"]

    registered = schemas("register", registry=schema_registry_url, publication=PUBLICATION)
    assert len(registered.out.splitlines()) == 4
    checked = schemas("check", registry=schema_registry_url, publication=PUBLICATION).out.splitlines()
    assert checked[1:] == [f"ok    public.note v1 on {topic}  is registered" for topic in ("shop.audit", "shop.notes")]

    schemas("lock", publication=PUBLICATION)
    changed = schemas("check", publication=PUBLICATION.replace("length: int", "length: float"))
    assert changed.code == 1
    assert "fail  public.note v1 on shop.notes  data.length: it was long and is double\n" in changed.out


def test_what_takes_a_registry_says_so(schemas: Schemas) -> None:
    without = schemas("register")
    assert (without.code, without.error.partition(":")[2].strip()[:32]) == (
        2,
        "this application writes JSON: th",
    )
    away = schemas("check", registry="http://127.0.0.1:9")
    assert away.code == 3
    assert "the schema registry at http://127.0.0.1:9 did not do what was asked" in away.error
    inexpressible = schemas("show", field="anything: object")
    assert inexpressible.code == 2
    assert "note.noted: data.anything: Avro has no type for a value of any type" in inexpressible.error
