"""Health checks say what is wrong, and only what somebody can act on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
from fastapi import FastAPI
from sqlalchemy import Column, MetaData, String, Table
from sqlalchemy.ext.asyncio import AsyncConnection

from eventstore import EventStore, Recorded, Settings, SqliteLog, SqlProjection, projects
from eventstore.fastapi import health_router, install, lifespan
from eventstore.ports.log import LogCondition
from eventstore.testing.faults import FaultyLog
from eventstore.testing.memory import MemoryLog
from examples.task_domain.aggregates import Task
from examples.task_domain.commands import CreateTask
from examples.task_domain.events import TaskCreated
from tests.fastapi.serving import Service, application, asked, store_on


async def test_a_service_that_works_is_live_and_ready(service: Service) -> None:
    await service.create("1")
    for path in ("/health/live", "/health/ready"):
        answer = await service.client.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok", "failing": []})


async def test_a_log_out_of_reach_makes_it_unready_but_not_dead(tmp_path: Path) -> None:
    log = FaultyLog(MemoryLog())
    async with asked(application(lambda: store_on(log, tmp_path, Settings(workers=False)))) as service:
        log.fail("ends", "refuse", "refuse")
        assert (await service.client.get("/health/ready")).status_code == 503
        assert (await service.client.get("/health/live")).status_code == 200


async def test_a_log_that_hangs_does_not_hang_the_checks(tmp_path: Path) -> None:
    log = FaultyLog(MemoryLog())
    async with asked(application(lambda: store_on(log, tmp_path, Settings(workers=False)))) as service:
        log.fail("ends", "hang", "hang")
        async with asyncio.timeout(10):
            assert (await service.client.get("/health/live")).status_code == 200
            assert (await service.client.get("/health/ready")).status_code == 503
        log.released.set()


async def test_a_read_model_too_far_behind_makes_it_unready(tmp_path: Path) -> None:
    store = store_on(SqliteLog(tmp_path / "t.db"), tmp_path, Settings(workers=False))
    app = FastAPI(lifespan=lifespan(store))
    install(app)
    app.include_router(health_router(max_lag=0.05))
    app.include_router(health_router(prefix="/patient", max_lag=60))
    app.include_router(health_router(prefix="/any", max_lag=None))
    async with asked(app) as service:
        await service.store.execute(Task, "1", CreateTask(title="a"))
        await asyncio.sleep(0.1)
        behind = await service.client.get("/health/ready")
        assert behind.status_code == 503
        assert [line.split(":")[0] for line in behind.json()["failing"]] == ["task_board", "workload"]
        assert (await service.client.get("/patient/ready")).status_code == 200
        assert (await service.client.get("/any/ready")).status_code == 200
        # Nobody works on it, so restarting this process would not help.
        assert (await service.client.get("/health/live")).status_code == 200


class Claiming(MemoryLog):
    """A log of which this process owns partitions, two of them not served yet."""

    @property
    def condition(self) -> LogCondition:  # type: ignore[override]
        return LogCondition({"serving": 3, "claiming": 1, "restoring": 1}, 0, 0, 0)


async def test_an_owned_partition_that_is_not_served_makes_it_unready(tmp_path: Path) -> None:
    async with asked(application(lambda: store_on(Claiming(), tmp_path))) as service:
        answer = await service.client.get("/health/ready")
        assert (answer.status_code, answer.json()["failing"]) == (503, ["2 owned partitions are not served yet"])


async def test_a_worker_that_stands_still_makes_the_process_dead(tmp_path: Path) -> None:
    released = asyncio.Event()

    class Waits(
        SqlProjection,
        name="waits",
        version=1,
        tables=[Table("waits", MetaData(), Column("id", String, primary_key=True))],
    ):
        @projects
        async def created(self, db: AsyncConnection, event: TaskCreated, at: Recorded) -> None:
            await released.wait()

    app = FastAPI(lifespan=lifespan(EventStore(SqliteLog(tmp_path / "t.db"), aggregates=[Task], projections=[Waits])))
    install(app)
    app.include_router(health_router(stalled_after=0.2))
    async with asked(app) as service:
        await service.store.execute(Task, "1", CreateTask(title="a"))
        stuck = await alive(service, 503)
        assert stuck.json()["failing"] == ["waits: its worker is stuck"]
        released.set()
        await alive(service, 200)


async def alive(service: Service, status: int) -> httpx.Response:
    async with asyncio.timeout(10):
        while (answer := await service.client.get("/health/live")).status_code != status:  # noqa: ASYNC110 - as an orchestrator asks
            await asyncio.sleep(0.05)
    return answer
