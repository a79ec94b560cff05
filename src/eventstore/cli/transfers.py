"""`export` and `import`: the log as lines of JSON with checksums."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from eventstore.cli.running import run, session_of
from eventstore.transfer import ImportResult, export_log, import_log


def export(
    context: typer.Context,
    file: Annotated[str, typer.Argument(help="The file to write; - for standard output.")] = "-",
    category: Annotated[list[str] | None, typer.Option(help="Only this category; can be repeated.")] = None,
) -> None:
    """Write all events as lines of JSON with checksums, as of now."""
    session = session_of(context)

    async def work() -> int:
        async with session.opened() as store:
            if file == "-":
                return await export_log(store.log, sys.stdout.buffer, category)
            return await export_log(store.log, file, category)

    count = run(work())
    session.output.errors.print(f"exported {count:,} events")


def import_(
    context: typer.Context,
    file: Annotated[str, typer.Argument(help="The file to read; - for standard input.")] = "-",
) -> None:
    """Append exported events; the whole file is checked first, and what is there already is left alone.

    On Kafka no other process may own partitions of the log meanwhile.
    """
    session = session_of(context)

    async def work() -> ImportResult:
        async with session.opened(create=True, serve=True) as store:
            return await import_log(store.log, sys.stdin.buffer if file == "-" else file)

    result = run(work())
    if session.output.as_json:
        session.output.document(result._asdict())
    else:
        session.output.note(f"imported {result.written:,} events; {result.present:,} were there already")
