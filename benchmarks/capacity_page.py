"""The table of measurements in `docs/operations/capacity.md`: `python -m benchmarks.capacity_page` writes it anew."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

RESULTS: Final = Path(__file__).with_name("capacity.json")
PAGE: Final = Path(__file__).parent.parent / "docs/operations/capacity.md"
_TABLE: Final = re.compile(r"(?<=<!-- measured -->\n).*?(?=<!-- end -->)", re.DOTALL)
Measured = dict[str, Any]


def _each(name: str) -> Callable[[Measured], str]:
    return lambda found: f"{found[name] / found['events']:,.0f} bytes"


def _size(name: str) -> Callable[[Measured], str]:
    return lambda found: f"{found[name] / 1e6:,.0f} MB"


def _rate(name: str) -> Callable[[Measured], str]:
    return lambda found: f"{found[name]:,} events/s"


def _time(name: str) -> Callable[[Measured], str]:
    return lambda found: f"{found[name]:,.1f} s"


def _processor(name: str) -> Callable[[Measured], str]:
    return lambda found: f"{found[f'{name}_seconds']:,.1f} / {found[f'{name}_processor_seconds']:,.1f} s"


_ROWS: Final[tuple[tuple[str, Callable[[Measured], str]], ...]] = (
    ("appended, one process, 1,000 commands a batch", _rate("appended_per_second")),
    ("the events topic", _size("topic_bytes")),
    ("of that each event", _each("topic_bytes")),
    ("an index", _size("index_bytes")),
    ("of that each event", _each("index_bytes")),
    ("of that each stream", lambda found: f"{found['index_bytes'] / found['streams']:,.0f} bytes"),
    ("of that the trees that commands look into", _size("tree_bytes")),
    ("restoring an index, passed / processor time", _processor("restore")),
    ("memory of a process that owns all partitions", _size("owner_resident_bytes")),
    ("memory at most, while restoring", _size("restore_peak_bytes")),
    ("takeover after kill -9, another process stands by", _time("takeover_standby_seconds")),
    ("... the process is started again on its index", _time("takeover_restarted_seconds")),
    ("... nobody has an index, passed / processor time", _processor("takeover_without_index")),
    ("building a row per task in SQLite, passed / processor time", _processor("build")),
    ("building and comparing the next version, passed / processor time", _processor("rebuild")),
    ("export", _rate("exported_per_second")),
    ("import", _rate("imported_per_second")),
    ("the export", _size("export_bytes")),
    ("the topic after compaction of everything", _size("compacted_bytes")),
    ("the cleaner's rate", lambda found: f"{found['cleaner_bytes_per_second'] / 1e6:,.0f} MB/s"),
)


def table() -> str:
    """Give the table in Markdown; what was not measured at a size is a dash."""
    measured: dict[str, Measured] = json.loads(RESULTS.read_text())
    sizes = list(measured.values())
    lines = [
        "| | " + " | ".join(f"{found['events']:,} events" for found in sizes) + " |",
        "|---" * (len(sizes) + 1) + "|",
    ]
    for label, shown in _ROWS:
        lines.append(f"| {label} | " + " | ".join(_shown(shown, found) for found in sizes) + " |")
    return "\n".join(lines)


def _shown(shown: Callable[[Measured], str], found: Measured) -> str:
    try:
        return shown(found)
    except KeyError:
        return "-"


def main() -> int:
    """Write the table into the page."""
    PAGE.write_text(_TABLE.sub(lambda _: f"\n{table()}\n\n", PAGE.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
