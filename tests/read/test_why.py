"""Why a row is as it is: the events that made it, by the projection's own keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventstore import ConfigurationError, EventStore, OnError, Projection, Recorded, Settings, projects
from eventstore.testing.memory import MemoryLog
from tests.read.shop import (
    Account,
    AccountRow,
    Accounts,
    Close,
    Deposit,
    Deposited,
    Open,
    Opened,
    Owners,
    caught_up,
    fill,
    opened,
)


class Total(AccountRow):
    month: int = 0


class Monthly(Projection[Total], name="monthly", version=1, key=("account", "month"), on_error=OnError.dead_letter()):
    """Rows with a key of two columns; one amount cannot be processed, and one concerns no row."""

    @projects(key=lambda event, at: (at.stream.id, event.amount // 10) if event.amount != 7 else None)
    def deposited(self, row: Total | None, event: Deposited, at: Recorded) -> Total:
        if event.amount == 13:
            raise ValueError(event.amount)
        return row or Total(account=at.stream.id, month=event.amount // 10, owner=event.owner)


async def made(store: EventStore, projection: type[Projection], *key: object) -> list[tuple[str, int]]:
    return [(str(at.stream), at.version) for _, at in await store.why(projection, *key)]


async def test_a_row_keyed_by_its_stream_is_made_by_the_streams_events(tmp_path: Path) -> None:
    async with opened(tmp_path, Accounts) as store:
        await fill(store, accounts=3, deposits=2)
        await store.execute(Account, "1", Close())
        await caught_up(store, Accounts)

        assert await made(store, Accounts, "1") == [("account-1", version) for version in (1, 2, 3, 4)]
        assert await made(store, Accounts, "99") == []


async def test_a_row_that_streams_of_several_partitions_share_is_made_by_all_of_them(tmp_path: Path) -> None:
    store = EventStore(
        MemoryLog(), aggregates=[Account], projections=[Owners], query_store=str(tmp_path / "r.db"), settings=Settings()
    )
    async with store:
        await fill(store, accounts=9, deposits=1)
        await caught_up(store, Owners)
        read: list[tuple[int, int]] = []
        events = await store.why(Owners, "owner-1", on_read=lambda done, total: read.append((done, total)))

    assert len({at.partition for _, at in events}) > 1
    assert [str(at.stream) for _, at in events] == ["account-1", "account-4", "account-7"] * 2
    assert [type(event) for event, _ in events] == [Opened] * 3 + [Deposited] * 3
    assert read[-1][0] == read[-1][1] > 0


async def test_what_was_not_processed_yet_has_not_made_the_row(tmp_path: Path) -> None:
    async with opened(tmp_path, Accounts, Owners) as store:
        await fill(store, accounts=1, deposits=1)
        await caught_up(store, Accounts)
        await caught_up(store, Owners)
    async with opened(tmp_path, Accounts, Owners, workers=False) as store:
        await store.execute(Account, "0", Deposit(amount=1))

        assert (
            await made(store, Accounts, "0")
            == await made(store, Owners, "owner-0")
            == [
                ("account-0", 1),
                ("account-0", 2),
            ]
        )


async def test_parked_and_erased_events_and_those_without_a_key_made_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path, Monthly) as store:
        await store.execute(Account, "1", Open(owner="ann"))
        for amount in (10, 13, 7, 11, 12, 20):
            await store.execute(Account, "1", Deposit(amount=amount))
        await caught_up(store, Monthly)
        await store.erase(Account, "1", 5)

        assert await made(store, Monthly, "1", 1) == [("account-1", 2), ("account-1", 6)]
        assert await made(store, Monthly, "1", 2) == [("account-1", 7)]


async def test_a_key_of_another_length_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path, Monthly, workers=False) as store:
        with pytest.raises(ConfigurationError, match="monthly v1 is keyed by account, month: give 2, not 1"):
            await store.why(Monthly, "1")
