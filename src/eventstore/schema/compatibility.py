"""Whether events written with one schema can be read with another, both ways, and what to do where they cannot.

The verdict is the Avro project's own; what is added is where it comes from, and that a value must keep its meaning: a
checker takes a decimal of other places for the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, cast

import avro.schema
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType

from eventstore.schema.forms import AvroSchema, branch_name

_MEANING: Final = ("logicalType", "precision", "scale")
_UPCAST: Final = "raise the class's version and add an upcaster"
_BACKWARD: Final = "stored events cannot be read"
_FORWARD: Final = "code that still runs cannot read new events"


class Incompatibility(NamedTuple):
    """Why two schemas do not go together.

    Attributes:
        path: Which field, for example `data.items[].weight`.
        problem: What is different, and what it leads to.
        remedy: What to do about it.
    """

    path: str
    problem: str
    remedy: str


def incompatibilities(new: AvroSchema, released: AvroSchema) -> list[Incompatibility]:
    """List why a schema and a released one cannot read each other's events; empty if they can (Avro's FULL).

    Args:
        new: The schema of this code.
        released: One that events were written with.
    """
    found: dict[tuple[str, str], Incompatibility] = {}
    for reader, writer, backward in ((new, released, True), (released, new, False)):
        for each in _Comparison(reader, writer, backward=backward).run():
            found.setdefault((each.path, each.problem), each)
    return [*found.values()]


def likely_renames(new: AvroSchema, released: AvroSchema) -> list[Incompatibility]:
    """List fields that seem to have got another name without an alias: nothing breaks, but what they held is not found.

    Args:
        new: The schema of this code.
        released: One that events were written with.
    """
    comparison = _Comparison(new, released, backward=True)
    return [] if [*comparison.run()] else comparison.renames


def can_read(reader: AvroSchema, writer: AvroSchema) -> bool:
    """Tell Avro's own verdict."""
    checker = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]  # the library's own lack
    verdict = checker.get_compatibility(_parsed(reader), _parsed(writer))
    return verdict.compatibility is SchemaCompatibilityType.compatible


class _Comparison:
    """Goes through a reader's and a writer's schema side by side, down to where they differ.

    Attributes:
        renames: Fields that may be others of the writer's under another name.
    """

    def __init__(self, reader: AvroSchema, writer: AvroSchema, *, backward: bool) -> None:
        self._reader: Final = reader
        self._writer: Final = writer
        self._backward: Final = backward
        self._names: Final = (names_in(reader), names_in(writer))
        self._seen: Final[set[tuple[str, str]]] = set()
        self.renames: Final[list[Incompatibility]] = []

    def run(self) -> Iterator[Incompatibility]:
        found = [*self._compare(self._reader, self._writer, "")]
        yield from found
        if not found and not can_read(self._reader, self._writer):
            yield self._because("", "Avro finds the schemas incompatible")

    def _compare(self, reader: AvroSchema, writer: AvroSchema, path: str) -> Iterator[Incompatibility]:
        reader, writer = self._named(reader, 0), self._named(writer, 1)
        if isinstance(reader, list) or isinstance(writer, list):
            yield from self._compare_unions(_branches(reader), _branches(writer), path)
            return
        kinds = (_kind(reader), _kind(writer))
        if kinds == ("record", "record"):
            yield from self._compare_records(_object(reader), _object(writer), path)
        elif kinds == ("array", "array"):
            yield from self._compare(_object(reader)["items"], _object(writer)["items"], f"{path}[]")
        elif kinds == ("map", "map"):
            yield from self._compare(_object(reader)["values"], _object(writer)["values"], f"{path}{{}}")
        elif kinds == ("enum", "enum"):
            yield from self._compare_enums(_object(reader), _object(writer), path)
        elif _meaning(reader) != _meaning(writer) or not can_read(self._whole(reader, 0), self._whole(writer, 1)):
            old, new = (writer, reader) if self._backward else (reader, writer)
            problem = f"it was {_described(old)} and is {_described(new)}"
            yield Incompatibility(path, problem, f"change the type back, or {_UPCAST}")

    def _compare_records(
        self, reader: Mapping[str, Any], writer: Mapping[str, Any], path: str
    ) -> Iterator[Incompatibility]:
        pair = (reader["name"], writer["name"])
        if pair in self._seen:
            return
        self._seen.add(pair)
        yield from self._compare_names(reader, writer, path)
        written = {field["name"]: field for field in writer["fields"]}
        read = {name for field in reader["fields"] for name in (field["name"], *field.get("aliases", ()))}
        for field in reader["fields"]:
            place = f"{path}.{field['name']}" if path else field["name"]
            source = next(
                (written[name] for name in (field["name"], *field.get("aliases", ())) if name in written), None
            )
            if source is not None:
                yield from self._compare(field["type"], source["type"], place)
            elif "default" not in field:
                yield self._missing(place)
            else:
                self._suspect(field, place, [written[name] for name in written.keys() - read])

    def _missing(self, place: str) -> Incompatibility:
        if self._backward:
            return self._because(place, "it is new and has no default", f"give it a default, or {_UPCAST}")
        remedy = (
            f"keep it, or {_UPCAST}; if it has another name now, that takes a new version, too, since it had no default"
        )
        return self._because(place, "it is gone and had no default", remedy)

    def _suspect(self, field: Mapping[str, Any], place: str, gone: list[dict[str, Any]]) -> None:
        for other in gone:
            if other["type"] == field["type"]:
                old = other["name"]
                problem = (
                    f"is new, and {old}, which is gone, is of the same type: if it is the same, its values are lost"
                )
                remedy = f'read the old name, too: Field(validation_alias=AliasChoices("{field["name"]}", "{old}"))'
                self.renames.append(Incompatibility(place, problem, remedy))

    def _compare_names(
        self, reader: Mapping[str, Any], writer: Mapping[str, Any], path: str
    ) -> Iterator[Incompatibility]:
        names = [cast("str", schema["name"]).rpartition(".")[2] for schema in (reader, writer)]
        if names[0] != names[1]:
            new, old = names if self._backward else reversed(names)
            yield Incompatibility(
                path, f"its class was named {old} and is named {new}", f"name it {old} again, or {_UPCAST}"
            )

    def _compare_enums(
        self, reader: Mapping[str, Any], writer: Mapping[str, Any], path: str
    ) -> Iterator[Incompatibility]:
        yield from self._compare_names(reader, writer, path)
        unknown = [symbol for symbol in writer["symbols"] if symbol not in reader["symbols"]]
        if unknown and reader.get("default") not in reader["symbols"]:
            listed = ", ".join(unknown)
            if self._backward:
                yield self._because(path, f"{listed}: gone from the enum", f"keep it, or {_UPCAST}")
            else:
                remedy = f"first release the enum with a _missing_ that gives a default, or {_UPCAST}"
                yield self._because(path, f"{listed}: new in the enum", remedy)

    def _compare_unions(self, reader: list[Any], writer: list[Any], path: str) -> Iterator[Incompatibility]:
        """Compare what may be None, or of several types; types of the same name are compared in depth."""
        known = {_branch(branch): branch for branch in reader}
        for branch in writer:
            name = _branch(branch)
            if name in known:
                yield from self._compare(known[name], branch, path)
            elif not any(self._fits(candidate, branch) for candidate in reader):
                what = "None" if name == "null" else f"the type {_described(self._named(branch, 1))}"
                problem = f"{what} was allowed and is not" if self._backward else f"{what} is allowed and was not"
                remedy = f"allow it again, or {_UPCAST}" if self._backward else _UPCAST
                yield self._because(path, problem, remedy)

    def _fits(self, reader: AvroSchema, writer: AvroSchema) -> bool:
        named = self._named(reader, 0), self._named(writer, 1)
        return _meaning(named[0]) == _meaning(named[1]) and can_read(self._whole(named[0], 0), self._whole(named[1], 1))

    def _because(self, path: str, problem: str, remedy: str = _UPCAST) -> Incompatibility:
        return Incompatibility(path, f"{problem}: {_BACKWARD if self._backward else _FORWARD}", remedy)

    def _named(self, schema: AvroSchema, side: int) -> AvroSchema:
        return self._names[side].get(schema, schema) if isinstance(schema, str) else schema

    def _whole(self, schema: AvroSchema, side: int) -> AvroSchema:
        """Give a part of a schema such that it can stand alone."""
        return completed(schema, dict(self._names[side]))


def names_in(schema: AvroSchema) -> dict[str, dict[str, Any]]:
    """Give the records and enums of a schema by name."""
    found: dict[str, dict[str, Any]] = {}
    for part in parts_of(schema):
        found.update(names_in(part))
    if isinstance(schema, dict) and "name" in schema:
        found[schema["name"]] = schema
    return found


def parts_of(schema: AvroSchema) -> list[AvroSchema]:
    """Give the types that a type is made of."""
    if isinstance(schema, list):
        return schema
    if isinstance(schema, str):
        return []
    fields = [field["type"] for field in schema.get("fields", ())]
    return [*fields, *(schema[part] for part in ("items", "values") if part in schema)]


def completed(schema: AvroSchema, names: dict[str, dict[str, Any]]) -> AvroSchema:
    """Put every named type where it is first mentioned, and only its name elsewhere; drops what is only meaning."""
    if isinstance(schema, list):
        return [completed(branch, names) for branch in schema]
    if isinstance(schema, str):
        found = names.pop(schema, None)
        return schema if found is None else completed(found, names)
    names.pop(cast("str", schema.get("name")), None)
    done = {key: part for key, part in schema.items() if key not in _MEANING}
    if "fields" in schema:
        done["fields"] = [field | {"type": completed(field["type"], names)} for field in schema["fields"]]
    return done | {part: completed(schema[part], names) for part in ("items", "values") if part in schema}


def _parsed(schema: AvroSchema) -> avro.schema.Schema:
    return avro.schema.parse(json.dumps(completed(schema, names_in(schema))))


def _branches(schema: AvroSchema) -> list[Any]:
    return schema if isinstance(schema, list) else [schema]


def _branch(branch: AvroSchema) -> str:
    """Name a branch by what stays when schemas are compared: named types without their namespace."""
    name = branch["name"] if isinstance(branch, dict) and "name" in branch else branch_name(branch)
    return cast("str", name).rpartition(".")[2]


def _object(schema: AvroSchema) -> dict[str, Any]:
    return cast("dict[str, Any]", schema)


def _kind(schema: AvroSchema) -> str:
    return schema if isinstance(schema, str) else cast("str", _object(schema)["type"])


def _meaning(schema: AvroSchema) -> list[object]:
    return [schema.get(part) if isinstance(schema, dict) else None for part in _MEANING]


def _described(schema: AvroSchema) -> str:
    if not isinstance(schema, dict):
        return str(schema)
    digits = f" of {schema['precision']} digits, {schema['scale']} places" if "precision" in schema else ""
    return f"{schema.get('logicalType') or schema.get('name') or schema['type']}{digits}"
