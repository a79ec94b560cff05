"""A small domain that read models are tested with: accounts that are opened, and money that moves between them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from eventstore import (
    Aggregate,
    Command,
    Event,
    EventStore,
    Projection,
    Recorded,
    Row,
    Settings,
    SqliteLog,
    decides,
    evolves,
    projects,
)


class Opened(Event, type="account.opened"):
    owner: str


class Deposited(Event, type="account.deposited"):
    owner: str
    amount: int


class Closed(Event, type="account.closed"):
    owner: str


class Open(Command):
    owner: str


class Deposit(Command):
    amount: int


class Close(Command):
    pass


class Account(Aggregate, category="account"):
    owner: str = ""
    balance: int = 0

    @decides
    def open(self, command: Open) -> Opened | None:
        return None if self.exists else Opened(owner=command.owner)

    @decides
    def deposit(self, command: Deposit) -> Deposited:
        return Deposited(owner=self.owner, amount=command.amount)

    @decides
    def close(self, command: Close) -> Closed:
        return Closed(owner=self.owner)

    @evolves
    def opened(self, event: Opened) -> None:
        self.owner = event.owner

    @evolves
    def deposited(self, event: Deposited) -> None:
        self.balance += event.amount

    @evolves
    def closed(self, event: Closed) -> None:
        pass


class AccountRow(Row):
    account: str
    owner: str
    balance: int = 0


class Accounts(Projection[AccountRow], name="accounts", version=1, key="account"):
    @projects
    def opened(self, row: AccountRow | None, event: Opened, at: Recorded) -> AccountRow:
        return AccountRow(account=at.stream.id, owner=event.owner)

    @projects
    def deposited(self, row: AccountRow, event: Deposited, at: Recorded) -> AccountRow:
        row.balance += event.amount
        return row

    @projects
    def closed(self, row: AccountRow, event: Closed, at: Recorded) -> None:
        return None


class OwnerRow(Row):
    owner: str
    accounts: int = 0
    total: int = 0


class Owners(Projection[OwnerRow], name="owners", version=1, key="owner"):
    """Keyed by something else than the stream's id, so rows are shared between streams."""

    @projects(key="owner")
    def opened(self, row: OwnerRow | None, event: Opened, at: Recorded) -> OwnerRow:
        row = row or OwnerRow(owner=event.owner)
        row.accounts += 1
        return row

    @projects(key="owner")
    def deposited(self, row: OwnerRow, event: Deposited, at: Recorded) -> OwnerRow:
        row.total += event.amount
        return row

    @projects(key="owner")
    def closed(self, row: OwnerRow, event: Closed, at: Recorded) -> OwnerRow:
        row.accounts -= 1
        return row


def store_of(path: Path, *projections: Any, query_store: str | None = None, **settings: Any) -> EventStore:
    """Make a store that is not open yet, with short times so that tests of taking over end soon."""
    return EventStore(
        SqliteLog(path / "log.db"),
        aggregates=[Account],
        projections=projections,
        query_store=query_store,
        settings=Settings(lease=0.5, **settings),
    )


@asynccontextmanager
async def opened(path: Path, *projections: Any, **settings: Any) -> AsyncGenerator[EventStore]:
    """Open a store for the length of the block."""
    async with store_of(path, *projections, **settings) as store:
        yield store


async def fill(store: EventStore, accounts: int, deposits: int) -> None:
    """Open accounts of three owners and deposit 1, 2, 3, ... into each."""
    for number in range(accounts):
        await store.execute(Account, str(number), Open(owner=f"owner-{number % 3}"))
    for amount in range(1, deposits + 1):
        for number in range(accounts):
            await store.execute(Account, str(number), Deposit(amount=amount))


async def caught_up(store: EventStore, projection: Any) -> None:
    """Wait until a read model shows everything that is committed now."""
    await store.wait_for(projection, await store.present(), timeout=10)
