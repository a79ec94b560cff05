"""Events as messages of a stream: written once, whoever many clients get them."""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import Final

from fastapi.sse import ServerSentEvent

from eventstore.core.errors import EventSchemaError
from eventstore.core.records import StoredEvent
from eventstore.core.registry import TypeRegistry
from eventstore.fastapi.outcomes import streamed

_LOGGER: Final = logging.getLogger(__name__)
_KEPT: Final = 256


class Descriptions:
    """Describes events, as today's classes have them; keeps the newest, which all clients get at about the same time.

    Args:
        registry: Decodes events.
    """

    def __init__(self, registry: TypeRegistry) -> None:
        self._registry: Final = registry
        self._kept: Final[OrderedDict[bytes, str]] = OrderedDict()

    def message(self, stored: StoredEvent, event_id: str) -> ServerSentEvent:
        """Give the message of an event, named by the event's type.

        Args:
            stored: The event.
            event_id: Where a client goes on that has it.
        """
        text = self._kept.get(stored.event_id)
        if text is None:
            text = self._kept[stored.event_id] = self._describe(stored)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return ServerSentEvent(event=stored.event_type, id=event_id, raw_data=text)

    def _describe(self, stored: StoredEvent) -> str:
        try:
            data = self._registry.decode(stored).model_dump(mode="json")
        except EventSchemaError as error:
            _LOGGER.warning("an event is sent without its data: %s", error)
            data = None
        return streamed(stored, data).model_dump_json()
