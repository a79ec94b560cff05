"""What operators can get wrong, databases that fail, and SQL handlers."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, ForeignKey, Integer, MetaData, String, Table, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from eventstore import (
    Aggregate,
    ConfigurationError,
    EventStore,
    OnError,
    Projection,
    ProjectionFailedError,
    ReadModelStaleError,
    RebuildOptions,
    Recorded,
    Settings,
    SqliteLog,
    SqlProjection,
    projects,
)
from eventstore.core.errors import LogUnavailableError, OwnershipLostError, StoreClosedError, StoreUnavailableError
from eventstore.core.streams import StreamId
from eventstore.testing.faults import FaultyLog
from eventstore.testing.memory import MemoryLog
from tests.read.shop import (
    Account,
    AccountRow,
    Accounts,
    Deposit,
    Deposited,
    Open,
    Opened,
    OwnerRow,
    Owners,
    caught_up,
    fill,
    opened,
)

totals = Table(
    "totals", MetaData(), Column("owner", String, primary_key=True), Column("total", Integer, nullable=False)
)


class Totals(SqlProjection, name="totals_by_sql", version=1, tables=[totals]):
    @projects
    async def opened(self, db: AsyncConnection, event: Opened, at: Recorded) -> None:
        table = self.tables["totals"]
        if (await db.execute(select(table).where(table.c.owner == event.owner))).first() is None:
            await db.execute(insert(table).values(owner=event.owner, total=0))

    @projects
    async def deposited(self, db: AsyncConnection, event: Deposited, at: Recorded) -> None:
        table = self.tables["totals"]
        await db.execute(update(table).where(table.c.owner == event.owner).values(total=table.c.total + event.amount))


def rows_in(path: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(path / "log.read.db")) as db:
        return db.execute(statement).fetchall()


async def test_sql_handlers_write_in_the_transaction_that_moves_the_position(tmp_path: Path) -> None:
    async with opened(tmp_path, Totals) as store:
        await fill(store, accounts=6, deposits=3)
        await caught_up(store, Totals)
        assert all(result.clean for result in await store.audit())
    assert rows_in(tmp_path, "SELECT * FROM totals ORDER BY 1") == [("owner-0", 12), ("owner-1", 12), ("owner-2", 12)]


async def test_an_sql_handler_that_fails_leaves_nothing_of_its_event(tmp_path: Path) -> None:
    class Failing(SqlProjection, name="failing", tables=[totals]):
        @projects
        async def opened(self, db: AsyncConnection, event: Opened, at: Recorded) -> None:
            await db.execute(insert(self.tables["totals"]).values(owner=at.stream.id, total=0))
            if at.stream.id == "2":
                raise ValueError

    async with opened(tmp_path, Failing) as store:
        await fill(store, accounts=4, deposits=0)
        with pytest.raises(ProjectionFailedError, match="account-2"):
            await caught_up(store, Failing)
    assert rows_in(tmp_path, "SELECT owner FROM totals ORDER BY 1") == [("0",), ("1",)]


async def test_a_version_of_an_sql_projection_is_rebuilt_and_compared(tmp_path: Path) -> None:
    class NewTotals(SqlProjection, name="totals_by_sql", version=2, tables=[totals]):
        @projects
        async def opened(self, db: AsyncConnection, event: Opened, at: Recorded) -> None:
            table = self.tables["totals"]
            if (await db.execute(select(table).where(table.c.owner == event.owner))).first() is None:
                await db.execute(insert(table).values(owner=event.owner, total=1))

    async with opened(tmp_path, Totals) as store:
        await fill(store, accounts=3, deposits=0)
        await caught_up(store, Totals)
    async with opened(tmp_path, NewTotals) as store:
        result = await store.rebuild(NewTotals, RebuildOptions(expected=frozenset({"changed:total"})))
    assert (result.switched, result.comparisons["totals"].counts) == (True, {"changed:total": 3})
    assert rows_in(tmp_path, "SELECT sum(total) FROM totals") == [(3,)]


def sql_projection(**arguments: Any) -> None:
    class Some(SqlProjection, **arguments):
        @projects
        async def opened(self, db: AsyncConnection, event: Opened, at: Recorded) -> None:
            pass


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"name": "some"}, "list its tables"),
        ({"name": "some", "tables": [Table("keyless", MetaData(), Column("a", Integer))]}, "a primary key"),
        ({"name": "some", "tables": [Table("a b", MetaData(), Column("a", Integer, primary_key=True))]}, "name table"),
        (
            {"name": "some", "tables": [Table("t", MetaData(), Column("a", ForeignKey("x.y"), primary_key=True))]},
            "has a foreign key",
        ),
    ],
)
def test_an_sql_projection_that_cannot_work_is_refused_at_import(arguments: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        sql_projection(**arguments)


async def test_another_key_cannot_be_compared_unless_that_is_expected(tmp_path: Path) -> None:
    class ByOwner(Projection[OwnerRow], name="accounts", version=2, key="owner"):
        @projects(key="owner")
        def opened(self, row: OwnerRow | None, event: Opened, at: Recorded) -> OwnerRow:
            return OwnerRow(owner=event.owner)

    async with opened(tmp_path, Accounts) as store:
        await fill(store, accounts=5, deposits=0)
        await caught_up(store, Accounts)
    async with opened(tmp_path, ByOwner) as store:
        refused = await store.rebuild(ByOwner)
        accepted = await store.rebuild(ByOwner, RebuildOptions(expected=frozenset({"keys"})))
    found = refused.comparisons["accounts"]
    assert (refused.switched, found.comparable, found.old_rows, found.new_rows) == (False, False, 5, 3)
    assert accepted.switched


async def test_every_event_is_processed_once_over_several_partitions_with_gaps(tmp_path: Path) -> None:
    log = MemoryLog(partitions=4)
    store = EventStore(
        log, aggregates=[Account], projections=[Accounts, Owners], query_store=tmp_path / "read.db",
        settings=Settings(batch_size=7),
    )  # fmt: skip
    async with store:
        await fill(store, accounts=20, deposits=4)
        for projection in (Accounts, Owners):
            await caught_up(store, projection)
        results = await store.audit()
        rows = await store.read_model(Owners).all()
        preview = await store.preview(Owners)
        plan = await store.dead_letters.list()
    assert (len(results), all(result.clean for result in results), plan) == (8, True, [])
    assert {(row.owner,): row for row in rows} == preview
    assert sum(row.total for row in rows) == 200


async def test_an_audit_tells_skipped_doubled_and_other_events_apart(tmp_path: Path) -> None:
    async with opened(tmp_path, Accounts) as store:
        await fill(store, accounts=3, deposits=1)
        await caught_up(store, Accounts)
    verdicts = []
    for change in ("event_count = event_count - 2", "event_count = event_count + 3", "event_hash = zeroblob(16)"):
        with closing(sqlite3.connect(tmp_path / "log.read.db")) as db, db:
            db.execute(f"UPDATE eventstore_checkpoints SET {change}")
        async with opened(tmp_path, Accounts, workers=False) as store:
            verdicts += [result.verdict for result in await store.audit(Accounts)]
    assert verdicts == ["2 events skipped", "1 events too many", "1 events too many"]


async def test_reordered_events_are_found_by_the_hash_alone(tmp_path: Path) -> None:
    async with opened(tmp_path, Accounts) as store:
        await fill(store, accounts=3, deposits=1)
        await caught_up(store, Accounts)
    with closing(sqlite3.connect(tmp_path / "log.read.db")) as db, db:
        db.execute("UPDATE eventstore_checkpoints SET event_hash = zeroblob(16)")
    async with opened(tmp_path, Accounts, workers=False) as store:
        (result,) = await store.audit()
    assert (result.clean, result.verdict) == (False, "other events, or another order")


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda store: store.dead_letters.park("accounts"), "accounts v1 is not halted: there is nothing to park"),
        (lambda store: store.dead_letters.park("accounts", "0"), "is not halted in partition 0"),
        (lambda store: store.dead_letters.park("nothing"), "there is no read model or process manager 'nothing'"),
        (lambda store: store.dead_letters.retry(7), "there is no dead letter 7"),
        (lambda store: store.dead_letters.discard(7), "there is no dead letter 7"),
        (lambda store: store.query_side.audit("nothing"), "there is no read model or process manager 'nothing'"),
        (lambda store: store.query_side.roll_back("accounts"), "has no earlier version to roll back to"),
        (lambda store: store.query_side.drop("accounts", 9), "accounts v9 is not known"),
        (lambda store: store.preview(Accounts, at=3), "at=3 is a version, which only a single stream has"),
    ],
)
async def test_a_wrong_request_gets_a_clear_error(tmp_path: Path, act: Any, said: str) -> None:
    async with opened(tmp_path, Accounts) as store:
        with pytest.raises(ConfigurationError, match=said):
            await act(store)


async def test_a_store_without_read_models_says_so(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        with pytest.raises(ConfigurationError, match="has no read models: pass projections"):
            await store.audit()
        with pytest.raises(StoreClosedError):
            store.read_model(Accounts)
    with pytest.raises(StoreClosedError, match="async with"):
        await store.audit()


async def test_a_letter_of_an_older_version_is_not_retried_by_newer_code(tmp_path: Path) -> None:
    class Parks(Projection[AccountRow], name="parks", version=1, key="account", on_error=OnError.dead_letter()):
        @projects
        def opened(self, row: AccountRow | None, event: Opened, at: Recorded) -> AccountRow:
            raise ValueError

    class ParksNot(Projection[AccountRow], name="parks", version=2, key="account"):
        @projects
        def opened(self, row: AccountRow | None, event: Opened, at: Recorded) -> AccountRow:
            return AccountRow(account=at.stream.id, owner=event.owner)

    async with opened(tmp_path, Parks) as store:
        await fill(store, accounts=1, deposits=0)
        await caught_up(store, Parks)
    async with opened(tmp_path, ParksNot) as store:
        with pytest.raises(ConfigurationError, match="belongs to parks v1 and this code is v2"):
            await store.dead_letters.retry(1)


async def test_two_who_discard_the_same_letter_do_not_both_succeed(tmp_path: Path) -> None:
    class Parks(Projection[AccountRow], name="parks", version=1, key="account", on_error=OnError.dead_letter()):
        @projects
        def opened(self, row: AccountRow | None, event: Opened, at: Recorded) -> AccountRow:
            raise ValueError

    async with opened(tmp_path, Parks) as store:
        await fill(store, accounts=1, deposits=0)
        await caught_up(store, Parks)
        answers = await asyncio.gather(*(store.dead_letters.discard(1) for _ in range(2)), return_exceptions=True)
    kinds = [type(answer) for answer in answers]
    assert sum(kind in (OwnershipLostError, ConfigurationError) for kind in kinds) == 1


async def test_a_preview_names_the_event_that_a_handler_cannot_fold(tmp_path: Path) -> None:
    class Failing(Projection[AccountRow], name="failing", key="account"):
        @projects
        def opened(self, row: AccountRow | None, event: Opened, at: Recorded) -> AccountRow:
            raise ValueError

    async with opened(tmp_path, Failing, workers=False) as store:
        await fill(store, accounts=1, deposits=0)
        with pytest.raises(ProjectionFailedError, match="account-0 version 1"):
            await store.preview(Failing)


async def test_a_preview_of_a_stream_as_of_a_time_counts_only_what_had_happened(tmp_path: Path) -> None:
    from tests.read.shop import Close

    async with opened(tmp_path, Accounts, workers=False) as store:
        await fill(store, accounts=1, deposits=1)
        now = datetime.now(UTC)
        await store.execute(Account, "0", Close())
        assert await store.preview(Accounts, stream=StreamId("account", "0")) == {}
        assert len(await store.preview(Accounts, stream=StreamId("account", "0"), at=now)) == 1


async def test_a_read_model_being_built_says_how_to_finish(tmp_path: Path) -> None:
    class Next(Projection[AccountRow], name="accounts", version=2, key="account"):
        @projects
        def opened(self, row: AccountRow | None, event: Opened, at: Recorded) -> AccountRow:
            return AccountRow(account=at.stream.id, owner=event.owner)

    async with opened(tmp_path, Accounts) as store:
        await fill(store, accounts=1, deposits=0)
    async with opened(tmp_path, Next) as store:
        with pytest.raises(ReadModelStaleError, match="being built; finish with: eventstore rebuild accounts"):
            await store.wait_for(Next, await store.present(), timeout=0.5)


async def test_a_worker_survives_a_log_and_a_database_that_are_away_for_a_while(tmp_path: Path) -> None:
    log = FaultyLog(SqliteLog(tmp_path / "log.db"))
    async with EventStore(log, aggregates=[Account], projections=[Accounts]) as store:
        done = await store.execute(Account, "0", Open(owner="ann"))
        await store.wait_for(Accounts, done.token)
        log.fail("read", "refuse", "refuse")
        with closing(sqlite3.connect(tmp_path / "log.read.db", isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            done = await store.execute(Account, "0", Deposit(amount=1))
            await asyncio.sleep(0.05)
            db.execute("ROLLBACK")
        await store.wait_for(Accounts, done.token, timeout=10)
        assert all(result.clean for result in await store.audit())


async def test_a_defect_in_a_worker_is_logged_and_the_worker_starts_again(tmp_path: Path, caplog: Any) -> None:
    class Odd(MemoryLog):
        failures = 1

        async def read(self, *arguments: Any, **options: Any) -> Any:
            if self.failures:
                self.failures -= 1
                raise ZeroDivisionError
            return await super().read(*arguments, **options)

    async with EventStore(
        Odd(partitions=1), aggregates=[Account], projections=[Accounts], query_store=tmp_path / "read.db"
    ) as store:
        done = await store.execute(Account, "0", Open(owner="ann"))
        await store.wait_for(Accounts, done.token, timeout=10)
    assert "a defect stopped the worker" in caplog.text


async def test_changed_code_can_be_accepted_by_its_author(tmp_path: Path) -> None:
    class Reworded(Projection[AccountRow], name="accounts", version=1, key="account"):
        @projects
        def opened(self, row: AccountRow | None, event: Opened, at: Recorded) -> AccountRow:
            name = at.stream.id
            return AccountRow(account=name, owner=event.owner)

    async with opened(tmp_path, Accounts):
        pass
    from tests.read.shop import store_of

    store = store_of(tmp_path, Reworded)
    await store.accept("accounts")
    with pytest.raises(ConfigurationError, match="there is no read model"):
        await store.accept("nothing")
    async with store:
        await fill(store, accounts=1, deposits=0)
        await caught_up(store, Reworded)


async def test_read_models_of_another_log_are_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    async with opened(tmp_path / "one", Accounts, query_store=str(tmp_path / "read.db")):
        pass
    with pytest.raises(ConfigurationError, match="holds accounts of another event log"):
        async with opened(tmp_path / "two", Accounts, query_store=str(tmp_path / "read.db")):
            pass


async def test_a_name_that_another_table_has_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "log.read.db")) as db, db:
        db.execute("CREATE TABLE accounts (x)")
    with pytest.raises(ConfigurationError, match="needs the names accounts, which other tables or views"):
        async with opened(tmp_path, Accounts):
            pass


@pytest.mark.parametrize(
    ("where", "error", "said"),
    [
        ("mysql://host/db", ConfigurationError, "cannot be kept in mysql"),
        ("sqlite://", ConfigurationError, "name a file"),
        ("://", ConfigurationError, "address cannot be read"),
        ("nowhere/read.db", ConfigurationError, "does not exist: create it first"),
        ("postgresql://user:secret@127.0.0.1:1/db", StoreUnavailableError, "opening the query store failed"),
    ],
)
async def test_a_query_store_that_cannot_be_opened_says_why_without_secrets(
    tmp_path: Path, where: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said) as raised:
        async with opened(tmp_path, Accounts, query_store=where):
            pass
    assert "secret" not in str(raised.value)


async def test_a_query_store_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "log.read.db").write_bytes(b"letters " * 1000)
    with pytest.raises(ConfigurationError, match="move it away, read models are rebuilt from the log"):
        async with opened(tmp_path, Accounts):
            pass
    assert (tmp_path / "log.read.db").read_bytes() == b"letters " * 1000


async def test_a_log_that_cannot_be_reached_leaves_nothing_open(tmp_path: Path) -> None:
    log = FaultyLog(SqliteLog(tmp_path / "log.db"))
    store = EventStore(log, aggregates=[Account], projections=[Accounts])
    log.fail("commit", "refuse")
    async with store:
        with pytest.raises(LogUnavailableError):
            await store.execute(Account, "0", Open(owner="ann"))
        assert isinstance(store.application.aggregates["account"], type(Aggregate))
