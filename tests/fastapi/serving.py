"""A service of the task domain for tests: asked directly, or over real connections."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import APIRouter, FastAPI

from eventstore import EventStore, Settings, SqliteLog
from eventstore.fastapi import (
    Rules,
    change_router,
    command_router,
    event_router,
    health_router,
    install,
    lifespan,
    query_router,
)
from eventstore.fastapi.serving import Edge
from eventstore.ports import EventLog
from eventstore.testing.memory import MemoryLog
from examples.task_domain.aggregates import Calendar, Task
from examples.task_domain.read_models import TaskBoard, Workload


@dataclass
class Service:
    """What a test asks."""

    app: FastAPI
    client: httpx.AsyncClient
    edge: Edge

    @property
    def store(self) -> EventStore:
        return self.edge.store

    async def create(self, task: str, title: str = "write", **headers: str) -> httpx.Response:
        return await self.command(task, "create-task", {"title": title}, **headers)

    async def command(self, task: str, name: str, body: object = None, **headers: str) -> httpx.Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(f"/tasks/{task}/commands/{name}", json=body, headers=sent)


def store_on(log: EventLog, where: Path, settings: Settings | None = None) -> EventStore:
    return EventStore(
        log,
        aggregates=[Task, Calendar],
        projections=[TaskBoard, Workload],
        query_store=where / "read.db",
        settings=settings,
    )


def application(make: Callable[[], EventStore], rules: Rules | None = None, *others: APIRouter) -> FastAPI:
    app = FastAPI(lifespan=lifespan(make))
    install(app, max_body=100_000)
    for router in (
        command_router(Task, rules=rules),
        query_router(TaskBoard),
        query_router(Workload),
        event_router(Task),
        change_router(TaskBoard),
        health_router(),
        *others,
    ):
        app.include_router(router)
    return app


@asynccontextmanager
async def asked(app: FastAPI) -> AsyncGenerator[Service]:
    """Ask an application without a server; defects come back as the answers that a client would get."""
    async with app.router.lifespan_context(app) as state:
        assert state is not None

        async def with_state(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "state": dict(state)}, receive, send)

        transport = httpx.ASGITransport(with_state, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            yield Service(app, client, state["eventstore"])


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield  # the tests' own are left alone


@asynccontextmanager
async def running(app: FastAPI) -> AsyncGenerator[Service]:
    """Ask an application over real connections."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        server = _Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=3))
        serving = asyncio.create_task(server.serve([listening]))
        try:
            while not server.started:
                assert not serving.done()
                await asyncio.sleep(0.005)
            edge: Edge = server.lifespan.state["eventstore"]  # type: ignore[union-attr]
            limits = httpx.Limits(max_connections=None)
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=10) as client:
                yield Service(app, client, edge)
                edge.end_streams()
        finally:
            server.should_exit = True
            await serving


@dataclass
class Message:
    """A server-sent event."""

    event: str
    data: Any
    id: str | None


@asynccontextmanager
async def listening_to(
    service: Service, path: str, last_event_id: str | None = None
) -> AsyncGenerator[AsyncIterator[Message]]:
    """Open a stream of events; the first message has been taken."""
    headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
    async with service.client.stream("GET", path, headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        async with aclosing(_messages(response)) as messages:
            assert (await anext(messages)).event == "begin"
            yield messages


async def _messages(response: httpx.Response) -> AsyncGenerator[Message]:
    fields: dict[str, str] = {}
    async for line in response.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            yield Message(fields.get("event", "message"), json.loads(fields["data"]), fields.get("id"))
            fields = {}


async def taken(messages: AsyncIterator[Message], count: int) -> list[Message]:
    return [await anext(messages) for _ in range(count)]


def several_partitions(where: Path, log: MemoryLog | None = None) -> Callable[[], EventStore]:
    kept = log or MemoryLog(partitions=3)
    return lambda: store_on(kept, where)


def on_a_file(where: Path) -> Callable[[], EventStore]:
    return lambda: store_on(SqliteLog(where / "tasks.db"), where)
