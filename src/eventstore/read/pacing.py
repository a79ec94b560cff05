"""Rests between the batches of rebuilds, so that they take no more than a share of a process's time."""

from __future__ import annotations

from typing import Final

from eventstore.ports import Clock

_LONGEST_REST: Final = 1.0


class Pace:
    """Keeps all batches that are built in this process, together, to a share of the time.

    A batch counts with all the time it takes, waits for the database included: what the processor is busy is less.

    Args:
        clock: Measures, and lets rest.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock: Final = clock
        self._free_at = 0.0

    async def turn(self) -> bool:
        """Rest for as long as is due, but never much longer than a second; tells whether that was enough."""
        due = self._free_at - self._clock.monotonic()
        if due > 0:
            await self._clock.sleep(min(due, _LONGEST_REST))
        return due <= _LONGEST_REST

    def spent(self, seconds: float, share: float) -> None:
        """Count a batch.

        Args:
            seconds: How long it took, until now.
            share: Of the time that batches may take, above 0 and up to 1.
        """
        began = self._clock.monotonic() - seconds
        self._free_at = max(self._free_at, began) + seconds / share
