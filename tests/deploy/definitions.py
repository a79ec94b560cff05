"""The definitions of the resources that Strimzi, KEDA and Prometheus add to Kubernetes, and what they reject.

`make crds` fetches them from the projects' release tags into the cache; `STRIMZI_CRDS` names another folder.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from eventstore.testing.maven import cache_directory

Schema = dict[str, Any]

_GITHUB = "https://raw.githubusercontent.com"
_STRIMZI = "strimzi/strimzi-kafka-operator/1.2.0/packaging/install/cluster-operator"
_KEDA = "kedacore/keda/v2.20.2/config/crd/bases"
_PROMETHEUS = "prometheus-operator/prometheus-operator/v0.93.0/example/prometheus-operator-crd"
# Path of each, and what its bytes have to hash to.
FILES: Mapping[str, str] = {
    f"{_STRIMZI}/040-Crd-kafka.yaml": "b5b27fc8d52068a77cde7c40d47c068023c7b4e92fc266c45200db2d2506392a",
    f"{_STRIMZI}/041-Crd-kafkaconnect.yaml": "00339af1b873aefbfc4406ef251d03d0928a8d7f6a85c45bd322080e21d6f3be",
    f"{_STRIMZI}/043-Crd-kafkatopic.yaml": "36390f0731c699448076d4ee739e8b7f331d083e91a7fb71500aaa830ab1127e",
    f"{_STRIMZI}/044-Crd-kafkauser.yaml": "c7e91b9b027a516b43dc7d369e781ee23a6ea177ae15fe0c33af6f722e26e05f",
    f"{_STRIMZI}/045-Crd-kafkanodepool.yaml": "411c1b32ef8c1a6408ac9d4fe791115a6ce2b41107204588f976a3ed19be2430",
    f"{_STRIMZI}/047-Crd-kafkaconnector.yaml": "8050325edfec7ac90718f9e40f3f808b5489d7ae6c11b1634bc82426955b8fff",
    f"{_STRIMZI}/049-Crd-kafkarebalance.yaml": "e84ffcd975c62025436ead73298c53b3e3409746986295d57dc156b6710201b2",
    f"{_KEDA}/keda.sh_scaledobjects.yaml": "af35555862a83933b074af14ad439c4b4ceabaf4daa3e9338e9b23e36d308d80",
    f"{_KEDA}/keda.sh_triggerauthentications.yaml": "275307b4cb19ca8f0f506a879282aa4c67587ac16ec757f494d6585c5c185d65",
    f"{_PROMETHEUS}/monitoring.coreos.com_podmonitors.yaml": "45a93443daa687d3654f7e9631909ff7edcdf3ec09c5e60251b74aa2722aee5d",
    f"{_PROMETHEUS}/monitoring.coreos.com_prometheusrules.yaml": "78be98554b9c8506ab2b4f4feb91c5f3a56e536a0a510f3a8e876a459970d56d",
    f"{_PROMETHEUS}/monitoring.coreos.com_servicemonitors.yaml": "a99047972c9dd7679ce2050b9968e8a08773492e671b3e17abd476d42aa78a32",
}
_STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
_METADATA: Schema = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", "maxLength": 253},
        "namespace": {"type": "string"},
        "labels": _STRINGS,
        "annotations": _STRINGS,
    },
    "additionalProperties": False,
}


def directory() -> Path | None:
    """Give the folder with the definitions, if there is one."""
    named = os.environ.get("STRIMZI_CRDS")
    if named is not None:
        return Path(named)
    return _cache() if _cache().is_dir() else None


def _cache() -> Path:
    return cache_directory() / "crds-strimzi-1.2.0-keda-2.20.2-prometheus-0.93.0"


def fetch(target: Path, source: str = _GITHUB, files: Mapping[str, str] = FILES) -> None:
    """Fill a folder with the definitions; it appears only when all are there and are what they should be."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        fetched = Path(scratch) / "fetched"
        fetched.mkdir()
        for path, digest in files.items():
            address = f"{source}/{path}"
            try:
                with urllib.request.urlopen(address, timeout=30) as answer:
                    content: bytes = answer.read()
            except (urllib.error.URLError, TimeoutError) as cause:
                message = f"{address} cannot be fetched ({cause}): name a folder with the files in STRIMZI_CRDS"
                raise SystemExit(message) from cause
            if (found := sha256(content).hexdigest()) != digest:
                message = f"{address} is not what it was: sha256 {found} instead of {digest}"
                raise SystemExit(message)
            (fetched / path.rpartition("/")[2]).write_bytes(content)
        fetched.rename(target)


class Definitions:
    """What is known of each kind; a file is parsed when the first document of its kind comes."""

    def __init__(self, folder: Path) -> None:
        found = (
            (path, re.search(r"^    kind: (\w+)$", path.read_text(), re.MULTILINE)) for path in folder.glob("*.yaml")
        )
        self._files = {kind[1]: path for path, kind in found if kind}
        self._schemas: dict[tuple[str, str], Schema] = {}
        self._validators: dict[tuple[str, str], Draft202012Validator] = {}

    def findings(self, document: Schema) -> list[str]:
        """Tell where a document is not as its definition wants it; fields that it does not name are findings."""
        key = document["apiVersion"], document["kind"]
        if key not in self._validators:
            self._parse(document["kind"])
        if key not in self._validators:
            return [f": nothing defines {key[1]} of {key[0]}"]
        found = [
            f"{_place(error.absolute_path)}: {error.message}" for error in self._validators[key].iter_errors(document)
        ]
        return found or [*_broken_rules(document, self._schemas[key], "")]

    def _parse(self, kind: str) -> None:
        if kind not in self._files:
            return
        definition = yaml.load(self._files[kind].read_text(), yaml.CSafeLoader)["spec"]
        for version in definition["versions"]:
            key = f"{definition['group']}/{version['name']}", kind
            self._schemas[key] = version["schema"]["openAPIV3Schema"]
            schema = strict(self._schemas[key])
            self._validators[key] = Draft202012Validator(
                schema | {"properties": schema["properties"] | {"metadata": _METADATA}}
            )


def strict(schema: Schema) -> Schema:
    """Turn a structural schema of Kubernetes into a JSON schema that rejects whatever it does not name."""
    kept = {key: value for key, value in schema.items() if key in _KEPT}
    if schema.get("x-kubernetes-int-or-string"):
        kept.pop("type", None)
        kept["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if "properties" in schema:
        kept["properties"] = {name: strict(part) for name, part in schema["properties"].items()}
    if isinstance(more := schema.get("additionalProperties"), dict):
        kept["additionalProperties"] = strict(more)
    elif kept.get("type") == "object" and not schema.get("x-kubernetes-preserve-unknown-fields"):
        kept["additionalProperties"] = False
    if "items" in schema:
        kept["items"] = strict(schema["items"])
    if schema.get("nullable") and "type" in kept:
        kept["type"] = [kept["type"], "null"]
    return kept


# Combinations of schemas only narrow what the properties beside them allow, so they stay as they are.
_KEPT = {
    "type", "required", "enum", "pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
    "minLength", "maxLength", "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties",
    "oneOf", "anyOf", "allOf", "not",
}  # fmt: skip


def _broken_rules(value: Any, schema: Schema, place: str) -> Iterator[str]:
    """Evaluate the rules in CEL that stand in a schema; one that cannot be evaluated rejects, as in Kubernetes."""
    for rule in schema.get("x-kubernetes-validations", []):
        if not _holds(rule["rule"], value):
            yield f"{place}: {rule.get('message', rule['rule'])}"
    if isinstance(value, dict):
        for name, part in value.items():
            more = schema.get("additionalProperties")
            inner = schema.get("properties", {}).get(name, more if isinstance(more, dict) else {})
            yield from _broken_rules(part, inner, f"{place}.{name}")
    if isinstance(value, list):
        for index, part in enumerate(value):
            yield from _broken_rules(part, schema.get("items", {}), f"{place}[{index}]")


def _holds(rule: str, value: Any) -> bool:
    from celpy import CELEvalError, Environment, json_to_cel  # takes a second

    try:
        environment = Environment()
        return bool(environment.program(environment.compile(rule)).evaluate({"self": json_to_cel(value)}))
    except CELEvalError:
        return False


def _place(path: Any) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)


if __name__ == "__main__":
    if _cache().is_dir():
        print(f"{_cache()} is there already")
        sys.exit()
    fetch(_cache())
    print(f"the definitions are in {_cache()}")
