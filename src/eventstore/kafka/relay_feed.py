"""What waits to be published, between the thread that reads a partition and the one that publishes it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from threading import Condition
from typing import Final, NamedTuple

from eventstore.core.records import StoredEvent

_KILOBYTE: Final = 1024


class Chunk(NamedTuple):
    """Events in order, of which all were read under one lease.

    Attributes:
        events: Those that the publication handles.
        next_offset: Everything before it is in here or in what came before.
        lease: In force at every offset from the first event to the next offset.
    """

    events: Sequence[StoredEvent]
    next_offset: int
    lease: str

    def measured(self) -> int:
        """Tell how much it is, in events of up to a kilobyte; one at least."""
        return 1 + len(self.events) + sum([len(event.envelope) for event in self.events]) // _KILOBYTE


class Feed:
    """Hands over chunks in order, and tells when there are enough: this is what bounds memory.

    Args:
        most: How much may wait, in events of up to a kilobyte.
    """

    def __init__(self, most: int) -> None:
        self._most: Final = most
        self._chunks: Final[deque[tuple[Chunk, int]]] = deque()
        self._size = 0
        self._closed = False
        self._changed: Final = Condition()

    def put(self, chunk: Chunk) -> None:
        """Take a chunk in."""
        size = chunk.measured()
        with self._changed:
            if not self._closed:
                self._chunks.append((chunk, size))
                self._size += size
                self._changed.notify_all()

    def wait_for_room(self, seconds: float) -> bool:
        """Return True as soon as more may be put in, or False after so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._size < self._most or self._closed, seconds)

    @property
    def has_room(self) -> bool:
        """Whether at most half of what may wait does."""
        return self._size <= self._most // 2

    def take(self, seconds: float) -> Chunk | None:
        """Give the next chunk, or None if there is none within so many seconds, or the feed is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._chunks or self._closed, seconds)
            if self._closed or not self._chunks:
                return None
            chunk, size = self._chunks.popleft()
            self._size -= size
            self._changed.notify_all()
            return chunk

    def give_back(self, rest: Chunk) -> None:
        """Put what was not used of the chunk that was taken last in front of the others."""
        size = rest.measured()
        with self._changed:
            self._chunks.appendleft((rest, size))
            self._size += size

    def clear(self) -> None:
        """Drop everything: it is read again."""
        with self._changed:
            self._chunks.clear()
            self._size = 0
            self._changed.notify_all()

    def close(self) -> None:
        """Give nothing more, and let nobody wait."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def pause(self, seconds: float) -> None:
        """Wait for so long, or until it is closed."""
        deadline = time.monotonic() + seconds
        with self._changed:
            self._changed.wait_for(lambda: self._closed, max(deadline - time.monotonic(), 0))
