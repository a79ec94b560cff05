"""The store of an application: opened before the first request, drained after the last."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Annotated, Any, Final, TypeAlias, cast

from fastapi import Depends, FastAPI, Path, Request

from eventstore.application import ReadModelClass
from eventstore.core.errors import ConfigurationError
from eventstore.core.projections import Projection
from eventstore.core.streams import MAX_ID_BYTES
from eventstore.fastapi.describing import Descriptions
from eventstore.fastapi.feed import Feed
from eventstore.fastapi.positions import Positions
from eventstore.fastapi.row_changes import RowChanges
from eventstore.fastapi.shutdown import told_of_shutdown
from eventstore.store import EventStore

_STATE: Final = "eventstore"

AggregateId: TypeAlias = Annotated[
    str,
    Path(
        description="The aggregate's id.",
        min_length=1,
        max_length=MAX_ID_BYTES,
        # Only described: what is refused is refused by the store, in its words.
        json_schema_extra={"pattern": "^[A-Za-z0-9._~:@+-]+$"},
    ),
]
"""An aggregate's id in a path."""

Lifespan: TypeAlias = Callable[[FastAPI], AbstractAsyncContextManager[Mapping[str, Any]]]


class Edge:
    """What the endpoints of one application share while its store is open.

    Args:
        store: The open store.

    Attributes:
        positions: Checks tokens.
        feed: Follows the log for all streams of events.
        descriptions: Writes their messages.
    """

    def __init__(self, store: EventStore) -> None:
        self.store: Final = store
        self.positions: Final = Positions(store.log)
        self.feed: Final = Feed(store.log, store.settings.environment.clock)
        self.descriptions: Final = Descriptions(store.application.registry)
        self._changes: Final[dict[str, RowChanges]] = {}

    def changes_of(self, projection: type[Projection[Any]]) -> RowChanges:
        """Give the one follower of a read model."""
        name = projection.definition.name
        if name not in self._changes:
            self._changes[name] = RowChanges(self.store, self.feed, projection)
        return self._changes[name]

    def end_streams(self) -> None:
        """Let every stream of events end; a server that stops waits for them."""
        self.feed.end()

    async def close(self) -> None:
        """End the streams, and what they follow."""
        await self.feed.close()
        for changes in self._changes.values():
            await changes.close()


def lifespan(
    store: EventStore | Callable[[], EventStore], *, projections: Sequence[ReadModelClass] | None = None
) -> Lifespan:
    """Make a lifespan that opens the store, runs its workers, and drains it: every accepted command is answered.

    `FastAPI(lifespan=lifespan(store))`; one of several composes:
    `async with lifespan(store)(app) as state: yield {**state, ...}`.

    Args:
        store: The store, or what makes it.
        projections: Run only these here; None for all, unless the store's settings say `workers=False`.
    """

    @asynccontextmanager
    async def opened(app: FastAPI) -> AsyncGenerator[Mapping[str, Any]]:
        del app
        made = store if isinstance(store, EventStore) else store()
        chosen = made if projections is None else made.with_settings(workers=False)
        async with AsyncExitStack() as resources:
            running = await resources.enter_async_context(chosen)
            if projections is not None:
                running.query_side.start_workers([projection.definition.name for projection in projections])
            edge = Edge(running)
            resources.push_async_callback(edge.close)
            resources.enter_context(told_of_shutdown(edge.end_streams))
            yield {_STATE: edge}

    return opened


# Both are coroutines, though they await nothing: FastAPI calls functions in threads.
async def edge_of(request: Request) -> Edge:
    """Give what the endpoints share.

    Raises:
        ConfigurationError: The application has no lifespan that opens a store.
    """
    found = getattr(request.state, _STATE, None)
    if found is None:
        message = "no store is open: make the application with FastAPI(lifespan=lifespan(store))"
        raise ConfigurationError(message)
    return cast("Edge", found)


async def open_store(request: Request) -> EventStore:
    """Give the open store; see `OpenStore`."""
    return (await edge_of(request)).store


OpenStore: TypeAlias = Annotated[EventStore, Depends(open_store)]
"""The open store, for endpoints of your own: `async def overdue(store: OpenStore) -> ...`."""

OpenEdge: TypeAlias = Annotated[Edge, Depends(edge_of)]
