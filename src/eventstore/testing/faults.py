"""Faults on demand: a log whose calls fail, hang or lose their answers when a test says so."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final, Literal, TypeAlias

from eventstore.core.errors import AppendOutcomeUnknownError, EventStoreError, LogUnavailableError
from eventstore.delegation import DelegatingLog
from eventstore.ports import EventLog

Fault: TypeAlias = Literal["refuse", "lose answer", "hang"]


class FaultyLog(DelegatingLog):
    """Wraps any log: passes every call on, except for the faults that were asked for.

    Args:
        log: The log behind.
    """

    def __init__(self, log: EventLog) -> None:
        super().__init__(log)
        self._faults: Final[dict[str, deque[Fault]]] = {}
        self.released: Final = asyncio.Event()

    def fail(self, method: str, *faults: Fault) -> None:
        """Let the next calls of a method fail, one fault after the other.

        Args:
            method: For example `"commit"`.
            faults: `refuse`: nothing happens and the call fails; `lose answer`: it happens, and the call fails as if
                nobody knew; `hang`: it waits for `released` before it happens.
        """
        self._faults.setdefault(method, deque()).extend(faults)

    async def _pass(self, method: str, *arguments: Any) -> Any:
        queue = self._faults.get(method)
        fault = queue.popleft() if queue else None
        if fault == "refuse":
            message = f"{method} was made to fail; nothing was done"
            raise LogUnavailableError(message)
        if fault == "hang":
            await self.released.wait()
        answer = await self._call(method, *arguments)
        if fault == "lose answer":
            error: EventStoreError = AppendOutcomeUnknownError((), f"the answer to {method} was lost")
            raise error
        return answer

    async def _call(self, method: str, *arguments: Any) -> Any:
        return await getattr(self.behind, method)(*arguments)
