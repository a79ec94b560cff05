"""The service: commands, reads, live changes and health of the task domain, and the page that uses them."""

import gc
import sys
from collections.abc import Callable
from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eventstore import Command, EventStore
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
from examples.task_domain.aggregates import Task
from examples.task_domain.app import store as task_store
from examples.task_domain.commands import AssignTask, CompleteTask, CreateTask, DeleteTask, ReopenTask, UpdateTask
from examples.task_domain.read_models import TaskBoard, Workload

PAGE = Path(__file__).parent / "static"
FOR_PEOPLE: list[type[Command]] = [CreateTask, AssignTask, UpdateTask, CompleteTask, ReopenTask, DeleteTask]
HEADERS = {
    # Scripts and styles come from files of ours alone, and text can become nothing but text.
    b"content-security-policy": b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    b"img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
}


def tune() -> None:
    """Let the event loop and the threads of SQLite wait for each other less; call it when everything is imported."""
    gc.collect()
    gc.freeze()  # what is here stays, and need not be looked through again and again
    sys.setswitchinterval(0.000_2)  # seconds; SQLite's thread gives the interpreter's lock up with every statement


class SecurityHeaders:
    """Adds `HEADERS` to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *HEADERS.items()]
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


def service(store: Callable[[], EventStore] = task_store) -> FastAPI:
    """Make the service; `uvicorn --factory examples.task_service.app:service` runs it."""
    app = FastAPI(title="Tasks", version="1", lifespan=lifespan(store), docs_url=None, redoc_url=None)
    install(app)
    app.add_middleware(SecurityHeaders)
    for router in (
        command_router(Task, commands=FOR_PEOPLE, rules=Rules(cookie=True)),
        query_router(TaskBoard),
        query_router(Workload),
        event_router(Task),
        change_router(TaskBoard),
        health_router(max_lag=None),  # a board that is late is no reason to refuse commands
    ):
        app.include_router(router)
    app.mount("/", StaticFiles(directory=PAGE, html=True))
    return app
