"""Rows of a version that is still being built: whoever reads one by its key does not wait for the build."""

from __future__ import annotations

from typing import Any, Final

from eventstore.core.checkpoints import SubscriptionStatus
from eventstore.core.definitions import SubscriptionDefinition
from eventstore.core.projections import Projection
from eventstore.core.registry import TypeRegistry
from eventstore.core.rows import Key, Row
from eventstore.core.streams import StreamId
from eventstore.ports import EventLog, QueryStore
from eventstore.read.preview import Preview


class UnbuiltRows:
    """Folds a row from its own streams for as long as its version is being built; nothing is stored.

    Args:
        log: Where the streams are.
        registry: Decodes events.
        query: Knows which versions are being built.
    """

    def __init__(self, log: EventLog, registry: TypeRegistry, query: QueryStore) -> None:
        self._log: Final = log
        self._registry: Final = registry
        self._query: Final = query
        self._built: Final[set[str]] = set()

    async def is_needed(self, definition: SubscriptionDefinition) -> bool:
        """Tell whether a version is being built; one that was built once is never asked about again."""
        if definition.label in self._built:
            return False
        statuses = await self._query.statuses(definition.name)
        if any(_is_building(status) for status in statuses if status.version == definition.version):
            return True
        self._built.add(definition.label)
        return False

    async def row(self, projection: Projection[Any], definition: SubscriptionDefinition, key: Key) -> Row | None:
        """Give the row of a key as of now.

        Args:
            projection: One whose rows are keyed by the stream's id; see `Projection.is_keyed_by_stream`.
            definition: Its definition, with the categories it reads.
            key: The id.

        Raises:
            ProjectionFailedError: A handler raised.
            EventSchemaError: An event does not fit the code.
            LogUnavailableError: The log cannot be read now.
        """
        (aggregate_id,) = key
        preview = Preview(self._log, self._registry, projection)
        streams = [StreamId(category, str(aggregate_id)) for category in definition.categories]
        return (await preview.of_streams(streams, None)).get(key)


def _is_building(status: SubscriptionStatus) -> bool:
    return status.state == "building"
