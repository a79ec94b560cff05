"""A process that only works on read models of a Kafka event store, and says what it moved, until told to stop.

`python -m tests.kafka.working '{"bootstrap": ..., "prefix": ..., "directory": ..., "query_store": ..., ...}'`

It begins to work when it reads a line, and its own are, `at` in nanoseconds of the machine's monotonic clock:

    opened | working | closed
    moved at name partition next_offset     that position is committed
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventstore import EventStore, Projection, Recorded, Settings, projects
from eventstore.core.checkpoints import Checkpoint
from eventstore.kafka import KafkaLog, KafkaOptions
from tests.read.shop import Account, AccountRow, Accounts, Deposited, Opened, Owners
from tests.read.test_rebuild import NewAccounts

PARTITIONS = 4
POISON = 13


class Picky(Projection[AccountRow], name="picky", version=1, key="account"):
    """Raises at deposits of 13."""

    @projects
    def opened(self, row: AccountRow | None, event: Opened, at: Recorded) -> AccountRow:
        return AccountRow(account=at.stream.id, owner=event.owner)

    @projects
    def deposited(self, row: AccountRow, event: Deposited, at: Recorded) -> AccountRow:
        if event.amount == POISON:
            raise ValueError("thirteen")
        row.balance += event.amount
        return row


class NewPicky(Picky, name="picky", version=2, key="account"):
    """The same, to be built: it stands still at the same event."""


ALL: dict[str, Any] = {
    "accounts": Accounts, "new_accounts": NewAccounts, "owners": Owners, "picky": Picky, "new_picky": NewPicky,
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where the log and the read models are, and which there are."""

    bootstrap: str
    prefix: str
    directory: str
    query_store: str
    names: Sequence[str]
    session_seconds: float = 2.0
    member: str | None = None
    batch_size: int = 500

    def store(self, *, serve: bool = False) -> EventStore:
        options = KafkaOptions(
            partitions=PARTITIONS,
            directory=Path(self.directory),
            session_seconds=self.session_seconds,
            member=self.member,
        )
        return EventStore(
            KafkaLog(self.bootstrap, prefix=self.prefix, options=options),
            aggregates=[Account],
            projections=[ALL[name] for name in self.names],
            query_store=self.query_store,
            settings=Settings(serve=serve, workers=False, batch_size=self.batch_size),
        )


def app() -> EventStore:
    """The application, for the command line."""
    return Place(**json.loads(os.environ["WORKING_PLACE"])).store()


def say(*words: object) -> None:
    """Write a line that is out of this process once the call returns."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def tell_moves(store: EventStore) -> None:
    """Say what is committed as soon as it is."""
    progress = store.query_side._progress
    note = progress.moved

    def moved(checkpoint: Checkpoint) -> None:
        say("moved", time.monotonic_ns(), checkpoint.name, checkpoint.partition, checkpoint.next_offset)
        note(checkpoint)

    progress.moved = moved  # type: ignore[method-assign]


async def work(place: Place) -> None:
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    async with place.store() as store:
        say("opened")
        await asyncio.to_thread(sys.stdin.readline)
        tell_moves(store)
        store.query_side.start_workers()
        say("working")
        await stopping.wait()
    say("closed")


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s", level=logging.INFO)
    asyncio.run(work(Place(**json.loads(sys.argv[1]))))
