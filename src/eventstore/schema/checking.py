"""Compares the schemas of code with what was released: by the lock file, by the registry, by samples of old events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

from eventstore.core.errors import EventSchemaError
from eventstore.core.events import Event
from eventstore.core.records import StreamEvent
from eventstore.core.registry import TypeRegistry
from eventstore.schema.codec import AvroCodec, normalised, schema_text
from eventstore.schema.compatibility import incompatibilities, likely_renames
from eventstore.schema.envelope import DerivedEvent
from eventstore.schema.forms import AvroSchema
from eventstore.schema.lock import LockedEvent, Released, Sample, SchemaLock, sample_codec
from eventstore.schema.registry import FULL_TRANSITIVE


class SchemaFinding(NamedTuple):
    """What is said about one event or field.

    Attributes:
        result: `fail` for what must not be released.
        event: The event and the version of its class.
        path: The field, if it is about one.
        found: What is so.
        remedy: What to do, if anything.
    """

    result: Literal["ok", "warn", "fail"]
    event: str
    path: str
    found: str
    remedy: str = ""


def check_lock(subjects: Mapping[str, DerivedEvent], lock: SchemaLock) -> Iterator[SchemaFinding]:
    """Compare code with the lock file: every schema with all that were released, every class with all old samples.

    Args:
        subjects: The schemas of this code.
        lock: What was released.
    """
    current = {event.cls.event_type: event.cls for event in subjects.values()}
    broken: set[str] = set()
    for subject, event in subjects.items():
        entry = lock.subjects.get(subject)
        released = [] if entry is None else [version.avro_schema for version in entry.released]
        for finding in compare(
            label(subject, event), event.schema, released, "the lock file", "eventstore schemas lock"
        ):
            yield finding
            if finding.result == "fail":
                broken.add(subject)
    for subject, entry in lock.subjects.items():
        if subject not in broken:  # its samples would only say so again
            yield from _check_entry(current.get(entry.event_type), entry)


def compare(
    event: str, schema: AvroSchema, released: Iterable[AvroSchema], where: str, command: str
) -> Iterator[SchemaFinding]:
    """Compare a schema with all released ones.

    Args:
        event: What it is of.
        schema: The schema of this code.
        released: What events may have been written with.
        where: What holds the released ones.
        command: What adds one to them.
    """
    known = list(released)
    if schema in known:
        yield SchemaFinding("ok", event, "", f"is in {where}")
        return
    seen: set[tuple[str, str]] = set()
    for other in known:
        for each in incompatibilities(schema, other):
            if (each.path, each.problem) not in seen:
                seen.add((each.path, each.problem))
                yield SchemaFinding("fail", event, each.path, each.problem, each.remedy)
    if not seen and known:
        for each in likely_renames(schema, known[-1]):
            yield SchemaFinding("warn", event, each.path, each.problem, each.remedy)
    if not seen:
        what = "has changed, compatibly" if known else "is new"
        yield SchemaFinding("warn", event, "", f"{what}, and is not in {where} yet", command)


async def check_registry(codec: AvroCodec) -> list[SchemaFinding]:
    """Compare a codec's declared events with an open registry, which has the last word.

    Raises:
        StoreUnavailableError: The registry is out of reach.
        ConfigurationError: It refuses.
    """
    findings: list[SchemaFinding] = []
    for subject, event in codec.subjects.items():
        text = schema_text(event.schema)
        versions = await codec.registry.versions(subject)
        released = [normalised(json.loads(version.schema)) for version in versions]
        schema = normalised(event.schema)
        if schema in released:
            findings.append(SchemaFinding("ok", label(subject, event), "", "is registered"))
            rule = await codec.registry.rule_of(subject)
            if rule != FULL_TRANSITIVE:
                said = f"the subject {subject} demands only {rule or 'what the registry demands of all'}"
                findings.append(SchemaFinding("warn", label(subject, event), "", said, "eventstore schemas register"))
            continue
        found = [*compare(label(subject, event), schema, released, "the registry", "eventstore schemas register")]
        if all(each.result != "fail" for each in found) and not await codec.registry.accepts(subject, text):
            said = f"the registry does not accept it for the subject {subject}"
            found = [
                SchemaFinding("fail", label(subject, event), "", said, "raise the class's version and add an upcaster")
            ]
        findings += found
    return findings


def label(subject: str, event: DerivedEvent) -> str:
    """Name an event and its version, and the topic if it is a public one's."""
    topic = subject.removesuffix(f"-{event.name}")
    where = "" if topic == subject else f" on {topic}"
    return f"{event.cls.event_type} v{event.cls.schema_version}{where}"


def _check_entry(cls: type[Event] | None, entry: LockedEvent) -> Iterator[SchemaFinding]:
    name = f"{entry.event_type} v{entry.schema_version}"
    if cls is None:
        remedy = "restore the class, with this name; a class may be renamed, the name of an event may not"
        yield SchemaFinding("fail", name, "", "no class has this name any more: its events cannot be read", remedy)
    elif cls.schema_version < entry.schema_version:
        remedy = f"write version={entry.schema_version} again, and go on from there"
        yield SchemaFinding("fail", name, "", f"was released, and the class is version {cls.schema_version}", remedy)
    else:
        yield from _check_samples(cls, entry, name)


def _check_samples(cls: type[Event], entry: LockedEvent, name: str) -> Iterator[SchemaFinding]:
    """Decode what was written when schemas were released, and upcast it to today's class."""
    count, failed = 0, False
    for number, version in enumerate(entry.released, 1):
        for sample in version.samples:
            count += 1
            problem = _problem_of(cls, entry, version, sample)
            if problem and not failed:
                failed = True
                yield SchemaFinding(
                    "fail", name, "", f"a sample of release {number} cannot be read: {problem}", _REMEDY
                )
    if not failed:
        how = f", upcast to v{cls.schema_version}" if cls.schema_version > entry.schema_version else ""
        yield SchemaFinding("ok", name, "", f"its {count} samples can be read{how}")


_REMEDY = "make the class and its upcasters take what they once took"


def _problem_of(cls: type[Event], entry: LockedEvent, version: Released, sample: Sample) -> str:
    registry = TypeRegistry([cls], sample_codec(version.avro_schema))
    events: list[Event] = []
    for envelope in (sample.json_envelope.encode(), sample.binary()):
        stored = StreamEvent(1, entry.event_type, entry.schema_version, 0, envelope)
        try:
            events.append(registry.decode(stored, "sample"))
        except EventSchemaError as error:
            return str(error)
    return "" if events[0] == events[1] else f"as JSON it is {events[0]!r}, as Avro {events[1]!r}"
