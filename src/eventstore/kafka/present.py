"""What an owner sees of its partition: the index, and what is acknowledged and still on its way there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import compress
from typing import Final, TypeAlias, TypeVar

from eventstore.core.records import StoredEvent
from eventstore.kafka.arbitration import Heads
from eventstore.kafka.index import Index
from eventstore.kafka.names import PartitionName
from eventstore.ports import Clock, StreamCommit, StreamQuery

_LOGGER: Final = logging.getLogger(__name__)
PROGRESS_SECONDS: Final = 5.0
"""So often a restore that takes long says how far it is."""
E = TypeVar("E")
ReadIndex: TypeAlias = Callable[[Sequence[StreamQuery]], Awaitable[Sequence[Sequence[E]]]]


class Present:
    """Answers from memory what it can, and asks the index for the rest; complete for every acknowledged event.

    Args:
        name: Which partition.
        index: The local index.
    """

    def __init__(self, name: PartitionName, index: Index) -> None:
        self._name: Final = name
        self._index: Final = index
        self._heads: Final = Heads()
        self.end = 0

    async def restore(self, end: int, clock: Clock) -> None:
        """Return when the index has everything before an offset; says how far it is while that takes long."""
        index, name = self._index, self._name.text
        first, began = index.positions[name], clock.monotonic()
        while index.positions[name] < end:
            try:
                async with asyncio.timeout(PROGRESS_SECONDS):
                    await index.reached(name, end)
            except TimeoutError:
                at = index.positions[name]
                rate = (at - first) / max(clock.monotonic() - began, 0.001)
                _LOGGER.info("%s: restored up to offset %d of %d, %.0f records/s", name, at, end, rate)

    def begin(self, end: int) -> None:
        """Start from the index as it stands, up to an offset."""
        self.end = end
        self._heads.clear()

    def appended(self, events: Sequence[StoredEvent]) -> None:
        """Note one command's events, which the index does not have yet."""
        self._heads.moved(events)

    def moved_to(self, end: int) -> None:
        """Note where the partition ends now, and forget what has reached the index."""
        self.end = end
        self._heads.forget_before(self._index.positions[self._name.text])

    async def versions(self, commits: Sequence[StreamCommit]) -> dict[str, int]:
        """Give where the streams of a batch stand."""
        versions: dict[str, int] = {}
        missing: list[str] = []
        for commit in commits:
            version = self._heads.get(commit.stream)
            if version is None:
                missing.append(commit.stream)
            else:
                versions[commit.stream] = version
        if missing:
            forgotten = self._heads.forgotten
            found = await self._index.read_versions(missing)
            self._heads.learn(found, forgotten)
            versions.update(found)
        return versions

    async def find_commands(self, command_ids: Sequence[bytes]) -> Mapping[bytes, Sequence[StoredEvent]]:
        """Find the events of commands, those included that the index does not have yet."""
        # First what is on its way to the index: it may get there while the index is asked.
        recent = self._heads.recent(command_ids)
        missing = [key for key in command_ids if key not in recent]
        return {**await self._index.find_commands(missing), **recent} if missing else recent

    async def read(self, queries: Sequence[StreamQuery], read: ReadIndex[E]) -> Sequence[Sequence[E]]:
        """Read streams from the index, every acknowledged event included.

        Args:
            queries: What to read.
            read: Reads it from the index.
        """
        heads = self._heads
        unread = [not heads.stands_at(query.stream, query.after_version) for query in queries]
        missing = [*compress(queries, unread)]
        if not missing:
            return [[] for _ in queries]
        forgotten, end = heads.forgotten, heads.behind_until([query.stream for query in missing])
        if end:
            await self._index.reached(self._name.text, end)
        found = await read(missing)
        # Whoever reads a stream to its end usually appends to it next.
        ends = {
            query.stream: query.after_version + len(events)
            for query, events in zip(missing, found, strict=True)
            if (query.limit is None or len(events) < query.limit) and (events or not query.after_version)
        }
        heads.learn(ends, forgotten)
        pages = iter(found)
        return [next(pages) if asked else [] for asked in unread]

    async def settled(self) -> None:
        """Return when the index has every acknowledged event."""
        await self._index.reached(self._name.text, self.end)
