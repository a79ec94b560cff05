"""A process that meets deadlines until it is killed: `python -m tests.read.chasing LOG QUERY_STORE`."""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime, timedelta

from eventstore import EventStore, ProcessManager, ProcessState, Recorded, Send, Settings, SqliteLog, reacts
from tests.read.shop import Account, Deposit, Opened

PATIENCE = timedelta(milliseconds=300)
TIMES = 3


class Chased(ProcessState):
    account: str
    times: int = 0


class Chaser(ProcessManager[Chased], name="chaser", key="account"):
    """Deposits 1 into every account, three times, a while after it was opened."""

    @reacts
    def opened(self, state: Chased, event: Opened, at: Recorded) -> None:
        state.deadline = at.occurred_at + PATIENCE

    def expired(self, state: Chased, due: datetime) -> Send:
        state.times += 1
        state.deadline = due + PATIENCE
        state.finished = state.times == TIMES
        return Send(Account, state.account, Deposit(amount=1))


def store_of(log: str, query_store: str, *, workers: bool) -> EventStore:
    return EventStore(
        SqliteLog(log),
        aggregates=[Account],
        processes=[Chaser],
        query_store=query_store,
        settings=Settings(lease=0.3, workers=workers),
    )


async def main() -> None:
    async with store_of(sys.argv[1], sys.argv[2], workers=True):
        print("working", flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
