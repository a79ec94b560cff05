"""What a side of the comparison offers, and what it must keep to for the comparison to be fair."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

RSS_SAMPLES = 40


@dataclass(frozen=True)
class Replay:
    """What one replay took and produced.

    Args:
        seconds: From the first event read to the last row committed.
        rss: Resident bytes of the process at even steps through the replay, about `RSS_SAMPLES` of them.
        rows: Rows in the read model afterwards.
        digest: `workload.digest` over those rows, read back from the database in the order of `task_id`.
    """

    seconds: float
    rss: tuple[int, ...]
    rows: int
    digest: str


class Side(Protocol):
    """A module with these functions. Each is called in a process of its own and opens and closes what it needs.

    Timings leave out imports, opening, closing and the checks. Every event that was acknowledged is on disk
    (`synchronous=FULL`), and every function raises if what it did is not what was asked for.
    """

    def version(self) -> str:
        """Name the package and its version."""
        ...

    def durability(self, path: Path) -> dict[str, str]:
        """Read the effective settings back from the connections that write: journal mode, synchronous and the like."""
        ...

    def append_concurrent(self, path: Path, commands: int, callers: int) -> float:
        """Create `commands` tasks, one event each, with `callers` commands in flight; return the seconds."""
        ...

    def prepare_stream(self, path: Path, events: int) -> None:
        """Write one task with `events` events: `task.created`, then `task.updated`."""
        ...

    def rehydrate(self, path: Path, events: int, repeats: int) -> float:
        """Load the prepared task from the file `repeats` times, uncached; return the median seconds per load."""
        ...

    def prepare_history(self, path: Path, events: int) -> None:
        """Write `workload.history(events)` as fast as this side can."""
        ...

    def replay(self, path: Path, events: int) -> Replay:
        """Project the prepared history from its first event into an empty table of one row per task."""
        ...


def rss_bytes() -> int:
    """Read how much memory this process holds right now, which unlike `ru_maxrss` can also fall."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
