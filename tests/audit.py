"""Looks for published vulnerabilities in everything that is locked: `make audit`.

Where the database of advisories cannot be reached nothing can be said, and that is what it says; it does not fail
then, since nobody's commit is the reason. A finding fails.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCK = Path(__file__).parent.parent / "requirements/dev.lock"  # the other one is part of it
UNREACHABLE = "the database of advisories cannot be reached: NOTHING WAS AUDITED"


def verdict(report: dict[str, Any] | None) -> tuple[int, list[str]]:
    """Give the exit code and what to print for a report of pip-audit, or for none."""
    if report is None:
        return 0, [UNREACHABLE]
    dependencies: list[dict[str, Any]] = report["dependencies"]
    # A registry without advisories answers "no such package" for each, and pip-audit calls that a success.
    skipped = [found for found in dependencies if "skip_reason" in found]
    if len(skipped) == len(dependencies):
        return 0, [UNREACHABLE]
    lines = [f"not audited: {found['name']}: {found['skip_reason']}" for found in skipped]
    findings = [
        f"{found['name']} {found['version']}: {flaw['id']}, mended in {', '.join(flaw['fix_versions']) or 'no version yet'}"
        for found in dependencies
        for flaw in found.get("vulns", ())
    ]
    audited = len(dependencies) - len(skipped)
    return (1 if findings else 0), [*lines, *findings, f"{audited} packages audited, {len(findings)} findings"]


def ask() -> dict[str, Any] | None:
    """Run pip-audit on the lock file; None if it could not ask."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(LOCK), "--disable-pip", "--require-hashes"]
    done = subprocess.run(
        [*command, "--format=json", "--progress-spinner=off"], capture_output=True, text=True, check=False
    )
    try:
        report: dict[str, Any] = json.loads(done.stdout)
    except json.JSONDecodeError:
        if "ConnectionError" in done.stderr or "Could not connect" in done.stderr or "ServiceError" in done.stderr:
            return None
        raise RuntimeError(done.stderr) from None
    return report


def main() -> int:
    """Audit and print."""
    code, lines = verdict(ask())
    print(*lines, sep="\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
