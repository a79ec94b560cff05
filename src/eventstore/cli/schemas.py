"""`schemas`: the Avro schemas of an application's events: shown, locked, checked, registered."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, cast

import typer

from eventstore.cli.failures import FoundProblemError
from eventstore.cli.loading import Session
from eventstore.cli.output import Output
from eventstore.cli.running import run, session_of
from eventstore.core.errors import ConfigurationError
from eventstore.store import EventStore

if TYPE_CHECKING:
    from eventstore.schema import AvroCodec
    from eventstore.schema.checking import SchemaFinding
    from eventstore.schema.envelope import DerivedEvent
    from eventstore.schema.lock import SchemaLock

app = typer.Typer(help="Avro schemas of the events: show, lock, check, register.", no_args_is_help=True)

_LOCK_FILE = "schemas.lock.json"
_File = Annotated[Path, typer.Option("--file", help="The lock file, which belongs under version control.")]


class _Schemas(NamedTuple):
    """The schemas of what an application writes, by their subjects, and the codecs if it is written as Avro."""

    subjects: Mapping[str, DerivedEvent]
    codecs: Sequence[AvroCodec]


@app.command()
def show(
    context: typer.Context,
    event: Annotated[str, typer.Argument(help="Only this event, as the schema itself, for example task.created")] = "",
) -> None:
    """Show the schemas that are derived from the event classes; with --json as they are registered."""
    session = session_of(context)
    schemas = _schemas_of(session.store())
    found = {subject: each for subject, each in schemas.subjects.items() if event in {"", each.cls.event_type}}
    if not found:
        known = ", ".join(sorted({each.cls.event_type for each in schemas.subjects.values()})) or "none"
        message = f"this application emits no event {event!r} (it emits: {known})"
        raise ConfigurationError(message)
    if session.output.as_json:
        for subject, each in found.items():
            document = {"event": each.cls.event_type, "subject": subject, "schema": each.schema}
            session.output.document(document)
    elif event:
        for each in found.values():
            session.output.note(*json.dumps(each.schema, indent=2, ensure_ascii=False).splitlines())
    else:
        rows = [row for each in found.values() for row in _fields(each)]
        session.output.rows("events", ("event", "field", "type", "default"), rows)


@app.command()
def lock(context: typer.Context, file: _File = Path(_LOCK_FILE)) -> None:
    """Add the schemas of this code to the lock file, with samples of their events; refuses incompatible ones."""
    session = session_of(context)
    schemas = _schemas_of(session.store())
    from eventstore.schema.checking import check_lock  # noqa: PLC0415 - its libraries are optional
    from eventstore.schema.lock import SchemaLock, extended, read_lock, write_lock  # noqa: PLC0415

    known = read_lock(file) or SchemaLock()
    failed = [finding for finding in check_lock(schemas.subjects, known) if finding.result == "fail"]
    if failed:
        _report(session.output, failed)
    wider, added = extended(known, schemas.subjects)
    if added:
        write_lock(file, wider)
    rows = [{"subject": name, "releases": len(wider.subjects[name].released)} for name in added]
    session.output.rows(f"changes: {file} holds all schemas of this code", ("subject", "releases"), rows)


@app.command()
def check(
    context: typer.Context,
    file: _File = Path(_LOCK_FILE),
    offline: Annotated[bool, typer.Option("--offline", help="Compare with the lock file alone.")] = False,
) -> None:
    """Compare this code with the lock file and the registry, and read all samples; what fails must not be deployed."""
    session = session_of(context)
    schemas = _schemas_of(session.store())
    from eventstore.schema.lock import read_lock  # noqa: PLC0415

    locked, codecs = read_lock(file), () if offline else schemas.codecs
    if locked is None and not codecs:
        message = f"there is nothing to compare with: write {file} with eventstore schemas lock, and commit it"
        raise ConfigurationError(message)
    run(_check(session, schemas, locked, codecs))


async def _check(session: Session, schemas: _Schemas, locked: SchemaLock | None, codecs: Sequence[AvroCodec]) -> None:
    from eventstore.schema.checking import check_lock, check_registry  # noqa: PLC0415

    findings = [] if locked is None else [*check_lock(schemas.subjects, locked)]
    for codec in codecs:
        async with codec.registry:
            findings += await check_registry(codec)
    _report(session.output, findings)


@app.command()
def register(context: typer.Context) -> None:
    """Register the schemas of this code, and have the registry keep them compatible from then on."""
    session = session_of(context)
    schemas = _schemas_of(session.store())
    if not schemas.codecs:
        message = "this application writes JSON: there is no registry. Avro takes EventStore(..., codec=AvroCodec(url))"
        raise ConfigurationError(message)
    run(_register(session, schemas.codecs))


async def _register(session: Session, codecs: Sequence[AvroCodec]) -> None:
    from eventstore.schema.checking import check_registry  # noqa: PLC0415
    from eventstore.schema.codec import schema_text  # noqa: PLC0415

    rows: list[dict[str, object]] = []
    for codec in codecs:
        async with codec.registry as registry:
            failed = [finding for finding in await check_registry(codec) if finding.result == "fail"]
            if failed:
                _report(session.output, failed)
            for subject, event in codec.subjects.items():
                schema_id = await registry.register(subject, schema_text(event.schema))
                rows.append({"subject": subject, "id": schema_id})
    session.output.rows("events to register", ("subject", "id"), rows)


def _schemas_of(store: EventStore) -> _Schemas:
    """Give the schemas of what a store emits, and of what its publications publish.

    Raises:
        ConfigurationError: Avro is not installed, or an event cannot be expressed in it.
    """
    try:
        from eventstore.schema import AvroCodec  # noqa: PLC0415 - its libraries are optional
        from eventstore.schema.envelope import derive  # noqa: PLC0415
    except ImportError as cause:
        message = f"{cause.name} is missing: pip install 'eventstore[avro]'"
        raise ConfigurationError(message) from cause
    contracts = [contract for cls in store.application.publications for contract in cls.definition.contracts]
    if isinstance(store.codec, AvroCodec):
        codecs = [store.codec]
        for topic in store.application.public_topics:
            public = store.codec.for_topic(topic)
            public.declare([contract.event for contract in contracts if contract.topic == topic])
            codecs.append(public)
        return _Schemas({subject: each for codec in codecs for subject, each in codec.subjects.items()}, codecs)
    own = {event.name: event for event in map(derive, store.application.emitted)}
    return _Schemas(own | {f"{topic}-{(event := derive(cls)).name}": event for topic, cls in contracts}, [])


def _report(output: Output, findings: list[SchemaFinding]) -> None:
    """Print what was found, the worst last.

    Raises:
        FoundProblemError: Something must not be released.
    """
    for finding in sorted(findings, key=lambda finding: ("ok", "warn", "fail").index(finding.result)):
        if output.as_json:
            output.document(finding._asdict())
            continue
        where = f"{finding.path}: " if finding.path else ""
        output.note(f"{finding.result:4}  {finding.event}  {where}{finding.found}")
        if finding.remedy:
            output.note(f"      {finding.remedy}")
    if any(finding.result == "fail" for finding in findings):
        raise FoundProblemError


def _fields(derived: DerivedEvent) -> Iterator[dict[str, object]]:
    """Give a row per field of an event's data."""
    data: Any = derived.data
    event = f"{derived.cls.event_type} v{derived.cls.schema_version}"
    if not data["fields"]:
        yield {"event": event}
    for field in data["fields"]:
        yield {"event": event, "field": field["name"], "type": _type(field["type"]), "default": _default(field)}
        event = ""


def _default(field: Mapping[str, object]) -> str | None:
    return json.dumps(field["default"], ensure_ascii=False) if "default" in field else None


def _type(schema: Any) -> str:
    """Write a type for a table's cell."""
    if isinstance(schema, str):
        return schema.rpartition(".")[2]
    if isinstance(schema, list):
        return " | ".join(map(_type, cast("list[object]", schema)))
    if schema["type"] in {"array", "map"}:
        return f"{schema['type']} of {_type(schema.get('items') or schema['values'])}"
    return str(schema.get("logicalType") or f"{schema['type']} {_type(schema.get('name', ''))}".strip())
