"""One follower per process of what all processes do to positions, for as long as somebody waits."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import aclosing, contextmanager
from typing import Final

from eventstore.background import Background
from eventstore.core.errors import EventStoreError, StoreClosedError
from eventstore.ports import Clock, QueryStore
from eventstore.read.progress import Progress

_LOGGER: Final = logging.getLogger(__name__)
_RETRY_SECONDS: Final = 0.5


class Watcher:
    """Keeps `progress` current while there are waiters, and a while longer; the query store pays nothing otherwise.

    Args:
        query: Tells about changes.
        progress: Is told.
        clock: For pauses before trying again.
    """

    def __init__(self, query: QueryStore, progress: Progress, clock: Clock) -> None:
        self.progress: Final = progress
        self._query: Final = query
        self._clock: Final = clock
        self._background: Final = Background()
        self._waiters = 0
        self._wanted = False
        self._running = False

    @contextmanager
    def attention(self) -> Generator[None]:
        """Have changes told to `progress` during the block, as soon and as long as the database can be reached."""
        if not self._running:
            self._background.start(self._run(), "eventstore-watcher")
            self._running = True
        self._waiters += 1
        self._wanted = True
        try:
            yield
        finally:
            self._waiters -= 1

    async def close(self) -> None:
        """Stop following."""
        await self._background.close()

    async def _run(self) -> None:
        said = False
        while self._running:
            try:
                await self._follow()
            except StoreClosedError:
                self._stop()
            except EventStoreError as error:
                if self.progress.current or not said:
                    _LOGGER.warning("waiters poll until the query store tells about positions again: %s", error)
                    said = True
                self.progress.lost()
                await self._clock.sleep(_RETRY_SECONDS)
                if not self._waiters:
                    self._stop()

    async def _follow(self) -> None:
        async with aclosing(self._query.changes()) as changes:
            async for move in changes:
                if move is not None:
                    self.progress.told(move)
                elif self._wanted or self._waiters:
                    self._wanted = False
                    self.progress.looked(await self._query.statuses())
                else:
                    # Before anything is awaited: who wants to know from now on starts a follower of their own.
                    self._stop()
                    return

    def _stop(self) -> None:
        self._running = False
        self.progress.lost()
