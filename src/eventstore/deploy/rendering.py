"""Manifests as files: the same bytes for the same application, whoever renders them, and what differs from those there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import unified_diff
from pathlib import Path
from typing import Final, Literal, NamedTuple

import yaml

from eventstore.core.errors import ConfigurationError
from eventstore.deploy.blueprint import Blueprint, Document
from eventstore.deploy.cluster import topics, users
from eventstore.deploy.network import policies
from eventstore.deploy.watching import dashboards, monitoring, scaling
from eventstore.deploy.workloads import workloads

_MADE_BY: Final = "# Made by `eventstore --app"
_KUSTOMIZATION: Final = "kustomization.yaml"
_FILES: Final[Mapping[str, Callable[[Blueprint], list[Document]]]] = {
    "topics.yaml": topics,
    "users.yaml": users,
    "workloads.yaml": workloads,
    "network.yaml": policies,
    "scaling.yaml": scaling,
    "monitoring.yaml": monitoring,
    "dashboard.yaml": dashboards,
}


class Difference(NamedTuple):
    """A file that is not as it would be rendered.

    Attributes:
        file: Its path.
        state: What about it.
        lines: A unified diff from the file to what would be rendered.
    """

    file: Path
    state: Literal["changed", "missing", "left over"]
    lines: Sequence[str]


def render(blueprint: Blueprint) -> dict[str, str]:
    """Give the files of an environment by name: a folder that kustomize takes as it is.

    Args:
        blueprint: The application in its environment.

    Raises:
        ConfigurationError: The environment contradicts the application.
    """
    head = (
        f"{_MADE_BY} {blueprint.app} deploy render --env {blueprint.stage}`:\n"
        "# change the application or its environments instead.\n"
    )
    documents = {name: make(blueprint) for name, make in _FILES.items()}
    files = {name: head + _written(content) for name, content in documents.items() if content}
    kustomization: Document = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": blueprint.environment.namespace,
        "resources": [*files],
    }
    return {_KUSTOMIZATION: head + _written([kustomization]), **files}


def write(files: Mapping[str, str], folder: Path) -> None:
    """Write what was rendered, and remove what was rendered before and is no longer.

    Args:
        files: By name.
        folder: Where; made if it is missing. Files that were not rendered stay as they are.

    Raises:
        ConfigurationError: It cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in _left_over(files, folder):
            path.unlink()
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as cause:
        message = f"{folder} cannot be written ({cause.strerror}): check the directory and its rights, or give --output"
        raise ConfigurationError(message) from cause


def differences(files: Mapping[str, str], folder: Path) -> list[Difference]:
    """Compare what would be rendered with the files that are there.

    Args:
        files: By name.
        folder: Where the files are.

    Raises:
        ConfigurationError: One cannot be read.
    """
    found: list[Difference] = []
    for name, text in files.items():
        path = folder / name
        there = _read(path)
        if there != text:
            found.append(Difference(path, "missing" if there is None else "changed", _diff(path, there or "", text)))
    left_over = [(path, _read(path) or "") for path in _left_over(files, folder)]
    return found + [Difference(path, "left over", _diff(path, text, "")) for path, text in left_over]


def _diff(path: Path, there: str, rendered: str) -> list[str]:
    lines = unified_diff(there.splitlines(), rendered.splitlines(), str(path), f"{path} (rendered)", lineterm="")
    return [*lines]


def _left_over(files: Mapping[str, str], folder: Path) -> list[Path]:
    there = sorted(folder.glob("*.yaml"))
    return [path for path in there if path.name not in files and (_read(path) or "").startswith(_MADE_BY)]


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as cause:
        message = f"{path} cannot be read ({cause}): check it and its rights"
        raise ConfigurationError(message) from cause


class _Dumper(yaml.SafeDumper):
    """Writes several lines as several lines, and nothing as a reference to something above."""

    def ignore_aliases(self, data: object) -> bool:
        del data
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    del dumper
    return yaml.ScalarNode("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def _written(documents: Sequence[Document]) -> str:
    return yaml.dump_all(  # pyright: ignore[reportUnknownMemberType]
        documents, Dumper=_Dumper, explicit_start=True, sort_keys=False, width=1_000, allow_unicode=True
    )
