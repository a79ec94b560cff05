"""`errors`: what the errors of servers and drivers mean, from the very tables that translate them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from http import HTTPStatus
from typing import Annotated, Final, NamedTuple

import typer

from eventstore.cli.running import session_of
from eventstore.core.errors import EventStoreError
from eventstore.sql.errors import REACTIONS as STORE_REACTIONS
from eventstore.sqlite.errors import REACTIONS as LOG_REACTIONS

_PRIMARY_CODES: Final = 0xFF


class KnownError(NamedTuple):
    """One line of a table of errors.

    Attributes:
        source: Who reports it.
        error: The name or code that it reports.
        means: What became of the request; for databases, what is raised.
        remedy: What to do.
    """

    source: str
    error: str
    means: str
    remedy: str


def errors(
    context: typer.Context,
    text: Annotated[str, typer.Argument(help="Show only what contains this, for example REBALANCE.")] = "",
) -> None:
    """Explain the errors of Kafka, registries, SQLite and PostgreSQL: what they mean, and what to do about them."""
    output = session_of(context).output
    found = [known._asdict() for known in known_errors() if text.lower() in " ".join(known).lower()]
    output.rows("such error", list(KnownError._fields), found)


def known_errors() -> Iterator[KnownError]:
    """Give every line of the tables that translate errors, by source."""
    yield from _kafka_errors()
    yield from _registry_errors()
    names = {getattr(sqlite3, name): name for name in dir(sqlite3) if name.startswith("SQLITE_")}
    for code, (kind, remedy) in LOG_REACTIONS.items():
        yield KnownError("embedded log", names[code & _PRIMARY_CODES], _raised(kind), remedy)
    for state, (kind, remedy) in STORE_REACTIONS.items():
        source, error = ("SQLite", state) if state.startswith("SQLITE_") else ("PostgreSQL", f"SQLSTATE {state}")
        yield KnownError(source, error, _raised(kind), remedy)


def _kafka_errors() -> Iterator[KnownError]:
    try:
        from eventstore.kafka.answers import ANSWERS  # noqa: PLC0415 - optional
    except ImportError:  # the extra is not installed, so none of them can happen
        return
    for answer in ANSWERS.values():
        yield KnownError("Kafka", answer.name, answer.reaction.value, answer.remedy)


def _registry_errors() -> Iterator[KnownError]:
    try:
        from eventstore.schema.errors import REACTIONS  # noqa: PLC0415 - optional
    except ImportError:
        return
    for status, (kind, remedy) in REACTIONS.items():
        error = f"HTTP {status} {HTTPStatus(status).phrase}" if status else "no answer from the registry"
        yield KnownError("Schema registry", error, _raised(kind), remedy)


def _raised(kind: type[EventStoreError]) -> str:
    return f"{kind.__name__}, {'may pass by itself' if kind.retriable else 'stays until it is mended'}"
