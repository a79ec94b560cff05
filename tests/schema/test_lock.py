"""The lock file: what was released, and samples that today's classes have to read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import AliasChoices, Field, create_model, model_validator

from eventstore import Event, upcasts
from eventstore.core.errors import ConfigurationError
from eventstore.schema.checking import SchemaFinding, check_lock
from eventstore.schema.envelope import DerivedEvent, derive
from eventstore.schema.lock import SchemaLock, extended, read_lock, write_lock
from eventstore.schema.samples import VARIANTS, samples_of
from tests.schema.changes import event
from tests.schema.events import EverythingHappened


def subjects(*classes: type[Event]) -> dict[str, DerivedEvent]:
    return {derived.name: derived for derived in map(derive, classes)}


def locked(*classes: type[Event], onto: SchemaLock | None = None) -> SchemaLock:
    return extended(onto or SchemaLock(), subjects(*classes))[0]


def checked(lock: SchemaLock, *classes: type[Event], only: str = "") -> list[SchemaFinding]:
    findings = check_lock(subjects(*classes), lock)
    return [finding for finding in findings if only in {"", finding.result}]


class Written(Event, type="test.written"):
    words: int


class Rewritten(Event, type="test.written", version=2):
    text: str

    @upcasts(from_version=1)
    def words_to_text(data: Any) -> Any:
        return {"text": " ".join("x" * data["words"])} if data["words"] < 10 else {"text": "many"}


class Broken(Event, type="test.written", version=2):
    text: str

    @upcasts(from_version=1)
    def forgets_the_text(data: Any) -> Any:
        return {"text": data["title"]}


class Wrong(Event, type="test.written", version=2):
    text: str

    @upcasts(from_version=1)
    def keeps_the_number(data: Any) -> Any:
        return {"text": data["words"]}


def test_samples_of_every_version_are_upcast_to_the_class_of_today() -> None:
    lock = locked(Written)
    lock = locked(Rewritten, onto=lock)

    assert [(finding.event, finding.found) for finding in checked(lock, Rewritten)] == [
        ("test.written v2", "is in the lock file"),
        ("test.written v1", "its 3 samples can be read, upcast to v2"),
        ("test.written v2", "its 3 samples can be read"),
    ]


@pytest.mark.parametrize(
    ("cls", "said"),
    [
        (Broken, "Broken's upcaster from version 1 raised KeyError('title')"),
        (Wrong, "text: Input should be a valid string"),
    ],
)
def test_a_broken_upcaster_is_named(cls: type[Event], said: str) -> None:
    (failed,) = checked(locked(Written), cls, only="fail")

    assert failed.event == "test.written v1"
    assert failed.found.startswith("a sample of release 1 cannot be read: ")
    assert said in failed.found


def test_an_event_that_is_gone_or_went_back_to_an_older_version_fails() -> None:
    lock = locked(Rewritten, onto=locked(Written))

    assert {finding.found for finding in checked(lock, only="fail")} == {
        "no class has this name any more: its events cannot be read"
    }
    assert [finding.found for finding in checked(lock, Written, only="fail")] == [
        "was released, and the class is version 1"
    ]


def test_a_rule_that_old_events_break_is_found_by_their_samples() -> None:
    strict = event({"words": (Annotated[int, Field(gt=1)], ...)})
    lock = locked(event({"words": (int, ...)}))

    (failed,) = checked(lock, strict, only="fail")

    assert "Input should be greater than 1" in failed.found


def test_every_compatible_schema_stays_in_the_lock_with_its_samples(tmp_path: Path) -> None:
    first, second = event({"a": (str, ...)}), event({"a": (str, ...), "b": (int, 3)})
    lock = locked(second, onto=locked(first))
    write_lock(tmp_path / "lock.json", lock)

    assert read_lock(tmp_path / "lock.json") == lock
    assert [len(entry.released) for entry in lock.subjects.values()] == [2]
    assert locked(first, onto=locked(second, onto=lock)) == lock
    assert checked(lock, second, only="fail") == []
    assert len((tmp_path / "lock.json").read_text().splitlines()) == 9


def test_a_new_schema_is_only_a_warning() -> None:
    lock = locked(event({"a": (str, ...)}))

    assert [(f.found, f.remedy) for f in checked(lock, event({"a": (str, ...), "b": (int, 3)}), only="warn")] == [
        ("has changed, compatibly, and is not in the lock file yet", "eventstore schemas lock")
    ]
    assert [f.found for f in checked(lock, Written, only="warn")] == ["is new, and is not in the lock file yet"]


def test_a_field_that_seems_to_have_another_name_is_pointed_out() -> None:
    lock = locked(event({"title": (str, ""), "size": (int, 0)}))
    renamed = event({"name": (str, ""), "size": (int, 0)})
    told = event({"name": (str, Field("", validation_alias=AliasChoices("name", "title"))), "size": (int, 0)})

    assert [(f.path, f.remedy) for f in checked(lock, renamed, only="warn")][:-1] == [
        ("data.name", 'read the old name, too: Field(validation_alias=AliasChoices("name", "title"))')
    ]
    assert [f.path for f in checked(lock, told, only="warn")] == [""]
    assert [finding for finding in checked(lock, told) if finding.result == "fail"] == []


def test_samples_hold_every_type_and_are_the_same_each_time() -> None:
    samples = samples_of(EverythingHappened, derive(EverythingHappened).sample)

    assert len(samples) == VARIANTS
    assert samples == samples_of(EverythingHappened, derive(EverythingHappened).sample)
    assert len({sample.model_dump_json() for sample in samples}) == VARIANTS
    assert checked(locked(EverythingHappened), EverythingHappened, only="fail") == []


def test_fields_with_rules_of_their_own_take_their_examples() -> None:
    country = Annotated[str, Field(pattern="^[A-Z]{2}$", examples=["DE", "FR"])]
    samples: list[Any] = samples_of(found := event({"country": (country, ...)}), derive(found).sample)
    assert [sample.country for sample in samples] == ["DE", "FR", "DE"]

    unexplained = event({"country": (Annotated[str, Field(pattern="^[A-Z]{2}$")], ...)})
    with pytest.raises(
        ConfigurationError, match=r"test.changed: data.country: no sample can be made .*give country examples"
    ):
        samples_of(unexplained, derive(unexplained).sample)

    def refuse(self: Any) -> Any:
        raise ValueError("never")

    never = create_model(
        "Never",
        __base__=Event,
        __cls_kwargs__={"type": "test.never"},
        __validators__={"refuse": model_validator(mode="after")(refuse)},
        a=(int, ...),
    )
    with pytest.raises(ConfigurationError, match=r"data: no sample can be made .*give its fields examples"):
        samples_of(never, derive(never).sample)


@pytest.mark.parametrize("text", ["", "[]", '{"format": 2}', '{"format": 1, "subjects": {"a": 3}}'])
def test_a_damaged_lock_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "lock.json").write_text(text)
    with pytest.raises(ConfigurationError, match="is no schema lock: .*version control"):
        read_lock(tmp_path / "lock.json")


def test_a_changed_sample_is_found(tmp_path: Path) -> None:
    write_lock(tmp_path / "lock.json", locked(Written))
    text = (tmp_path / "lock.json").read_text().replace('\\"words\\":7', '\\"words\\":8')
    (tmp_path / "lock.json").write_text(text)
    lock = read_lock(tmp_path / "lock.json")
    assert lock is not None
    assert json.loads(text)["format"] == 1

    (failed,) = checked(lock, Written, only="fail")
    assert "as JSON it is Written(words=8), as Avro Written(words=7)" in failed.found
