"""`streams`, `show`, `tail` and `erase`: what is in the log."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import typer

from eventstore.cli.output import Output, plain, shown
from eventstore.cli.running import moment, run, session_of
from eventstore.core.aggregates import Aggregate
from eventstore.core.errors import ConfigurationError
from eventstore.core.records import StoredEvent, from_micros, to_micros
from eventstore.core.registry import TypeRegistry
from eventstore.core.streams import parse_stream
from eventstore.ports import StreamQuery
from eventstore.store import EventStore
from eventstore.write.rehydration import fold

_PAGE = 500


def streams(
    context: typer.Context,
    prefix: Annotated[str, typer.Argument(help="Only streams whose name starts so, for example task-")] = "",
    after: Annotated[str, typer.Option(help="Start behind this stream.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
) -> None:
    """List streams by name, with version and time of the newest event."""
    session = session_of(context)

    async def work() -> None:
        async with session.opened() as store:
            found = await store.log.list_streams(prefix, after, limit)
        rows = [{"stream": s.stream, "version": s.version, "newest": from_micros(s.occurred_at)} for s in found]
        session.output.rows("streams", ("stream", "version", "newest"), rows)
        if len(found) == limit:
            session.output.note(f"... more with --after {found[-1].stream}")

    run(work())


def show(
    context: typer.Context,
    stream: Annotated[str, typer.Argument(help="The stream, for example task-1")],
    at: Annotated[str | None, typer.Option(help="Only up to this version or time.")] = None,
) -> None:
    """Show a stream's events, and what each changed in the aggregate's state."""
    session, until = session_of(context), moment(at)

    async def work() -> None:
        async with session.opened() as store:
            rows = await _history(store, stream, until)
        for row in rows:
            _print_change(session.output, row)

    run(work())


def _print_change(output: Output, row: Mapping[str, object]) -> None:
    if output.as_json:
        output.document(row)
        return
    output.note(f"v{row['version']}  {shown(row['occurred_at'])}  {row['event_type']}")
    output.note(f"    event  {_data(row)}")
    if row["changed"] is not None:
        output.note(f"    state  {shown(row['changed'])}")


async def _history(store: EventStore, name: str, until: int | datetime | None) -> list[Mapping[str, object]]:
    stream = parse_stream(name)
    limit = until if isinstance(until, int) else None
    (events,) = await store.log.read_streams([StreamQuery(name, 0, limit)])
    if isinstance(until, datetime):
        events = [event for event in events if event.occurred_at <= to_micros(until)]
    if not events:
        message = f"there is no stream {name}, or it has no event yet at that point: see eventstore streams"
        raise ConfigurationError(message)
    aggregate = store.application.aggregates.get(stream.category)
    state = aggregate.initial(stream.id) if aggregate else None
    rows: list[Mapping[str, object]] = []
    for event in events:
        changed = _apply(store, state, event) if state is not None else None
        rows.append({**event_row(store.application.registry, event), "changed": changed})
    return rows


def _apply(store: EventStore, state: Aggregate, event: StoredEvent) -> dict[str, Any]:
    before = plain(state)
    fold(state, [event.to_fold], store.application.registry)
    return {name: value for name, value in plain(state).items() if before[name] != value}


def event_row(registry: TypeRegistry, event: StoredEvent) -> dict[str, object]:
    """Give what is shown of an event."""
    envelope = None if event.erased else registry.read_envelope(event)
    return {
        "offset": event.offset,
        "stream": event.stream,
        "version": event.version,
        "occurred_at": from_micros(event.occurred_at),
        "event_type": event.event_type,
        "schema_version": event.schema_version,
        "erased": event.erased,
        "data": envelope and envelope.data,
        "event_id": UUID(bytes=event.event_id),
        "correlation_id": envelope and envelope.metadata.correlation_id,
        "causation_id": envelope and envelope.metadata.causation_id,
    }


def _data(row: Mapping[str, object]) -> str:
    return "(erased)" if row["erased"] else shown(row["data"])


def erase(
    context: typer.Context,
    stream: Annotated[str, typer.Argument(help="The stream, for example task-1")],
    version: Annotated[int, typer.Argument(help="Which of its events: see eventstore show.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Erase the data of one event from the log for good."""
    session = session_of(context)
    if not yes:
        typer.confirm(f"Erase the data of {stream} version {version}? It cannot be undone", abort=True, err=True)

    async def work() -> None:
        found = parse_stream(stream)
        async with session.opened() as store:
            aggregate = store.application.aggregates.get(found.category)
            if aggregate is None:
                message = (
                    f"this application has no aggregate of category {found.category!r}: use the one that writes it"
                )
                raise ConfigurationError(message)
            if not await store.erase(aggregate, found.id, version):
                message = f"there is no event {stream} version {version}: see eventstore show {stream}"
                raise ConfigurationError(message)
        session.output.note(f"erased: {stream} version {version}; rebuild the read models that show its data")
        if session.output.as_json:
            session.output.document({"stream": stream, "version": version, "erased": True})

    run(work())


def tail(
    context: typer.Context,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new events until interrupted.")] = False,
    category: Annotated[list[str] | None, typer.Option(help="Only this category; can be repeated.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="How many of the newest events.")] = 10,
) -> None:
    """Show the newest events of the whole log, and new ones as they come."""
    session = session_of(context)

    async def work() -> None:
        async with session.opened() as store, asyncio.TaskGroup() as tasks:
            for partition, end in (await store.log.ends()).items():
                for event in await _newest(store, partition, end, category, limit):
                    print_event(session.output, store, event)
                if follow:
                    tasks.create_task(_follow(store, session.output, partition, end, category))

    run(work())


async def _newest(
    store: EventStore, partition: str, end: int, categories: list[str] | None, limit: int
) -> list[StoredEvent]:
    """Give the newest events in order; looks further back until there are enough."""
    span = max(limit, 1)
    while True:
        start = max(end - span, 0)
        page = await store.log.read(partition, start, span, categories)
        events = [event for event in page.events if event.offset < end]
        if len(events) >= limit or start == 0:
            return events[-limit:] if limit else []
        span *= 4


async def _follow(store: EventStore, output: Output, partition: str, offset: int, categories: list[str] | None) -> None:
    while True:
        await store.log.wait_beyond(partition, offset)
        page = await store.log.read(partition, offset, _PAGE, categories)
        for event in page.events:
            print_event(output, store, event)
        offset = page.next_offset


def print_event(output: Output, store: EventStore, event: StoredEvent, most: int | None = None) -> None:
    """Print an event on a line.

    Args:
        output: Where to.
        store: Where it is from.
        event: Which one.
        most: Characters of its data that a person gets to see; None for all.
    """
    row = event_row(store.application.registry, event)
    if output.as_json:
        output.document(row)
        return
    data = _data(row)
    if most is not None and len(data) > most:
        data = f"{data[:most]} ..."
    output.note(
        f"{row['offset']:>8}  {row['occurred_at']:%Y-%m-%d %H:%M:%S}  {event.stream} v{event.version}  "
        f"{event.event_type}  {data}"
    )
