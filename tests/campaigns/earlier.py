"""An earlier version of the package in an environment of its own, over the dependencies of this one."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]


def installed(commit: str, place: Path) -> str:
    """Build the package as it was at a commit, and install it.

    Args:
        commit: Of this repository.
        place: An empty directory.

    Returns:
        The interpreter that has it.
    """
    source = place / "source"
    source.mkdir()
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", f"{source}"], input=archive, check=True)
    venv.create(place / "venv", with_pip=True)
    python = f"{place / 'venv' / 'bin' / 'python'}"
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", f"{place}", f"{source}"], check=True)
    subprocess.run([*pip, "install", "--no-deps", *map(str, place.glob("*.whl"))], check=True)
    # What follows a site's own packages in the search path; the package itself is found before.
    for own in (place / "venv" / "lib").glob("python*/site-packages"):
        (own / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    assert sys.prefix not in python
    return python
