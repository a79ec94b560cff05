"""Every error has a meaning over HTTP, and none tells what is nobody's business."""

from __future__ import annotations

import importlib
import logging
import pkgutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, HTTPException

import eventstore
from eventstore.core import errors
from eventstore.core.errors import EventStoreError
from eventstore.fastapi import command_router, install, lifespan
from eventstore.fastapi.problems import MEANINGS, meaning_of
from tests.fastapi.serving import Service, application, asked

CANARY = "s3cr3t-c4n4ry"


def subclasses(kind: type[EventStoreError]) -> Iterator[type[EventStoreError]]:
    for sub in kind.__subclasses__():
        yield sub
        yield from subclasses(sub)


def test_every_error_of_the_package_has_a_meaning() -> None:
    for module in pkgutil.walk_packages(eventstore.__path__, "eventstore."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    ours = {kind for kind in subclasses(EventStoreError) if kind.__module__.startswith("eventstore.")}
    # Those of adapters never leave them, and would mean what the error means that they are a kind of.
    assert all(kind.__module__.startswith("eventstore.kafka.") for kind in ours - MEANINGS.keys())
    assert all(kind.__mro__[1] in MEANINGS for kind in ours - MEANINGS.keys())
    assert len(ours) >= 20


def test_whatever_is_retriable_says_when_and_nothing_else_does() -> None:
    for kind, meaning in MEANINGS.items():
        later = kind.retriable or kind in (errors.ProjectionFailedError, errors.StoreClosedError)
        assert (meaning.retry_after is not None) is later, kind


def test_an_error_of_the_users_own_means_what_its_base_does() -> None:
    class TooManyTasksError(errors.CommandRejectedError):
        """A rule of some domain."""

    assert meaning_of(TooManyTasksError) == MEANINGS[errors.CommandRejectedError]


def raised(error: BaseException) -> httpx.ASGITransport:
    app = FastAPI()
    install(app)

    @app.get("/{thing}")
    async def fail(thing: str) -> None:
        raise error

    return httpx.ASGITransport(app, raise_app_exceptions=False)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.OwnershipLostError(CANARY), 503),
        (errors.LogUnavailableError(CANARY), 503),
        (errors.ReadModelStaleError(CANARY), 503),
        (errors.StoreClosedError(CANARY), 503),
        (errors.ProjectionFailedError(projection="p", event="e", cause=CANARY, remedy="r"), 503),
        (errors.AppendOutcomeUnknownError(("c",), CANARY), 202),
        (errors.ConfigurationError(CANARY), 500),
        (errors.UndecodableEventError(CANARY), 500),
        (errors.CorruptLogError(CANARY), 500),
        (errors.CommandFailedError(command="C", stream="s", cause=CANARY), 500),
        (errors.UnencodableEventError(CANARY), 422),
        (errors.WrongExpectedVersionError("task-1", expected=1, actual=2), 409),
        (errors.InvalidIdError("that is no id"), 400),
        (RuntimeError(CANARY), 500),
        (HTTPException(418, "short and stout"), 418),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
async def test_an_error_is_a_problem_without_what_is_inside(error: BaseException, status: int) -> None:
    async with httpx.AsyncClient(transport=raised(error), base_url="http://service") as client:
        answer = await client.get("/thing")

    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["status"] == status
    assert CANARY not in answer.text + str(answer.headers)
    assert (answer.headers.get("retry-after") is not None) is (status in (202, 503))


async def test_an_invalid_request_says_where_and_why_but_not_what(service: Service) -> None:
    answer = await service.command("1", "create-task", {"title": 1, "due": CANARY})

    assert answer.status_code == 422
    assert [one["at"] for one in answer.json()["errors"]] == [["body", "title"], ["body", "due"]]
    assert CANARY not in answer.text


async def test_what_is_not_there_is_a_problem_too(service: Service) -> None:
    answer = await service.client.get("/nothing")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


async def test_a_secret_in_requests_and_settings_is_told_nowhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from eventstore import Aggregate, Command, Event, EventStore, SqliteLog, decides, evolves

    class Opened(Event, type="vault.opened"):
        code: str

    class Open(Command):
        code: str

    class Vault(Aggregate, category="vault"):
        tries: int = 0

        @decides
        def open(self, command: Open) -> Opened:
            if command.code == "fail":
                raise ZeroDivisionError
            return Opened(code=command.code)

        @evolves
        def opened(self, event: Opened) -> None:
            self.tries += 1

    caplog.set_level(logging.DEBUG, "eventstore")
    file = tmp_path / "vault.db"
    app = FastAPI(lifespan=lifespan(lambda: EventStore(SqliteLog(file), aggregates=[Vault])))
    install(app)
    app.include_router(command_router(Vault))
    secret = {"Authorization": f"Bearer {CANARY}", "Cookie": f"session={CANARY}"}
    answers: list[httpx.Response] = []
    async with asked(app) as service:
        for headers, body in (
            (secret, {"code": CANARY}),
            ({**secret, "Idempotency-Key": "k"}, {"code": CANARY}),
            ({**secret, "Idempotency-Key": "k"}, {"code": "other"}),
            ({**secret, "If-Match": '"9"'}, {"code": CANARY}),
            (secret, {"code": CANARY, "more": CANARY}),
            (secret, {"code": "fail"}),
            ({**secret, "Eventstore-Position": "0@1"}, {"code": CANARY + "\0"}),
        ):
            answers.append(await service.client.post("/vaults/1/commands/open", json=body, headers=headers))
    # What is stored does not fit the code any more.
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("UPDATE events SET envelope = CAST(replace(envelope, '\"code\":', '\"cod\":') AS BLOB)")
    async with asked(app) as service:
        answers.append(await service.client.get("/vaults/1"))
    assert [answer.status_code for answer in answers] == [201, 200, 422, 412, 422, 500, 422, 500]
    told = "".join(answer.text + str(answer.headers) for answer in answers) + caplog.text
    assert CANARY not in told


async def test_a_secret_in_the_address_of_the_query_store_is_told_nowhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from eventstore import EventStore, SqliteLog
    from eventstore.core.errors import StoreUnavailableError
    from examples.task_domain.aggregates import Task
    from examples.task_domain.read_models import TaskBoard

    address = f"postgresql://user:{CANARY}@127.0.0.1:1/nothing"
    store = EventStore(SqliteLog(tmp_path / "t.db"), aggregates=[Task], projections=[TaskBoard], query_store=address)
    app = FastAPI(lifespan=lifespan(store))
    with pytest.raises(StoreUnavailableError) as refused:
        async with asked(app):
            pass
    assert CANARY not in f"{refused.value}{caplog.text}"


async def test_a_log_line_names_the_route_and_no_id(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from eventstore.testing.faults import FaultyLog
    from eventstore.testing.memory import MemoryLog
    from tests.fastapi.serving import store_on

    log = FaultyLog(MemoryLog())
    async with asked(application(lambda: store_on(log, tmp_path))) as service:
        log.fail("commit", "refuse")
        await service.create(CANARY)
    assert "POST /tasks/{aggregate_id}/commands/create-task: LogUnavailableError" in caplog.text
