"""Sharing partitions among processes that do the same work, such as keeping one read model up to date."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from eventstore.core.errors import EventStoreError
from eventstore.core.records import Partition


class Sharer(Protocol):
    """Somebody who works on the partitions that are his now; told on the loop."""

    def assigned(self, partitions: Sequence[Partition]) -> None:
        """Begin with these, even if somebody else still seems to work on them: he has stopped, or is cut off."""
        ...

    async def revoked(self, partitions: Sequence[Partition]) -> None:
        """Stop with these; others are given them when this returns, or when the hand-over takes too long."""
        ...

    def lost(self, partitions: Sequence[Partition]) -> None:
        """Stop with these; others may have worked on them for a while."""
        ...

    def failed(self, error: EventStoreError) -> None:
        """Take note that no partitions will be assigned any more, for good."""
        ...


class PartitionSharing(Protocol):
    """Deals out all partitions among the processes that share some work, evenly, each to one of them at a time.

    It keeps nobody from working: a process that stood still may not know yet that others have its partitions. What
    keeps it out is where its work is written.
    """

    def share(self, work: str, sharer: Sharer, *, guest: bool = False) -> AbstractAsyncContextManager[None]:
        """Take part for as long as the context is open; leaving it revokes everything first.

        Those that join or leave stop nobody who works on partitions that do not move.

        Args:
            work: Names what is shared; everybody who gives this name gets a share.
            sharer: Is told what is his.
            guest: He takes part for a while only, beside a process of the same name that does so all the time.
        """
        ...
