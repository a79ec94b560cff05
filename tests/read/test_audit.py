"""Audits: a skip and a double are found, and where they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from eventstore import EventStore, Settings, SqliteLog
from eventstore.ports import EventLog
from eventstore.read.audit import AuditResult
from eventstore.testing.memory import MemoryLog
from tests.read.planted import reading_wrongly
from tests.read.shop import Account, Accounts, Owners, caught_up, fill

SKIP = {"account-3 version 2": 0}
DOUBLE = {"account-3 version 2": 2}
SEVERAL = {"account-3 version 2": 0, "account-0 version 3": 0}


def store_on(log: EventLog, query_store: str, *, workers: bool) -> EventStore:
    return EventStore(
        log,
        aggregates=[Account],
        projections=[Accounts, Owners],
        query_store=query_store,
        settings=Settings(workers=workers),
    )


async def audited(path: Path, right: EventLog, wrong: EventLog, query_store: str) -> list[AuditResult]:
    """Have one process write, another keep read models as wrongly as it reads, and a third audit."""
    async with store_on(right, str(path / "unused.db"), workers=False) as writer:
        await fill(writer, accounts=6, deposits=2)
    if isinstance(right, MemoryLog):
        wrong.__dict__.update(right.__dict__)  # the same events, in the same memory
    async with store_on(wrong, query_store, workers=True) as worker:
        await caught_up(worker, Accounts)
        await caught_up(worker, Owners)
    async with store_on(right, query_store, workers=False) as auditor:
        return [result for result in await auditor.audit() if not result.clean]


Logs = Callable[[dict[str, int]], tuple[EventLog, EventLog]]


@pytest.fixture(params=["sqlite", "memory"])
def logs(request: pytest.FixtureRequest, tmp_path: Path) -> Logs:
    """Give a log, and the same one as a process with a defect reads it."""
    if request.param == "memory":
        return lambda times: (MemoryLog(), reading_wrongly(MemoryLog, times)())
    path = tmp_path / "log.db"
    return lambda times: (SqliteLog(path), reading_wrongly(SqliteLog, times)(path))  # type: ignore[call-arg]


@pytest.mark.parametrize(("times", "verdict"), [(SKIP, "1 events skipped"), (DOUBLE, "1 events too many")])
async def test_a_planted_skip_and_a_planted_double_are_found_with_their_place(
    tmp_path: Path, query_store: str, logs: Logs, times: dict[str, int], verdict: str
) -> None:
    results = await audited(tmp_path, *logs(times), query_store)

    assert [(result.name, result.verdict) for result in results] == [("accounts", verdict), ("owners", verdict)]
    for result in results:
        assert result.difference is not None
        assert result.difference.event is not None
        assert result.difference.event.startswith("account.deposited at account-3 version 2 (offset ")
        assert f"(offset {result.difference.offset})" in result.difference.event


async def test_several_differences_are_found_but_not_placed(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    wrong = reading_wrongly(SqliteLog, SEVERAL)(path)  # type: ignore[call-arg]
    results = await audited(tmp_path, SqliteLog(path), wrong, str(tmp_path / "read.db"))

    assert {(result.verdict, result.difference) for result in results} == {("2 events skipped", None)}
