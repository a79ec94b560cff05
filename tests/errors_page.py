"""The tables in the page of errors, as the code has them: `make errors` writes them anew."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from eventstore.cli.errors import known_errors
from eventstore.fastapi.problems import MEANINGS

CONFLICT = 409
PAGE = Path(__file__).parent.parent / "docs" / "errors.md"
_BEGIN, _END = "<!-- tables: what `make errors` writes -->\n", "<!-- end of tables -->\n"


def tables() -> str:
    parts: list[str] = []
    for source, lines in groupby(known_errors(), key=lambda known: known.source):
        parts += [f"\n## {source[0].upper()}{source[1:]}\n", "| error | what it means | what to do |", "|---|---|---|"]
        parts += [f"| {known.error.replace('_', chr(92) + '_')} | {known.means} | {known.remedy} |" for known in lines]
    parts += ["\n## Over HTTP\n", "| error | status | `type` | `Retry-After` |", "|---|---|---|---|"]
    for kind, meaning in MEANINGS.items():
        status = "409, or 412 with a condition" if meaning.status == CONFLICT else meaning.status
        after = "" if meaning.retry_after is None else f"{meaning.retry_after} s"
        parts.append(f"| {kind.__name__} | {status} | `urn:eventstore:{meaning.name}` | {after} |")
    return "\n".join(parts) + "\n\n"


def written() -> str:
    return PAGE.read_text().partition(_BEGIN)[2].partition(_END)[0]


if __name__ == "__main__":
    before, _, rest = PAGE.read_text().partition(_BEGIN)
    PAGE.write_text(before + _BEGIN + tables() + _END + rest.partition(_END)[2])
