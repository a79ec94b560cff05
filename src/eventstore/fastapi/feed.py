"""One follower of the log for all clients of a process: whoever listens costs a place in a list and a bounded queue."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import contextmanager
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from eventstore.background import Background
from eventstore.core.errors import EventStoreError, StoreClosedError
from eventstore.core.records import Partition, StoredEvent, Token
from eventstore.ports import Clock, EventLog

_LOGGER: Final = logging.getLogger(__name__)
_PAGE: Final = 500
_RETRY_SECONDS: Final = 0.5
QUEUE: Final = 1_000
"""How many messages may wait for one client; with more it is cut off, and reads on from the log when it comes back."""

M = TypeVar("M")


class Mailbox(Generic[M]):
    """What waits for one client: bounded, and closed for good when it would overflow or the service ends."""

    def __init__(self) -> None:
        self._waiting: Final[deque[M]] = deque()
        self._news: Final = asyncio.Event()
        self._closed = False

    def put(self, message: M) -> None:
        """Add a message, or close if there is no room: what is there can still be taken."""
        if self._closed:
            return
        if len(self._waiting) >= QUEUE:
            self.close()
            return
        self._waiting.append(message)
        self._news.set()

    def close(self) -> None:
        """Take nothing more."""
        self._closed = True
        self._news.set()

    async def messages(self) -> AsyncGenerator[M]:
        """Give the messages as they come; ends when it is closed and empty."""
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            if self._closed:
                return
            self._news.clear()
            await self._news.wait()


class Listener(Protocol):
    """Is told the events of a partition in their order, none left out from the moment on that it was added."""

    def heard(self, partition: Partition, events: list[StoredEvent], next_offset: int) -> None:
        """Take note of events; must not take long."""
        ...

    def close(self) -> None:
        """Take note that nothing more will come."""
        ...


class Feed:
    """Follows every partition of a log, from when the first listener comes, and tells all listeners.

    Args:
        log: The open log.
        clock: For pauses when it is out of reach.
    """

    def __init__(self, log: EventLog, clock: Clock) -> None:
        self.log: Final = log
        self._clock: Final = clock
        self._positions: dict[Partition, int] | None = None
        self._listeners: Final[set[Listener]] = set()
        self._background: Final = Background()
        self._closed = False

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    async def start(self) -> None:
        """Begin to follow, if that has not happened yet; `position` is known from then on.

        Raises:
            LogUnavailableError: The log cannot be read now.
            StoreClosedError: The service ends.
        """
        if self._closed:
            message = "the service ends: no more streams are opened"
            raise StoreClosedError(message)
        if self._positions is None:
            ends = await self.log.ends()
            if self._positions is None and not self._closed:  # unless somebody else was faster
                self._positions = {**ends}
                for partition in ends:
                    self._background.start(self._follow(partition), f"eventstore-feed-{partition}")

    @property
    def ended(self) -> bool:
        """Whether nothing more will be told."""
        return self._closed

    def position(self, partition: Partition) -> int:
        """Give where listeners that are added now begin."""
        assert self._positions is not None  # noqa: S101 - after start
        return self._positions[partition]

    @property
    def token(self) -> Token:
        """Where listeners that are added now begin, in all partitions."""
        assert self._positions is not None  # noqa: S101 - after start
        return Token(self._positions)

    @contextmanager
    def listening(self, listener: Listener) -> Generator[None]:
        """Tell a listener everything from now on, during the block."""
        if self._closed:
            listener.close()
        self._listeners.add(listener)
        try:
            yield
        finally:
            self._listeners.discard(listener)

    async def close(self) -> None:
        """End: every listener is told."""
        self.end()
        await self._background.close()

    def end(self) -> None:
        """Tell every listener that nothing more will come; new ones are refused."""
        self._closed = True
        for listener in [*self._listeners]:
            listener.close()

    async def _follow(self, partition: Partition) -> None:
        assert self._positions is not None  # noqa: S101 - started
        offset = self._positions[partition]
        while True:
            try:
                await self.log.wait_beyond(partition, offset)
                page = await self.log.read(partition, offset, _PAGE)
            except StoreClosedError:
                self.end()
                return
            except EventStoreError as error:
                _LOGGER.warning("events of %s are told again when the log can be read: %s", partition, error)
                await self._clock.sleep(_RETRY_SECONDS)
                continue
            # Both at once: a listener that is added gets what comes after the position, and only that.
            offset = self._positions[partition] = page.next_offset
            events = [event for event in page.events if not event.erased]
            for listener in [*self._listeners]:
                listener.heard(partition, events, offset)


class Heard(NamedTuple):
    """Some events of a partition, and where it goes on."""

    partition: Partition
    events: Sequence[StoredEvent]
    next_offset: int


class LogListener:
    """Listens to the events of some categories, in all partitions."""

    def __init__(self, categories: Sequence[str]) -> None:
        self._prefixes: Final = tuple(f"{category}-" for category in categories)
        self.mailbox: Final[Mailbox[Heard]] = Mailbox()

    def heard(self, partition: Partition, events: Sequence[StoredEvent], next_offset: int) -> None:
        """Keep what concerns it."""
        chosen = [event for event in events if not self._prefixes or event.stream.startswith(self._prefixes)]
        if chosen:
            self.mailbox.put(Heard(partition, chosen, next_offset))

    def close(self) -> None:
        """End."""
        self.mailbox.close()


async def from_log(feed: Feed, token: Token, categories: Sequence[str]) -> AsyncGenerator[Heard]:
    """Give the events of some categories behind a token, then those that come; ends with the service.

    Args:
        feed: The started feed.
        token: A position for every partition.
        categories: Which; none for all.
    """
    positions = dict(token.positions)
    while behind := [name for name, offset in positions.items() if offset < feed.position(name)]:
        for partition in behind:
            page = await feed.log.read(partition, positions[partition], _PAGE, categories or None)
            positions[partition] = page.next_offset
            events = [event for event in page.events if not event.erased]
            if events:
                yield Heard(partition, events, page.next_offset)
    listener = LogListener(categories)
    # Nothing was awaited since the positions were compared: what comes now is what comes next.
    with feed.listening(listener):
        async for heard in listener.mailbox.messages():
            if heard.next_offset > positions[heard.partition]:
                yield heard
