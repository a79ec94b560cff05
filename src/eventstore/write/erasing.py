"""The request to erase an event."""

from __future__ import annotations

from typing import NamedTuple

from eventstore.core.streams import StreamId


class Erasure(NamedTuple):
    """Which event's data is to disappear: its stream, and its version there."""

    stream: StreamId
    version: int
