"""Commands on their way: who waits for what, and how each gets exactly one answer."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Final, NamedTuple, final
from uuid import UUID

from eventstore.core.errors import StoreClosedError
from eventstore.core.events import Event
from eventstore.core.records import Token
from eventstore.write.deciding import Request

MAX_UNANSWERED: Final = 10_000


class Committed(NamedTuple):
    """A command was executed: its events are in the log for good.

    Attributes:
        version: The stream's version after the command.
        events: What it emitted, none to several.
        token: Where a read model must be to show it; see `EventStore.wait_for`.
        command_id: The id it was executed under: the caller's, or a new one.
    """

    version: int
    events: tuple[Event, ...]
    token: Token
    command_id: UUID


@final
@dataclass(eq=False, slots=True)
class Pending:
    """A request that waits for its answer.

    Attributes:
        request: The command.
        look_up: Whether its id may be in the log already: the caller chose it, or an earlier try may have written it.
        deadline: When the caller gives up, on the monotonic clock.
        answer: What the caller awaits.
        followers: Repeats of the same command that arrived while this one was underway.
    """

    request: Request
    look_up: bool
    deadline: float
    answer: asyncio.Future[Committed]
    followers: list[Pending] = field(default_factory=list["Pending"])


class Inbox:
    """A bounded queue of requests in order of arrival; every request taken in is answered exactly once."""

    def __init__(self) -> None:
        self._queue: Final[deque[Pending]] = deque()
        self._room: Final = asyncio.Semaphore(MAX_UNANSWERED)
        self._unanswered: Final[set[Pending]] = set()
        self._idle: Final = asyncio.Event()
        self._idle.set()
        self._underway: Final[dict[UUID, Pending]] = {}
        self._closed_by: BaseException | None = None
        self.arrived: Final = asyncio.Event()

    def __len__(self) -> int:
        """Count the queued requests."""
        return len(self._queue)

    async def put(self, pending: Pending) -> None:
        """Queue a request; waits while too many are unanswered.

        Raises:
            StoreClosedError: No more requests are taken.
        """
        await self._room.acquire()
        if self._closed_by is not None:
            self._room.release()
            message = "the store is closed or closing and takes no more commands"
            raise StoreClosedError(message) from self._closed_by.__cause__
        self._unanswered.add(pending)
        self._idle.clear()
        self._queue.append(pending)
        self.arrived.set()

    def take(self, most: int) -> list[Pending]:
        """Take up to so many requests from the front."""
        return [self._queue.popleft() for _ in range(min(len(self._queue), most))]

    def put_back(self, taken: list[Pending]) -> None:
        """Return requests to the front, in their order."""
        self._queue.extendleft(reversed(taken))

    def is_repeat(self, pending: Pending) -> bool:
        """Let a request whose command is underway share that one's answer; tells whether it does."""
        first = self._underway.setdefault(pending.request.command_id, pending)
        # The same id for another stream is no repeat but a mistake, which the log finds out.
        if first is pending or first.request.stream != pending.request.stream:
            return False
        first.followers.append(pending)
        return True

    def answer(self, pending: Pending, answer: Committed | BaseException | None) -> None:
        """Answer a request and those that share its answer; None when its caller has given up."""
        if pending not in self._unanswered:
            return
        self._unanswered.discard(pending)
        self._room.release()
        if self._underway.get(pending.request.command_id) is pending:
            del self._underway[pending.request.command_id]
        if not pending.answer.done():
            if isinstance(answer, Committed):
                pending.answer.set_result(answer)
            else:
                pending.answer.set_exception(answer or StoreClosedError("the command was given up"))
        for follower in pending.followers:
            if answer is None:  # the first caller gave up, its followers did not
                self._queue.append(follower)
                self.arrived.set()
            else:
                self.answer(follower, answer)
        pending.followers.clear()
        if not self._unanswered:
            self._idle.set()

    async def drain(self) -> None:
        """Take no more requests and return once all are answered."""
        self._closed_by = StoreClosedError()
        await self._idle.wait()

    def close(self, cause: BaseException | None) -> None:
        """Take no more requests and answer the remaining ones with `StoreClosedError`."""
        closed = StoreClosedError(
            "the store was closed while the command was waiting; repeat it with the same command_id"
        )
        closed.__cause__ = cause
        self._closed_by = closed
        for pending in list(self._unanswered):
            self.answer(pending, closed)
