"""Work with an owner: no task outlives the object that started it, and what must not be torn apart is finished."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Final, TypeVar

from eventstore.core.errors import StoreClosedError

T = TypeVar("T")


async def finished(work: Coroutine[object, object, T]) -> T:
    """Run work to its end even if the caller is cancelled meanwhile; the cancellation is raised then.

    For transactions: a driver that is cancelled in the middle gives its connection up without ending the
    transaction, and whoever writes next waits for the lock that it left behind.

    Args:
        work: Something short.

    Returns:
        What the work returned.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        raise


class Background:
    """Owns tasks; `close` cancels them and waits until they are gone."""

    def __init__(self) -> None:
        self._tasks: Final[set[asyncio.Task[None]]] = set()
        self._closed = False

    def start(self, work: Coroutine[object, object, None], name: str) -> asyncio.Task[None]:
        """Run `work` until it ends or the owner closes.

        Args:
            work: The coroutine.
            name: Shown by debuggers.

        Returns:
            The task, to await or to cancel alone.

        Raises:
            StoreClosedError: The owner is closed.
        """
        if self._closed:
            work.close()
            message = f"{name} cannot start: its owner is closed"
            raise StoreClosedError(message)
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[None]) -> None:
        # One that failed is kept, for `close` to raise what it raised.
        if task.cancelled() or task.exception() is None:
            self._tasks.discard(task)

    async def close(self) -> None:
        """Cancel and await every task; the first error that is no cancellation is raised at the end."""
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()
        for result in results:
            if isinstance(result, Exception):
                raise result
