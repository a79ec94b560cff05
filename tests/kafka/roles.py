"""An application with one part of every kind, for users who have the rights of one role each."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from eventstore import (
    EventStore,
    OnError,
    ProcessManager,
    ProcessState,
    Projection,
    Recorded,
    Row,
    Send,
    Settings,
    projects,
    reacts,
)
from eventstore.inbox import Inbox, Received, receives
from eventstore.kafka import Connection, KafkaLog, KafkaOptions
from eventstore.publishing import Publication, publishes
from tests.kafka.billing import Paid
from tests.kafka.relaying import Noted
from tests.write.domain import Count, Counted, Counter

PREFIX = "shop"
PUBLIC = "shop.public.notes"
FOREIGN = "billing.public.payments"


class TotalRow(Row):
    name: str
    total: int = 0


class Totals(Projection[TotalRow], name="totals", version=1, key="name"):
    @projects
    def counted(self, row: TotalRow | None, event: Counted, at: Recorded) -> TotalRow:
        return TotalRow(name=at.stream.id, total=(row.total if row else 0) + event.by)


class Echoes(ProcessState):
    note: str


class Echo(ProcessManager[Echoes], name="echo", key="note"):
    """Counts once more in another stream for what is noted `echo`."""

    @reacts
    def counted(self, state: Echoes, event: Counted, at: Recorded) -> Send | None:
        return Send(Counter, f"{at.stream.id}-echo", Count()) if event.note == "echo" else None


class Feed(Publication, name="feed"):
    @publishes(PUBLIC)
    def noted(self, event: Counted, at: Recorded) -> Noted:
        return Noted(version=at.version, note=event.note)


class Payments(Inbox, name="payments", topics=[FOREIGN], on_error=OnError.dead_letter(attempts=1)):
    @receives
    def paid(self, event: Paid, at: Received) -> Send:
        if event.amount == 13:
            raise ValueError("thirteen")
        return Send(Counter, at.key or "nobody", Count(by=event.amount))


def store_of(connection: Connection, directory: Path, **settings: Any) -> EventStore:
    options = KafkaOptions(partitions=2, directory=directory, session_seconds=2, commit_seconds=3)
    return EventStore(
        KafkaLog(connection, prefix=PREFIX, options=options),
        aggregates=[Counter],
        projections=[Totals],
        processes=[Echo],
        publications=[Feed],
        inboxes=[Payments],
        query_store=directory / "read.db",
        settings=Settings(**settings),
    )


@asynccontextmanager
async def opened(connection: Connection, directory: Path, **settings: Any) -> AsyncGenerator[EventStore]:
    async with store_of(connection, directory, **settings) as store:
        if store.settings.serve:
            await store.log.serving()
        yield store
