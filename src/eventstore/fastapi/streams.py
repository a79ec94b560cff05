"""Server-sent events: a stream, a category, and the changes of a read model, each to be resumed where it was left."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Annotated, Any, Final, NamedTuple

from fastapi import APIRouter, Depends, Header
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic_core import to_json

from eventstore.core.aggregates import Aggregate
from eventstore.core.projections import Projection
from eventstore.core.records import Partition, StoredEvent, Token
from eventstore.core.rows import Key, Row
from eventstore.core.streams import stream_id
from eventstore.fastapi.feed import Mailbox, from_log
from eventstore.fastapi.problems import RefusedError, misunderstood, responses
from eventstore.fastapi.row_changes import RowChanges
from eventstore.fastapi.serving import AggregateId, Edge, OpenEdge
from eventstore.ports import StreamQuery

_INVALID: Final = misunderstood("invalid-event-id")
_PAGE: Final = 500
CHANGED: Final = "changed"
BEGIN: Final = "begin"
"""The first message of every stream: its id is where it begins, so that a client that lost it at once can resume."""

LastEventId = Annotated[
    str | None,
    Header(alias="Last-Event-ID", max_length=4_096, description="The id of the last event that was received."),
]


def event_router(aggregate: type[Aggregate], *, prefix: str | None = None) -> APIRouter:
    """Make endpoints that send an aggregate's events as they are stored: complete, in order, and resumable.

    - `GET {prefix}/{id}` sends the events of one stream from its beginning, then live.
    - `GET {prefix}` sends the events of all streams from now on.

    With `Last-Event-ID`, which browsers send by themselves, both go on behind that event.

    Args:
        aggregate: The aggregate's class.
        prefix: The path; by default `/events/task` for the category `task`.
    """
    router = APIRouter(prefix=prefix or f"/events/{aggregate.category}", tags=[aggregate.category])
    _add_stream(router, aggregate)
    _add_category(router, aggregate)
    return router


def _add_stream(router: APIRouter, aggregate: type[Aggregate]) -> None:
    async def beginning(
        edge: OpenEdge,
        aggregate_id: AggregateId,
        last_event_id: LastEventId = None,
    ) -> _StreamBeginning:
        name = str(stream_id(aggregate.category, aggregate_id))
        version = last_event_id or "0"
        if not (version.isascii() and version.isdigit() and len(version) < 19):  # noqa: PLR2004 - 64 bits
            detail = "Last-Event-ID of a stream is the version of its last event"
            raise RefusedError(_INVALID, detail)
        await edge.feed.start()
        return _StreamBeginning(edge, name, int(version))

    async def events(begin: Any) -> AsyncIterator[ServerSentEvent]:
        async with aclosing(_stream(begin)) as messages:
            async for message in messages:
                yield message

    events.__annotations__.update(begin=Annotated[Any, Depends(beginning)])
    beginning.__annotations__.update(
        edge=OpenEdge,
        aggregate_id=AggregateId,
        last_event_id=LastEventId,
    )
    _add(router, "/{aggregate_id}", events, f"stream_{aggregate.category}", f"Events of one {aggregate.category}")


def _add_category(router: APIRouter, aggregate: type[Aggregate]) -> None:
    async def beginning(edge: OpenEdge, last_event_id: LastEventId = None) -> _LogBeginning:
        return await log_beginning(edge, last_event_id)

    async def events(begin: Any) -> AsyncIterator[ServerSentEvent]:
        async with aclosing(_category(begin, aggregate.category)) as messages:
            async for message in messages:
                yield message

    events.__annotations__.update(begin=Annotated[Any, Depends(beginning)])
    beginning.__annotations__.update(edge=OpenEdge, last_event_id=LastEventId)
    _add(router, "", events, f"stream_all_{aggregate.category}", f"Events of every {aggregate.category}")


def _add(router: APIRouter, path: str, events: Any, name: str, summary: str) -> None:
    router.add_api_route(
        path,
        events,
        operation_id=name,
        summary=summary,
        response_class=EventSourceResponse,
        responses=responses(400, 422, 503),
    )


def change_router(projection: type[Projection[Any]], *, prefix: str | None = None) -> APIRouter:
    """Make an endpoint that sends the rows of a read model that change, as they stand: a client ends with what is there.

    `GET {prefix}` begins at the present. Read the rows then, with the id of the first message as `Eventstore-Position`,
    and replace each that is sent. With `Last-Event-ID`, which browsers send by themselves, nothing is left out.

    Args:
        projection: The read model.
        prefix: The path; by default `/changes/task-board` for the name `task_board`.
    """
    name = projection.definition.name
    router = APIRouter(prefix=prefix or f"/changes/{name.replace('_', '-')}", tags=[name])

    async def beginning(edge: OpenEdge, last_event_id: LastEventId = None) -> _ChangesBeginning:
        changes = edge.changes_of(projection)
        await changes.start()
        begin = await log_beginning(edge, last_event_id)
        return _ChangesBeginning(changes, changes.token if last_event_id is None else begin.token, projection)

    async def changes(begin: Any) -> AsyncIterator[ServerSentEvent]:
        async with aclosing(_changes(begin)) as messages:
            async for message in messages:
                yield message

    changes.__annotations__.update(begin=Annotated[Any, Depends(beginning)])
    beginning.__annotations__.update(edge=OpenEdge, last_event_id=LastEventId)
    _add(router, "", changes, f"stream_changes_of_{name}", f"Changes of {name}")
    return router


class _ChangesBeginning(NamedTuple):
    changes: RowChanges
    token: Token
    projection: type[Projection[Any]]


async def _changes(begin: _ChangesBeginning) -> AsyncGenerator[ServerSentEvent]:
    positions, names = dict(begin.token.positions), begin.projection.definition.key
    yield _opening(str(begin.token))
    async with aclosing(begin.changes.since(begin.token)) as told:
        async for changed in told:
            if changed.next_offset <= positions[changed.partition] or not changed.rows:
                continue
            positions[changed.partition] = changed.next_offset
            *others, last = changed.rows.items()
            for key, row in others:  # whoever is cut off among them gets all of them again
                yield ServerSentEvent(event=CHANGED, raw_data=_row_message(names, key, row))
            yield ServerSentEvent(event=CHANGED, id=str(Token(positions)), raw_data=_row_message(names, *last))


def _row_message(names: tuple[str, ...], key: Key, row: Row | None) -> str:
    shown = to_json(dict(zip(names, key, strict=True))).decode()
    return f'{{"key":{shown},"row":{row.model_dump_json() if row is not None else "null"}}}'


class _StreamBeginning(NamedTuple):
    edge: Edge
    stream: str
    version: int


class _LogBeginning(NamedTuple):
    edge: Edge
    token: Token


async def log_beginning(edge: Edge, last_event_id: str | None) -> _LogBeginning:
    """Find where a client goes on in the log: behind its last event, or at the present.

    Raises:
        InvalidIdError: The event id is of another log, or none.
        LogUnavailableError: The log cannot be read now.
        StoreClosedError: The service ends.
    """
    await edge.feed.start()
    if last_event_id is None:
        return _LogBeginning(edge, edge.feed.token)
    token = await edge.positions.read(last_event_id)
    # A partition that it does not name was empty then.
    return _LogBeginning(edge, Token({name: token.positions.get(name, 0) for name in edge.store.log.partitions}))


class _OneStream:
    """Listens to one stream."""

    def __init__(self, stream: str) -> None:
        self._stream: Final = stream
        self.mailbox: Final[Mailbox[StoredEvent]] = Mailbox()

    def heard(self, partition: Partition, events: Sequence[StoredEvent], next_offset: int) -> None:
        del partition, next_offset
        for event in events:
            if event.stream == self._stream:
                self.mailbox.put(event)

    def close(self) -> None:
        self.mailbox.close()


async def _stream(begin: _StreamBeginning) -> AsyncGenerator[ServerSentEvent]:
    edge, version = begin.edge, begin.version
    yield _opening(str(version))
    listener = _OneStream(begin.stream)
    # Listening first: what is stored while the past is read waits in the mailbox, and is not sent twice.
    with edge.feed.listening(listener):
        while True:
            (page,) = await edge.store.log.read_streams([StreamQuery(begin.stream, version, _PAGE)])
            for event in page:
                version = event.version
                if not event.erased:
                    yield edge.descriptions.message(event, str(version))
            if len(page) < _PAGE:
                break
        async for event in listener.mailbox.messages():
            if event.version > version:
                version = event.version
                yield edge.descriptions.message(event, str(version))


async def _category(begin: _LogBeginning, category: str) -> AsyncGenerator[ServerSentEvent]:
    edge, positions = begin.edge, dict(begin.token.positions)
    yield _opening(str(begin.token))
    async with aclosing(from_log(edge.feed, begin.token, [category])) as pages:
        async for heard in pages:
            for event in heard.events:
                if event.offset >= positions[heard.partition]:
                    positions[heard.partition] = event.offset + 1
                    yield edge.descriptions.message(event, str(Token(positions)))


def _opening(event_id: str) -> ServerSentEvent:
    return ServerSentEvent(event=BEGIN, id=event_id, raw_data="{}")
