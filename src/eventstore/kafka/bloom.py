"""A Bloom filter of the streams in the index: most of what is asked for and not there is answered from memory.

Every command that creates an aggregate asks for a stream that does not exist, and asking SQLite takes a thread.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_BITS: Final = 1 << 25
"""4 MiB. One million streams make 1 of 600 answers useless, ten million one of four."""
_MASK: Final = _BITS - 1
_STEP: Final = 21
"""Three numbers of a 64 bit hash, 25 bits each, that overlap a little."""


class StreamFilter:
    """Never says that a stream is absent that was added; one thread adds, others may ask meanwhile.

    Attributes:
        complete: Whether everything that is to be found was added; until then nothing is called absent.
    """

    def __init__(self) -> None:
        self._bits: Final = bytearray(_BITS >> 3)
        self.complete = False

    def add(self, streams: Iterable[str]) -> None:
        """Note that streams exist."""
        bits = self._bits
        for stream in streams:
            hashed = hash(stream)
            for place in (hashed & _MASK, hashed >> _STEP & _MASK, hashed >> 2 * _STEP & _MASK):
                bits[place >> 3] |= 1 << (place & 7)

    def lacks(self, stream: str) -> bool:
        """Tell whether a stream was certainly never added."""
        if not self.complete:
            return False
        hashed, bits = hash(stream), self._bits
        for place in (hashed & _MASK, hashed >> _STEP & _MASK, hashed >> 2 * _STEP & _MASK):
            if not bits[place >> 3] & 1 << (place & 7):
                return True
        return False
