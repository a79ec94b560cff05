"""Avro schemas of events, derived from what pydantic knows about their fields; what Avro cannot hold is refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from operator import attrgetter
from typing import Any, Final, NamedTuple, cast

from pydantic import BaseModel

from eventstore.core.errors import ConfigurationError
from eventstore.core.events import Event
from eventstore.schema.forms import (
    LOCAL,
    MOMENT,
    SIMPLE,
    AvroSchema,
    Convert,
    Form,
    branch_name,
    chosen_from,
    decimal_form,
    listed,
    mapped,
    member_value,
    optional,
    rooted,
    union,
)
from eventstore.schema.samples import Sampler, chosen, exactly

_Node = Mapping[str, Any]
_Step = Callable[[_Node, str], Form]
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CONTAINERS: Final = {"list": list, "set": set, "frozenset": frozenset}
_CHECKS: Final = ("function-after", "function-before", "function-wrap")
_INNER: Final = {"lax-or-strict": "lax_schema", "json-or-python": "json_schema"}
_PRIMITIVES: Final[Mapping[type, str]] = {str: "str", int: "int", bool: "bool"}
_JSON_FORMS: Final = {"ser_json_bytes": "utf8", "ser_json_timedelta": "iso8601", "ser_json_temporal": "iso8601"}
_NO_DEFAULT: Final = object()


class DerivedData(NamedTuple):
    """How an event's data stands in Avro.

    Attributes:
        schema: The record.
        encode: From an event to what the writer takes for it.
        sample: Gives data for samples.
    """

    schema: AvroSchema
    encode: Convert
    sample: Sampler


def derive_data(cls: type[Event], namespace: str) -> DerivedData:
    """Derive the schema of an event's data.

    Args:
        cls: The event class.
        namespace: Where the names of the record and of all types in it are.

    Raises:
        ConfigurationError: A field cannot be expressed; names its path and what to write instead.
    """
    derivation = _Derivation(cls, namespace)
    form = derivation.form(cls.__pydantic_core_schema__, "data")
    return DerivedData(_inlined(form.schema, dict(derivation.types)), form.encoded, form.sample)


class _Derivation:
    """Walks the core schema of one class; every model and enum gets one named type.

    Attributes:
        types: The records and enums by name, with references among them by name.
    """

    def __init__(self, cls: type[Event], namespace: str) -> None:
        self.types: Final[dict[str, dict[str, Any]]] = {}
        self._cls: Final = cls
        self._namespace: Final = namespace
        self._nodes: Final[dict[str, _Node]] = {}
        self._forms: Final[dict[type, Form]] = {}
        self._names: Final[dict[str, type]] = {}
        self._steps: Final[Mapping[str, _Step]] = {
            **dict.fromkeys((*_CHECKS, *_INNER, "default", "chain"), self._inner),
            **dict.fromkeys(_CONTAINERS, self._list),
            **dict.fromkeys(("union", "tagged-union", "nullable"), self._union),
            "datetime": self._datetime,
            "decimal": self._decimal,
            "dict": self._dict,
            "enum": self._enum,
            "literal": self._literal,
            "model": self._model,
            "tuple": self._tuple,
        }

    def form(self, node: _Node, path: str) -> Form:
        """Give the form of what a node of the core schema describes."""
        node = self._resolved(node)
        kind = cast("str", node["type"])
        if "serialization" in node:
            raise self._refused(path, "it has a serializer of its own", "annotate it as what the serializer gives")
        if kind in SIMPLE:
            return SIMPLE[kind]
        step = self._steps.get(kind)
        if step is None:
            shown = "a value of any type" if kind == "any" else f"what pydantic calls {kind!r}"
            raise self._refused(path, f"Avro has no type for {shown}", "name an exact type, or keep JSON text in a str")
        return step(node, path)

    def _resolved(self, node: _Node) -> _Node:
        """Follow definitions and references to the node that says something."""
        while node["type"] in {"definitions", "definition-ref"}:
            if node["type"] == "definitions":
                self._nodes.update({found["ref"]: found for found in node["definitions"]})
                node = node["schema"]
            else:
                node = self._nodes[node["schema_ref"]]
        return node

    def _inner(self, node: _Node, path: str) -> Form:
        """Pass through what only checks or converts input: what is stored is what comes out."""
        if node["type"] == "chain":
            return self.form(node["steps"][-1], path)
        return self.form(node[_INNER.get(node["type"], "schema")], path)

    def _datetime(self, node: _Node, path: str) -> Form:  # noqa: ARG002 - every step takes both
        return LOCAL if node.get("tz_constraint") == "naive" else MOMENT

    def _decimal(self, node: _Node, path: str) -> Form:
        digits, places = node.get("max_digits"), node.get("decimal_places")
        if digits is None or places is None:
            remedy = "annotate it as Annotated[Decimal, Field(max_digits=18, decimal_places=2)]"
            raise self._refused(path, "Avro needs to know how many digits and places a decimal has", remedy)
        return decimal_form(digits, places)

    def _list(self, node: _Node, path: str) -> Form:
        return listed(self.form(node.get("items_schema") or {"type": "any"}, f"{path}[]"), _CONTAINERS[node["type"]])

    def _tuple(self, node: _Node, path: str) -> Form:
        items = [self.form(item, f"{path}[{place}]") for place, item in enumerate(node["items_schema"])]
        if not items or any(item.schema != items[0].schema for item in items):
            remedy = "make it a model with named fields"
            raise self._refused(path, "Avro has no type for a tuple of several types", remedy)
        form = listed(items[0], tuple)
        return form if "variadic_item_index" in node else form._replace(sample=exactly(len(items), items[0].sample))

    def _dict(self, node: _Node, path: str) -> Form:
        keys = self._resolved(node.get("keys_schema") or {"type": "any"})
        writers: Mapping[str, Convert | None] = {"str": None, "int": str, "uuid": str, "enum": _key_of_member}
        if keys["type"] not in writers or "serialization" in keys:
            remedy = "use str, int, UUID or an enum, or a list of models"
            raise self._refused(path, "the keys of Avro's maps are strings", remedy)
        values = self.form(node.get("values_schema") or {"type": "any"}, f"{path}{{}}")
        return mapped(writers[keys["type"]], self.form(keys, path).sample, values)

    def _literal(self, node: _Node, path: str) -> Form:
        return self._of_values(node["expected"], path)

    def _of_values(self, expected: Sequence[object], path: str) -> Form:
        """Give the form of a choice of values that are no names."""
        values = [member_value(value) for value in expected]
        kind = type(values[0])
        if kind not in _PRIMITIVES or any(type(value) is not kind for value in values):
            raise self._refused(
                path, f"the choice of {values} is not of one type", "use only str, only int or only bool"
            )
        return chosen_from(expected, _PRIMITIVES[kind])

    def _enum(self, node: _Node, path: str) -> Form:
        cls = cast("type[Enum]", node["cls"])
        symbols = [member.value for member in cls]
        if not all(isinstance(symbol, str) and _NAME.fullmatch(symbol) for symbol in symbols):
            return self._of_values([*cls], path)
        if cls not in self._forms:
            name = self._name_of(cls, path)
            default = _enum_default(cls)
            self.types[name] = {"type": "enum", "name": name, "symbols": symbols} | default
            self._forms[cls] = Form(name, (cls,), member_value, member_value, sample=chosen([*cls]))
        return self._forms[cls]

    def _model(self, node: _Node, path: str) -> Form:
        cls, inner = cast("type[BaseModel]", node["cls"]), self._resolved(node["schema"])
        while inner["type"] in _CHECKS:
            inner = self._resolved(inner["schema"])
        if node.get("root_model"):
            form = self.form(inner, path)
            return rooted(form, cls)
        if inner["type"] != "model-fields" or "serialization" in inner:
            raise self._refused(path, f"{cls.__name__} has no plain fields", "make it a model with fields")
        if {**node.get("config", {}), **inner}.get("extra_fields_behavior") == "allow":
            raise self._refused(path, f"{cls.__name__} allows extra fields", 'name them, and set extra="forbid"')
        for setting, usual in _JSON_FORMS.items():
            if cls.model_config.get(setting, usual) != usual:
                problem = f"{cls.__name__} sets {setting}, and upcasters would get other JSON from Avro"
                raise self._refused(path, problem, "leave it out")
        if cls not in self._forms:
            self._record(cls, inner["fields"], path)
        return self._forms[cls]

    def _record(self, cls: type[BaseModel], nodes: Mapping[str, _Node], path: str) -> None:
        name = f"{self._namespace}.Data" if cls is self._cls else self._name_of(cls, path)
        forms: dict[str, Form] = {}
        encoders: list[tuple[str, Convert]] = []

        def encode(value: Any) -> dict[str, Any]:
            held = cast("dict[str, Any]", value.__dict__)
            try:
                return held | {field: write(held[field]) for field, write in encoders}
            except (ValueError, TypeError, AttributeError, KeyError) as cause:
                raise _named(cause, held, encoders) from cause

        def default(value: Any) -> dict[str, Any]:
            return {field: form.as_default(getattr(value, field)) for field, form in forms.items()}

        def sample(variant: int, depth: int) -> dict[str, Any]:
            return {field: form.sample(variant, depth + 1) for field, form in forms.items()}

        # Known before its fields are: a model may hold others of its kind.
        self._forms[cls] = Form(name, (cls,), encode, default, sample=sample)
        self.types[name] = {"type": "record", "name": name, "fields": (fields := [])}
        for field, node in nodes.items():
            if not node.get("serialization_exclude"):
                form = self.form(node["schema"], f"{path}.{field}")
                examples = cls.model_fields[field].examples
                forms[field] = form = form._replace(sample=chosen(examples)) if examples else form
                fields.append(_field(field, node, form))
        encoders += [(field, form.encode) for field, form in forms.items() if form.encode is not None]
        if not encoders:
            self._forms[cls] = self._forms[cls]._replace(encode=attrgetter("__dict__"))

    def _union(self, node: _Node, path: str) -> Form:
        branches: dict[str, Form] = {}
        for choice in self._choices(node):
            form = self.form(choice, path)
            if form.branch == "union":
                raise self._refused(path, "a union stands in a union", "list all types in one")
            known = branches.setdefault(form.branch, form)
            if (known.schema, known.python) != (form.schema, form.python):
                problem = f"two types of the union are both {form.branch!r} in Avro"
                raise self._refused(path, problem, "keep one of them, or wrap them in models")
        nullable = branches.pop("null", None) is not None
        forms = [*branches.values()]
        form = forms[0] if len(forms) == 1 else union(forms)
        return optional(form) if nullable else form

    def _choices(self, node: _Node) -> Iterator[_Node]:
        """Give the types that a union in a union in a union chooses from."""
        node = self._resolved(node)
        if node["type"] == "nullable":
            yield from self._choices(node["schema"])
            yield {"type": "none"}
        elif node["type"] == "union":
            choices: list[_Node | tuple[_Node, str]] = node["choices"]
            for choice in choices:
                yield from self._choices(choice[0] if isinstance(choice, tuple) else choice)
        elif node["type"] == "tagged-union":
            for choice in node["choices"].values():
                yield from self._choices(choice)
        else:
            yield node

    def _name_of(self, cls: type, path: str) -> str:
        name = re.sub(r"[^A-Za-z0-9_]+", "_", cls.__name__).strip("_")
        if self._names.setdefault(name, cls) is not cls:
            raise self._refused(path, f"two classes are named {name}", "rename one")
        return f"{self._namespace}.data.{name}"

    def _refused(self, path: str, problem: str, remedy: str) -> ConfigurationError:
        return ConfigurationError(f"{self._cls.event_type}: {path}: {problem}: {remedy}")


def _field(name: str, node: _Node, form: Form) -> dict[str, Any]:
    field: dict[str, Any] = {"name": name, "type": form.schema}
    given = _default_of(node["schema"])
    if given is not _NO_DEFAULT:
        if isinstance(form.schema, list):
            # The default of a union is one of its first branch.
            first = form.branch_of(given)
            field["type"] = sorted(form.schema, key=lambda branch: branch_name(branch) != first)
        field["default"] = form.as_default(given)
    aliases = [alias for alias in _aliases(node) if alias != name and _NAME.fullmatch(alias)]
    return field | {"aliases": aliases} if aliases else field


def _default_of(node: _Node) -> object:
    """Give a field's default; only of a factory that certainly gives the same each time."""
    if node["type"] != "default":
        return _NO_DEFAULT
    if node.get("default_factory") in {list, dict, set, frozenset, tuple}:
        return node["default_factory"]()
    return node.get("default", _NO_DEFAULT)


def _aliases(node: _Node) -> list[str]:
    """Give the other names under which a field is read."""
    found = node.get("validation_alias", [])
    if isinstance(found, str):
        return [found]
    paths = found if found and isinstance(found[0], list) else [found]
    return [path[0] for path in paths if len(path) == 1 and isinstance(path[0], str)]


def _enum_default(cls: type[Enum]) -> dict[str, str]:
    """Give what the enum makes of a value it does not know, if it makes something of it (`_missing_`)."""
    with suppress(Exception):
        return {"default": cls("\0").value}
    return {}


def _named(cause: Exception, held: Mapping[str, Any], encoders: Sequence[tuple[str, Convert]]) -> ValueError:
    """Say which field could not be encoded."""
    for field, write in encoders:
        try:
            write(held[field])
        except Exception as found:  # noqa: BLE001 - it was raised before, from an unknown field
            return ValueError(f"{field}: {found}")
    return ValueError(str(cause))


def _key_of_member(member: object) -> str:
    return str(member_value(member))


def _inlined(schema: AvroSchema, types: dict[str, dict[str, Any]]) -> AvroSchema:
    """Put every named type where it is first mentioned."""
    if isinstance(schema, str):
        found = types.pop(schema, None)
        return schema if found is None else _inlined(found, types)
    if isinstance(schema, list):
        return [_inlined(branch, types) for branch in schema]
    if schema["type"] == "record":
        return schema | {"fields": [field | {"type": _inlined(field["type"], types)} for field in schema["fields"]]}
    return schema | {part: _inlined(schema[part], types) for part in ("items", "values") if part in schema}
