"""What commands print: tables for people, JSON for programs, and never a control character from the data."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime
from typing import Any, Final, NoReturn, cast

from pydantic import BaseModel
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table

_NEVER_WRAPPED: Final = ("name", "version", "state", "position", "behind", "stream", "id", "check")
_ANY_WIDTH: Final = 10_000
_UNPRINTABLE: Final = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}


class _Console(Console):
    """A console whose reader may stop reading when it has seen enough."""

    def on_broken_pipe(self) -> None:
        """End quietly; nothing may be written on the way out either."""
        end_quietly()


class Output:
    """Prints results.

    Args:
        as_json: JSON instead of tables.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json: Final = as_json
        piped = not sys.stdout.isatty()
        # Programs such as grep want a row on a line.
        self.console: Final = _Console(highlight=False, soft_wrap=piped, width=_ANY_WIDTH if piped else None)
        self.errors: Final = Console(stderr=True, highlight=False)

    def note(self, *lines: str) -> None:
        """Say something to a person; programs do not see it."""
        if not self.as_json:
            for line in lines:
                self.console.print(escape(printable(line)))

    def document(self, value: object) -> None:
        """Print one JSON document."""
        self.text(json.dumps(plain(value), ensure_ascii=False))

    def text(self, text: str) -> None:
        """Print what is a file of its own, such as YAML or SQL, as it is."""
        try:
            print(text, flush=True)
        except BrokenPipeError:
            end_quietly()

    def rows(self, title: str, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
        """Print a table, or a line of JSON per row.

        Args:
            title: Shown when there are no rows, as "no <title>".
            columns: Keys of the rows, in order; JSON has all keys.
            rows: The rows.
        """
        if self.as_json:
            for row in rows:
                self.document(row)
        else:
            self.show(self.table(title, columns, rows))

    def show(self, what: RenderableType) -> None:
        """Print something for people; in a pipe without the spaces that fill up the lines of a table."""
        if self.console.is_terminal:
            self.console.print(what)
            return
        with self.console.capture() as captured:
            self.console.print(what)
        self.text("\n".join(line.rstrip() for line in captured.get().splitlines()))

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> Table | str:
        """Give the table that `rows` prints to a person."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column.replace("_", " "), overflow="fold", no_wrap=column in _NEVER_WRAPPED)
        for row in rows:
            table.add_row(*(escape(shown(row.get(column))) for column in columns))
        return table if table.row_count else f"no {title}"


def end_quietly() -> NoReturn:
    """End the process, whose reader has seen enough; nothing may be written on the way out either."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(0)


def shown(value: object) -> str:
    """Write a value for a table's cell."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, dict | list | tuple):
        return printable(json.dumps(plain(value), ensure_ascii=False))
    return printable(str(value))


def printable(text: str) -> str:
    """Replace control characters, which could rewrite a terminal, by visible ones."""
    return text.translate(_UNPRINTABLE)


def plain(value: Any) -> Any:
    """Turn models, dataclasses and times into what JSON knows."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        return {str(key): plain(item) for key, item in items}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in cast("Iterable[object]", value)]
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    return value.isoformat() if isinstance(value, datetime) else str(value)
