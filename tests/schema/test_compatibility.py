"""Breaking and harmless changes, judged by the lock file, and by a real registry."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from eventstore.core.errors import ConfigurationError
from eventstore.schema import AvroCodec, SchemaRegistry
from eventstore.schema.checking import check_lock, check_registry
from eventstore.schema.codec import schema_text
from eventstore.schema.compatibility import incompatibilities
from eventstore.schema.envelope import derive
from eventstore.schema.lock import SchemaLock, extended, read_lock, write_lock
from tests.schema.changes import BREAKING, HARMLESS, Change, event

ALL = [*BREAKING, *HARMLESS]
# What Avro alone does not see: the bytes stay the same, their meaning does not.
ONLY_OURS = {"a decimal has other places", "a moment becomes a local time", "an id becomes any text"}


def test_there_are_twenty_of_each() -> None:
    assert len(BREAKING) >= 20
    assert len(HARMLESS) >= 20
    assert len({change.name for change in ALL}) == len(ALL)


@pytest.mark.parametrize("change", ALL, ids=lambda change: change.name)
def test_a_change_is_judged_by_the_lock_file(change: Change, tmp_path: Path) -> None:
    before, after = event(change.before), event(change.after)
    lock, _ = extended(SchemaLock(), {"changed": derive(before)})
    write_lock(tmp_path / "lock.json", lock)
    released = read_lock(tmp_path / "lock.json")
    assert released is not None

    failed = [finding for finding in check_lock({"changed": derive(after)}, released) if finding.result == "fail"]

    if change in BREAKING:
        assert change.path in [finding.path for finding in failed]
        assert all(finding.remedy for finding in failed)
    else:
        assert failed == []


@pytest.mark.parametrize("change", BREAKING, ids=lambda change: change.name)
def test_a_breaking_change_is_one_in_the_other_direction_too(change: Change) -> None:
    assert incompatibilities(derive(event(change.before)).schema, derive(event(change.after)).schema)


def test_the_explanation_names_the_remedy() -> None:
    by_name = {change.name: change for change in BREAKING}

    def explained(name: str) -> list[tuple[str, str, str]]:
        change = by_name[name]
        new, old = derive(event(change.after)).schema, derive(event(change.before)).schema
        return [tuple(each) for each in incompatibilities(new, old)]

    upcast = "raise the class's version and add an upcaster"
    assert explained("a field without a default is new") == [
        ("data.due", "it is new and has no default: stored events cannot be read", f"give it a default, or {upcast}")
    ]
    assert explained("text becomes a number") == [
        ("data.size", "it was string and is long", f"change the type back, or {upcast}")
    ]
    assert explained("a symbol is new and the enum has no default") == [
        (
            "data.p",
            "top: new in the enum: code that still runs cannot read new events",
            f"first release the enum with a _missing_ that gives a default, or {upcast}",
        )
    ]
    assert explained("None is no longer allowed") == [
        ("data.due", "None was allowed and is not: stored events cannot be read", f"allow it again, or {upcast}")
    ]
    assert explained("a decimal has other places")[0][1] == (
        "it was decimal of 9 digits, 2 places and is decimal of 9 digits, 3 places"
    )


@pytest.mark.timeout(90)  # it may be the first, which waits for the registry to start
async def test_a_real_registry_agrees_about_every_change(schema_registry_url: str) -> None:
    async with SchemaRegistry(schema_registry_url) as registry:
        for change in ALL:
            before, after = event(change.before), event(change.after)
            namespace = f"n{uuid4().hex}"
            codec = AvroCodec(registry, namespace=namespace)
            codec.declare([after])
            ((subject, derived),) = codec.subjects.items()
            await registry.register(subject, schema_text(derive(before, namespace).schema))

            accepted = await registry.accepts(subject, schema_text(derived.schema))
            findings = await check_registry(codec)

            assert accepted == (change in HARMLESS or change.name in ONLY_OURS), change.name
            assert ("fail" in {finding.result for finding in findings}) == (change in BREAKING), change.name
            if not accepted:
                with pytest.raises(ConfigurationError, match="incompatible"):
                    await registry.register(subject, schema_text(derived.schema))
