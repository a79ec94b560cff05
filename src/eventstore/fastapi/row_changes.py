"""What changes in a read model: the rows that events led to, as they stand, told to all clients by one follower."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import aclosing, contextmanager
from typing import Any, Final, NamedTuple

from sqlalchemy import and_, or_, select

from eventstore.background import Background
from eventstore.core.errors import (
    EventSchemaError,
    EventStoreError,
    ProjectionFailedError,
    ReadModelStaleError,
    StoreClosedError,
)
from eventstore.core.projections import EventAt, HandlerFailedError, Projection, RowFold
from eventstore.core.records import Partition, Recorded, StoredEvent, Token
from eventstore.core.rows import Key, Row
from eventstore.fastapi.feed import Feed, Heard, Mailbox, from_log
from eventstore.store import EventStore

_LOGGER: Final = logging.getLogger(__name__)
_PAGE: Final = 500
_KEYS: Final = 100
_SHOWN_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 0.5


class Changed(NamedTuple):
    """Rows that events of a partition led to.

    Attributes:
        rows: By key, as they stand; None for one that is not there.
        partition: The partition.
        next_offset: Where it goes on.
    """

    rows: dict[Key, Row | None]
    partition: Partition
    next_offset: int


class RowChanges:
    """Follows one read model for all clients, from when the first one comes.

    Args:
        store: The open store.
        feed: Follows the log.
        projection: The read model.
    """

    def __init__(self, store: EventStore, feed: Feed, projection: type[Projection[Any]]) -> None:
        self._store: Final = store
        self._feed: Final = feed
        self._projection: Final = projection
        self._fold: Final = RowFold(projection())
        self._categories: Final = projection.definition.categories
        self._positions: dict[Partition, int] = {}
        self._mailboxes: Final[set[Mailbox[Changed]]] = set()
        self._background: Final = Background()
        self._said = False

    async def start(self) -> None:
        """Begin to follow, if that has not happened yet.

        Raises:
            LogUnavailableError: The log cannot be read now.
            StoreClosedError: The service ends.
        """
        await self._feed.start()
        if not self._positions:
            self._positions = dict(self._feed.token.positions)
            self._background.start(self._follow(), f"eventstore-changes-{self._projection.definition.name}")

    @property
    def token(self) -> Token:
        """Where clients that come now begin: what they read must show at least that."""
        return Token(self._positions)

    async def close(self) -> None:
        """End: every client is told."""
        self._end()
        await self._background.close()

    async def since(self, token: Token) -> AsyncGenerator[Changed]:
        """Give what has changed behind a token, then what changes; ends with the service, or for a slow client.

        Args:
            token: A position for every partition.
        """
        positions = dict(token.positions)
        while behind := [name for name, offset in positions.items() if offset < self._positions[name]]:
            for partition in behind:
                page = await self._feed.log.read(partition, positions[partition], _PAGE, self._categories or None)
                positions[partition] = page.next_offset
                yield await self._changed(Heard(partition, page.events, page.next_offset))
        mailbox: Mailbox[Changed] = Mailbox()
        # Nothing was awaited since the positions were compared: what comes now is what comes next.
        with self._listening(mailbox):
            async for changed in mailbox.messages():
                yield changed

    @contextmanager
    def _listening(self, mailbox: Mailbox[Changed]) -> Generator[None]:
        self._mailboxes.add(mailbox)
        if self._feed.ended:
            mailbox.close()
        try:
            yield
        finally:
            self._mailboxes.discard(mailbox)

    async def _follow(self) -> None:
        try:
            # Cut off while the read model stood still, it goes on where it was.
            while not self._feed.ended:
                async with aclosing(from_log(self._feed, self.token, self._categories)) as pages:
                    async for heard in pages:
                        changed = await self._changed(heard)
                        self._positions[heard.partition] = heard.next_offset
                        for mailbox in [*self._mailboxes]:
                            mailbox.put(changed)
        except StoreClosedError:
            pass
        finally:
            self._end()

    def _end(self) -> None:
        for mailbox in [*self._mailboxes]:
            mailbox.close()

    async def _changed(self, heard: Heard) -> Changed:
        """Wait until the read model shows some events, and read the rows that they led to."""
        await self._shown(Token({heard.partition: heard.next_offset}))
        keys = self._keys(heard)
        rows: dict[Key, Row | None] = dict.fromkeys(keys)
        read_model, definition = self._store.read_model(self._projection), self._projection.definition
        assert definition.row is not None  # noqa: S101 - it is a projection of rows
        for start in range(0, len(keys), _KEYS):
            some = keys[start : start + _KEYS]
            columns = [read_model.table.c[name] for name in definition.key]
            wanted = or_(*(and_(*(c == v for c, v in zip(columns, key, strict=True))) for key in some))
            async with read_model.connect() as connection:
                for values in (await connection.execute(select(read_model.table).where(wanted))).mappings():
                    row = definition.row(**values)
                    rows[tuple(getattr(row, name) for name in definition.key)] = row
        return Changed(rows, heard.partition, heard.next_offset)

    def _keys(self, heard: Heard) -> list[Key]:
        """Find the rows that events lead to; one that the read model could not process leads to none."""
        keys: dict[Key, None] = {}
        for stored in heard.events:
            for key in self._keys_of(stored, heard.partition):
                keys[key] = None
        return [*keys]

    def _keys_of(self, stored: StoredEvent, partition: Partition) -> Sequence[Key]:
        if stored.event_type not in self._projection.definition.events or stored.erased:
            return ()
        try:
            event = self._store.application.registry.decode(stored)
            steps = self._fold.plan([EventAt(event, Recorded(stored, partition))])
        except (EventSchemaError, HandlerFailedError):
            return ()
        return [step[2] for step in steps]

    async def _shown(self, token: Token) -> None:
        while True:
            try:
                await self._store.wait_for(self._projection, token, timeout=_SHOWN_SECONDS)
            except StoreClosedError:
                raise
            except EventStoreError as error:
                if not self._said and not isinstance(error, ReadModelStaleError):
                    _LOGGER.warning("changes are told when the read model goes on: %s", error)
                    self._said = True
                if isinstance(error, ProjectionFailedError | ReadModelStaleError) or error.retriable:
                    await self._store.settings.environment.clock.sleep(_RETRY_SECONDS)
                    continue
                raise
            self._said = False
            return
