"""The proof that nothing was skipped or doubled: a rolling hash that also tells where something was.

The hash of ids `x1 .. xn` is the polynomial `x1*R^(n-1) + ... + xn` modulo a prime: equal results mean the same ids in
the same order, however they were batched; two different sequences of n ids agree with a probability of n/2^127. It proves
against accidents, not against somebody who chooses ids on purpose. Unlike a cryptographic hash it can be calculated
with: from the hash that is there and the one that ought to be follows which run of ids was left out or came twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple

EMPTY_HASH: Final = bytes(16)
LONGEST_RUN: Final = 100_000

_PRIME: Final = 2**127 - 1
_RADIX: Final = 0x5D1B_9C3E_70A4_F286_31E7_0D95_C8B2_6F4B  # any large number


def extend(event_hash: bytes, event_ids: Iterable[bytes]) -> bytes:
    """Extend a rolling hash.

    Args:
        event_hash: 16 bytes so far, `EMPTY_HASH` before the first event.
        event_ids: 16 bytes each.

    Returns:
        16 bytes.
    """
    value = int.from_bytes(event_hash)
    for event_id in event_ids:
        value = (value * _RADIX + int.from_bytes(event_id)) % _PRIME
    return value.to_bytes(16)


class Trail(NamedTuple):
    """How many events, and the hash of their ids."""

    events: int
    event_hash: bytes


class DifferenceSearch:
    """Finds the one run of events that was skipped, or processed twice, if that is all that was wrong.

    Feed it the events of the log in order. With `H(k)` for the hash of the first k of n, leaving out the run from i to
    i+d changes the hash by `(H(i) - H(i+d)) * R^(n-d-i)`, and having it twice by `(H(i+d) - H(i)) * R^(n-i)`. The change is
    known, so every i takes one comparison.

    Args:
        claimed: What was processed.
        logged: What the log holds.
    """

    def __init__(self, claimed: Trail, logged: Trail) -> None:
        self._run: Final = abs(logged.events - claimed.events)
        self._sign: Final = 1 if claimed.events < logged.events else -1
        after_run = logged.events - self._run if self._sign > 0 else logged.events
        change = int.from_bytes(claimed.event_hash) - int.from_bytes(logged.event_hash)
        self._target = change * self._sign * pow(_RADIX, -after_run, _PRIME) % _PRIME
        self._value = 0
        self._starts: Final[deque[tuple[int, int]]] = deque()

    @property
    def is_possible(self) -> bool:
        """Whether there is a run to look for."""
        return 0 < self._run <= LONGEST_RUN

    def feed(self, event_id: bytes, offset: int) -> int | None:
        """Take the next event of the log.

        Returns:
            The offset of the run's first event if the run that ends here explains everything; else None.
        """
        self._starts.append((self._value, offset))
        self._value = (self._value * _RADIX + int.from_bytes(event_id)) % _PRIME
        if len(self._starts) < self._run:
            return None
        before, first = self._starts.popleft()
        if (before - self._value) % _PRIME == self._target:
            return first
        self._target = self._target * _RADIX % _PRIME
        return None
