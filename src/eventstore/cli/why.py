"""`why`: the events that made a row."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Final

import typer
from pydantic import TypeAdapter, ValidationError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from eventstore.cli.logs import print_event
from eventstore.cli.output import Output, shown
from eventstore.cli.running import run, session_of
from eventstore.core.definitions import SubscriptionDefinition
from eventstore.core.errors import ConfigurationError
from eventstore.core.projections import Projection
from eventstore.core.rows import Key
from eventstore.read.why import OnRead
from eventstore.store import EventStore

_SHORT: Final = 60


def why(
    context: typer.Context,
    table: Annotated[str, typer.Argument(help="The read model, for example task_board.")],
    key: Annotated[list[str], typer.Argument(help="The row's key: a value for each of its columns.")],
) -> None:
    """Show the events that made a row of a read model, oldest first, and the row."""
    session = session_of(context)

    async def work() -> None:
        async with session.opened() as store:
            projection = _projection(store, table)
            wanted = _key(projection.definition, key)
            with _progress(session.output, table) as on_read:
                events = await store.why(projection, *wanted, on_read=on_read)
            row = await store.read_model(projection).get(*wanted)
        if not events:
            message = (
                f"no event that {projection.definition.label} has processed concerns {table} {' '.join(key)}: check "
                f"the key, and eventstore lag {table}"
            )
            raise ConfigurationError(message)
        for _, at in events:
            print_event(session.output, store, at.stored, _SHORT)
        session.output.note("", "the row was deleted" if row is None else f"the row: {shown(row.model_dump())}")

    run(work())


def _projection(store: EventStore, name: str) -> type[Projection[Any]]:
    for projection in store.application.projections:
        if projection.definition.name == name and issubclass(projection, Projection):
            return projection  # pyright: ignore[reportUnknownVariableType]
    known = ", ".join(sorted(p.definition.name for p in store.application.projections if issubclass(p, Projection)))
    message = f"{name} is no row projection of this application (known: {known or 'none'}): only those know their keys"
    raise ConfigurationError(message)


def _key(definition: SubscriptionDefinition, texts: Sequence[str]) -> Key:
    """Read the key's values as their columns' types."""
    assert definition.row is not None  # noqa: S101 - a row projection
    if len(texts) != len(definition.key):
        message = f"{definition.name} is keyed by {', '.join(definition.key)}: give {len(definition.key)} values"
        raise ConfigurationError(message)
    values: list[Any] = []
    for field, text in zip(definition.key, texts, strict=True):
        annotation: Any = definition.row.model_fields[field].annotation
        adapter: TypeAdapter[Any] = TypeAdapter(annotation)
        try:
            values.append(adapter.validate_strings(text))
        except ValidationError as cause:
            message = f"{text!r} is no {field} of {definition.name}: {cause.errors()[0]['msg']}"
            raise ConfigurationError(message) from cause
    return tuple(values)


@contextmanager
def _progress(output: Output, table: str) -> Generator[OnRead]:
    """Show how far the log is read, in a terminal."""
    hidden = output.as_json or not output.errors.is_terminal
    columns = (TextColumn(f"{table}: reading the log"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=output.errors, disable=hidden, transient=True) as bar:
        task = bar.add_task(table, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
