"""What runs on this machine, for tests of servers that must not stay behind."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def runs(pid: int) -> bool:
    """Tell whether the process exists and is more than an exit code nobody has fetched."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def processes_of(directory: Path) -> list[str]:
    """List the command lines of processes that run in the directory or name it, the guard included."""
    found: list[str] = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if str(directory) in command or str(directory) in str((entry / "cwd").readlink()):
                found.append(command)
    return found


def eventually(holds: Callable[[], bool], seconds: float = 15.0) -> bool:
    """Wait until something holds that other processes bring about."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
