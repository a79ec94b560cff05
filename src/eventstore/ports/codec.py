"""How a store encodes its events, where it is not plain JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self, TypeAlias
from uuid import UUID

from eventstore.core.envelope import Metadata
from eventstore.core.events import Event
from eventstore.core.registry import BinaryEvents

EncodeEvent: TypeAlias = Callable[[Event, UUID, datetime, Metadata], bytes]
"""Gives an event's envelope; `core.envelope.write_envelope` is the one of JSON."""


class EventCodec(BinaryEvents, Protocol):
    """Writes envelopes and reads what it has ever written; encoding and decoding wait for nobody.

    `async with` opens it, before anything is encoded or decoded.
    """

    def declare(self, events: Sequence[type[Event]]) -> None:
        """Name the events that will be written.

        Args:
            events: Added to those named before.

        Raises:
            ConfigurationError: One of them has a field that cannot be expressed; names its path.
        """
        ...

    def encode(self, event: Event, event_id: UUID, occurred_at: datetime, metadata: Metadata) -> bytes:
        """Encode a declared event; what comes out is at most `MAX_EVENT_BYTES` long.

        Args:
            event: The event.
            event_id: Its id.
            occurred_at: When it was decided, in UTC.
            metadata: Correlation and causation.

        Raises:
            UnencodableEventError: The event holds what cannot be written, or it is too large.
        """
        ...

    def for_topic(self, topic: str) -> EventCodec:
        """Give a codec for the events of a public topic, where readers may know them under other names.

        Args:
            topic: The topic.
        """
        ...

    async def prepare(self, envelopes: Iterable[bytes]) -> None:
        """Fetch what decoding takes and is not in memory yet; what nobody knows stays unknown, and decoding says so.

        Args:
            envelopes: Binary and other envelopes, in any mixture.

        Raises:
            StoreUnavailableError: Whoever knows is out of reach now.
        """
        ...

    async def __aenter__(self) -> Self:
        """Get everything that writing the declared events takes.

        Raises:
            ConfigurationError: Something is missing; says how to supply it.
            StoreUnavailableError: Whoever has it is out of reach now.
        """
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release everything."""
        ...
