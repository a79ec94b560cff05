"""The schema lock: a file under version control with every schema that was released, and samples of its events."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from eventstore.core.envelope import BINARY, Metadata, write_envelope
from eventstore.core.errors import ConfigurationError
from eventstore.schema.codec import AvroCodec, schema_text
from eventstore.schema.envelope import HEAD, DerivedEvent
from eventstore.schema.samples import samples_of

LOCK_FILE: Final = "schemas.lock.json"
_OCCURRED_AT: Final = datetime(2024, 2, 29, 12, 30, 15, 123456, UTC)
_METADATA: Final = Metadata(UUID(int=1), UUID(int=2))
_SAMPLE_ID: Final = 1


class Sample(BaseModel):
    """One event as it was written when its schema was released.

    Attributes:
        json_envelope: As JSON.
        avro: As Avro, base64, without the schema's id, which each registry gives anew.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    json_envelope: str
    avro: str

    def binary(self) -> bytes:
        """Give the binary envelope; `sample_codec` knows its schema."""
        return BINARY + _SAMPLE_ID.to_bytes(HEAD - len(BINARY)) + b64decode(self.avro, validate=True)


class Released(BaseModel):
    """A schema that was released, and samples written with it.

    Attributes:
        avro_schema: The schema.
        samples: What it wrote.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    avro_schema: dict[str, Any]
    samples: list[Sample]


class LockedEvent(BaseModel):
    """One version of an event: everything that was released under one subject.

    Attributes:
        event_type: The pinned name.
        schema_version: The version of the class.
        released: Its schemas, oldest first; all are compatible with each other.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    event_type: str
    schema_version: int
    released: tuple[Released, ...] = ()


class SchemaLock(BaseModel):
    """What the file holds.

    Attributes:
        format: The version of the file's own form.
        subjects: By the subject, which is the name of the envelope's record, with its topic if that is public.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: Literal[1] = 1
    subjects: dict[str, LockedEvent] = Field(default_factory=dict)


def read_lock(path: Path) -> SchemaLock | None:
    """Read a lock file; None if there is none.

    Raises:
        ConfigurationError: It cannot be read, or is no lock file.
    """
    try:
        return SchemaLock.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as cause:
        message = f"{path} cannot be read: {cause.strerror}"
        raise ConfigurationError(message) from cause
    except ValidationError as cause:
        first = cause.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        message = f"{path} is no schema lock: {where}: {first['msg']}. Take it from version control again"
        raise ConfigurationError(message) from cause


def write_lock(path: Path, lock: SchemaLock) -> None:
    """Write a lock file such that version control shows what was added.

    Raises:
        ConfigurationError: It cannot be written.
    """
    # A release is a line: what is compared in a review is that one was added, and none changed.
    subjects = ",\n".join(_block(name, entry) for name, entry in lock.subjects.items())
    text = f'{{\n"format": {lock.format},\n"subjects": {{\n{subjects}\n}}\n}}\n'
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as cause:
        message = f"{path} cannot be written: {cause.strerror}"
        raise ConfigurationError(message) from cause


def _block(name: str, entry: LockedEvent) -> str:
    releases = ",\n".join(f"    {json.dumps(each.model_dump(), ensure_ascii=False)}" for each in entry.released)
    head = f'"event_type": {json.dumps(entry.event_type)}, "schema_version": {entry.schema_version}'
    return f'  {json.dumps(name)}: {{{head}, "released": [\n{releases}\n  ]}}'


def extended(lock: SchemaLock, subjects: Mapping[str, DerivedEvent]) -> tuple[SchemaLock, list[str]]:
    """Add the schemas of this code that are not in a lock yet, with samples; nothing is ever taken out.

    Args:
        lock: What was released so far.
        subjects: The schemas of this code.

    Returns:
        The lock with them, and the subjects to which one was added.

    Raises:
        ConfigurationError: No sample can be made of an event.
    """
    known, added = dict(lock.subjects), list[str]()
    for subject, event in subjects.items():
        cls = event.cls
        entry = known.get(subject) or LockedEvent(event_type=cls.event_type, schema_version=cls.schema_version)
        if all(released.avro_schema != event.schema for released in entry.released):
            new = Released.model_validate({"avro_schema": event.schema, "samples": _written(event)})
            known[subject] = entry.model_copy(update={"released": (*entry.released, new)})
            added.append(subject)
    return lock.model_copy(update={"subjects": dict(sorted(known.items()))}), added


def _written(event: DerivedEvent) -> list[Sample]:
    codec = sample_codec(event.schema)
    codec.adopt(event, _SAMPLE_ID)
    samples: list[Sample] = []
    for number, sample in enumerate(samples_of(event.cls, event.sample), 1):
        parts = (sample, UUID(int=number), _OCCURRED_AT, _METADATA)
        binary = codec.encode(*parts)
        samples.append(Sample(json_envelope=write_envelope(*parts).decode(), avro=b64encode(binary[HEAD:]).decode()))
    return samples


def sample_codec(schema: Any) -> AvroCodec:
    """Give a codec that decodes the samples of one schema without any registry."""
    codec = AvroCodec("http://localhost")
    codec.learn(_SAMPLE_ID, schema_text(schema))
    return codec
