"""One partition of an inbox: batch by batch, in order per key, side by side across keys."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from eventstore.core.errors import LogUnavailableError, StoreClosedError
from eventstore.core.messages import Message
from eventstore.kafka.inbox_feed import Assignment, InboxFeed, weight
from eventstore.kafka.inbox_work import MessageHaltedError, MessageWork, TurnInDoubtError
from eventstore.ports import Clock

_LOGGER: Final = logging.getLogger(__name__)
_BATCH: Final = 500
_HALTED_SECONDS: Final = 2.0
_NOTE_LENGTH: Final = 1_000
_PATIENCE_SECONDS: Final = 0.2


@dataclass(slots=True)
class Chain:
    """The messages of one key in a batch, in order.

    Attributes:
        waiting: Those without their effect, the next one first.
        barrier: The position that must be committed before the next one's turn: what stands before it left nothing in
            the log, so if it were delivered again after later ones it might have another effect.
        halted: Why the next one cannot have its effect.
    """

    waiting: deque[Message] = field(default_factory=deque[Message])
    barrier: int = 0
    halted: MessageHaltedError | None = None


class InboxFlow:
    """Gives a partition's messages their effects for as long as the partition is this process's.

    Args:
        feed: Keeps the position.
        assignment: Which partition.
        work: Carries a message out.
        turns: Bounds how many messages of all partitions are carried out at the same time.
        clock: For waits.
    """

    def __init__(
        self, feed: InboxFeed, assignment: Assignment, work: MessageWork, turns: asyncio.Semaphore, clock: Clock
    ) -> None:
        self.assignment: Final = assignment
        self.halted: MessageHaltedError | None = None
        self._feed: Final = feed
        self._work: Final = work
        self._turns: Final = turns
        self._clock: Final = clock
        self._arrived: Final[deque[Message]] = deque()
        self._any: Final = asyncio.Event()
        self._end = 0
        self._settled = -1
        self._stopping: Final = asyncio.Event()

    def deliver(self, messages: Sequence[Message], next_offset: int) -> None:
        """Take messages; see `Recipient.delivered`."""
        self._arrived.extend(messages)
        self._end = next_offset
        self._any.set()

    def stop(self) -> None:
        """Begin nothing more; `run` returns when what is under way is finished."""
        self._stopping.set()
        self._any.set()

    async def run(self) -> None:
        """Work until stopped or cancelled."""
        while True:
            await self._any.wait()
            self._any.clear()
            while self._arrived and not self._stopping.is_set():
                batch = [self._arrived.popleft() for _ in range(min(_BATCH, len(self._arrived)))]
                await self._process(batch)
            if self._stopping.is_set():
                return
            if self._end > self._settled:
                self._settle(self._end, 0)  # behind what is no message: the marks of transactions

    async def _process(self, batch: Sequence[Message]) -> None:
        """Give every message of a batch its effect, and move the position behind it."""
        chains: dict[bytes | None, Chain] = {}
        for message in batch:
            chains.setdefault(message.key, Chain()).waiting.append(message)
        await self._work.prepare(batch)
        end, position, halts = batch[-1].offset + 1, batch[0].offset, 0
        while True:
            if self._feed.in_doubt() and not await self._commit(position):
                return
            open_ones = [c for c in chains.values() if c.waiting and not c.halted and c.barrier <= position]
            await self._advance(open_ones)
            if self._stopping.is_set():
                self._settle_before_stopping(chains, end)
                return
            reached = min((chain.waiting[0].offset for chain in chains.values() if chain.waiting), default=end)
            if reached == end and all(chain.barrier <= position for chain in chains.values()):
                break
            if reached > position:
                position, halts = reached, 0
                if not await self._commit(position):
                    return
            elif not any(c.waiting and not c.halted and c.barrier <= position for c in chains.values()):
                await self._halt(chains, position, halts)
                halts += 1
            if position == end:
                break
        self._note_halted(None)
        self._settle(end, sum(map(weight, batch)))

    async def _advance(self, chains: Sequence[Chain]) -> None:
        async with asyncio.TaskGroup() as tasks:
            for chain in chains:
                tasks.create_task(self._follow(chain))

    async def _follow(self, chain: Chain) -> None:
        """Carry out a chain's messages up to one that left nothing in the log, or cannot have its effect."""
        while chain.waiting:
            async with self._turns:
                if self._stopping.is_set():
                    return
                message = chain.waiting[0]
                try:
                    known = await self._work.carry_out(message)
                except MessageHaltedError as halted:
                    chain.halted = halted
                    return
                except TurnInDoubtError:
                    return
                except StoreClosedError:
                    self._stopping.set()
                    return
            chain.waiting.popleft()
            if not known:
                chain.barrier = message.offset + 1
                return

    def _settle_before_stopping(self, chains: dict[bytes | None, Chain], end: int) -> None:
        reached = min((chain.waiting[0].offset for chain in chains.values() if chain.waiting), default=end)
        self._settle(reached, 0)

    def _settle(self, next_offset: int, taken: int) -> None:
        self._settled = next_offset
        self._feed.settle(self.assignment, next_offset, taken)

    async def _halt(self, chains: dict[bytes | None, Chain], position: int, times: int) -> None:
        """Show why the position stands still, then try again what it stands at."""
        first = min((c for c in chains.values() if c.halted), key=lambda chain: chain.waiting[0].offset)
        assert first.halted is not None  # noqa: S101 - just chosen
        if times == 0:
            await self._commit(position, first.halted.cause[:_NOTE_LENGTH])
        self._note_halted(first.halted)
        await self._unless_stopped(_HALTED_SECONDS)
        if self._stopping.is_set():
            return
        if await self._work.is_parked(first.waiting[0]):
            first.barrier = first.waiting.popleft().offset + 1
        for chain in chains.values():
            chain.halted = None

    def _note_halted(self, halted: MessageHaltedError | None) -> None:
        if halted is not None and str(halted) != str(self.halted):
            _LOGGER.error("%s", halted)
        self.halted = halted

    async def _commit(self, position: int, note: str = "") -> bool:
        """Move the position and wait until the group has it; False if this partition is no longer this process's."""
        while not self._stopping.is_set():
            done = self._feed.commit(self.assignment, position, note)
            await self._first_of(done)
            if done.cancelled():
                self._stopping.set()
                return False
            if not done.done():
                break
            error = done.exception()
            if error is None:
                return True
            if not isinstance(error, LogUnavailableError):
                raise error
            _LOGGER.warning("%s", error)
            await self._unless_stopped(_PATIENCE_SECONDS)
        self._settle(position, 0)
        return False

    async def _first_of(self, done: asyncio.Future[None]) -> None:
        """Wait until it is done, or this is to stop: the feed does not answer while it waits for that."""
        stopping = asyncio.create_task(self._stopping.wait())
        waited: list[asyncio.Future[Any]] = [done, stopping]
        try:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()

    async def _unless_stopped(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
