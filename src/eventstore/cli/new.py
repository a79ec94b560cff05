"""`new`: a project to begin with, whose tests pass."""

from __future__ import annotations

import keyword
import sys
from collections.abc import Iterator
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template
from typing import Annotated, Final

import typer

from eventstore.cli.running import session_of
from eventstore.core.errors import ConfigurationError

_SUFFIX: Final = ".txt"
_RENAMED: Final = {"package": "{package}", "gitignore": ".gitignore"}


def new(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(help="Where; its name becomes the package's.")],
) -> None:
    """Make a small project to begin with: a domain, a read model, an application, and tests that pass."""
    output = session_of(context).output
    package = _package_name(directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        message = f"{directory} exists and is not empty: nothing was written; choose another directory"
        raise ConfigurationError(message)
    values = {"package": package, "version": version("eventstore")}
    written: list[str] = []
    for path, template in _templates(files("eventstore.cli") / "template"):
        name = str(path).removesuffix(_SUFFIX)
        target = directory / "/".join(_RENAMED.get(part, part) for part in name.split("/")).format(package=package)
        _write(target, Template(template).substitute(values))
        written.append(str(target.relative_to(directory)))
    if output.as_json:
        output.document({"directory": str(directory), "package": package, "files": sorted(written)})
    output.note(f"{directory} has a project with a domain of tickets; its README says what to replace. Try it:")
    output.note(f"  cd {directory}", "  python -m pytest", f"  python -m {package}")


def _package_name(directory: Path) -> str:
    name = directory.resolve().name.lower().replace("-", "_").replace(" ", "_")
    if not name.isascii() or not name.isidentifier() or keyword.iskeyword(name):
        message = f"{directory}: {name!r} cannot be a Python package: use letters, digits and underscores"
        raise ConfigurationError(message)
    if name in sys.stdlib_module_names or name in ("eventstore", "tests"):
        message = f"{directory}: a package named {name!r} would hide the one that exists already; choose another name"
        raise ConfigurationError(message)
    return name


def _templates(folder: Traversable, place: str = "") -> Iterator[tuple[str, str]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _templates(entry, f"{place}{entry.name}/")
        elif entry.name.endswith(_SUFFIX):
            yield f"{place}{entry.name}", entry.read_text(encoding="utf-8")


def _write(target: Path, text: str) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    except OSError as cause:
        message = f"{target} cannot be written ({cause}): check the directory and its rights"
        raise ConfigurationError(message) from cause
