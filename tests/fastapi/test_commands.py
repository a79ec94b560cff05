"""Commands over HTTP."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID, uuid4

import pytest
from fastapi import FastAPI

from eventstore import ConfigurationError, EventStore
from eventstore.fastapi import Rules, command_router, install, lifespan
from eventstore.testing.faults import FaultyLog
from eventstore.testing.memory import MemoryLog
from examples.task_domain.aggregates import Task
from examples.task_domain.commands import AssignTask, CreateTask, EndDay
from tests.fastapi.serving import Service, application, asked, on_a_file, store_on


async def test_a_command_is_answered_with_its_version_events_and_position(service: Service) -> None:
    answer = await service.create("1")

    assert (answer.status_code, answer.headers["location"], answer.headers["etag"]) == (201, "/tasks/1", '"1"')
    told = answer.json()
    assert [event["event_type"] for event in told["events"]] == ["task.created"]
    assert (told["version"], told["position"]) == (1, answer.headers["eventstore-position"])
    ((_, at),) = await service.store.history(Task, "1")
    assert (str(at.event_id), str(at.command_id)) == (told["events"][0]["event_id"], told["command_id"])


async def test_a_command_on_what_exists_is_answered_with_200(service: Service) -> None:
    await service.create("1")
    answer = await service.command("1", "assign-task", {"assignee": "ann"})
    assert (answer.status_code, answer.json()["version"], answer.headers["etag"]) == (200, 2, '"2"')


async def test_a_command_without_fields_needs_no_body(service: Service) -> None:
    await service.create("1")
    answer = await service.client.post("/tasks/1/commands/complete-task")
    assert answer.status_code == 200


async def test_a_rejected_command_says_why_and_with_which_code(service: Service) -> None:
    answer = await service.command("1", "complete-task")

    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    problem = answer.json()
    assert (problem["type"], problem["code"]) == ("urn:eventstore:command-rejected", "unknown")
    assert problem["detail"] == "there is no such task"


async def test_the_state_has_its_version_as_etag(service: Service) -> None:
    await service.create("1", "write")

    answer = await service.client.get("/tasks/1")
    assert (answer.status_code, answer.headers["etag"], answer.json()["title"]) == (200, '"1"', "write")
    unchanged = await service.client.get("/tasks/1", headers={"If-None-Match": 'W/"1"'})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    await service.command("1", "complete-task")
    changed = await service.client.get("/tasks/1", headers={"If-None-Match": '"1"'})
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')


async def test_what_does_not_exist_is_not_found(service: Service) -> None:
    assert (await service.client.get("/tasks/1")).status_code == 404


async def test_a_version_to_match_decides(service: Service) -> None:
    for number, (condition, status) in enumerate(
        {
            '"1"': 200,
            '"2"': 412,
            'W/"1"': 412,
            '"7", "1"': 200,
            '"7", "8"': 412,
            "*": 200,
            '"of-another-service"': 412,
            '"99999999999999999999"': 412,
            "1": 400,
            '"1': 400,
        }.items()
    ):
        task = f"t{number}"
        await service.create(task)
        assert (await service.command(task, "complete-task", If_Match=condition)).status_code == status, condition
        assert (await service.store.load(Task, task)).done is (status == 200)


async def test_any_version_to_match_needs_one(service: Service) -> None:
    assert (await service.create("1", If_Match="*")).status_code == 412
    assert not (await service.store.load(Task, "1")).exists


async def test_only_what_is_new_is_created(service: Service) -> None:
    assert (await service.create("1", If_None_Match="*")).status_code == 201
    again = await service.command("1", "complete-task", If_None_Match="*")
    assert (again.status_code, again.json()["actual_version"]) == (412, 1)
    assert (await service.command("1", "complete-task", If_None_Match='"1"')).status_code == 400
    assert (await service.command("1", "complete-task", If_None_Match="*", If_Match="*")).status_code == 400


async def test_a_version_can_be_required(tmp_path: Path) -> None:
    async with asked(application(on_a_file(tmp_path), Rules(version_required=True))) as service:
        assert (await service.create("1")).status_code == 428
        assert (await service.create("1", If_None_Match="*")).status_code == 201


async def test_a_repeated_key_gives_the_first_outcome_again(service: Service) -> None:
    first = await service.create("1", Idempotency_Key="order-7")
    await service.command("1", "complete-task")
    again = await service.create("1", Idempotency_Key='"order-7"')

    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert (await service.store.load(Task, "1")).version == 2


async def test_a_key_that_is_a_uuid_is_the_command_id(service: Service) -> None:
    key = uuid4()
    answer = await service.create("1", Idempotency_Key=str(key))
    assert UUID(answer.json()["command_id"]) == key


async def test_a_repeat_with_the_version_that_was_matched_is_no_conflict(service: Service) -> None:
    await service.create("1")
    sent = {"Idempotency_Key": "k", "If_Match": '"1"'}
    first = await service.command("1", "complete-task", **sent)
    again = await service.command("1", "complete-task", **sent)
    assert (first.status_code, again.status_code, again.json()) == (200, 200, first.json())


@pytest.mark.parametrize(
    ("command", "body"), [("create-task", {"title": "another"}), ("update-task", {"title": "write"})]
)
async def test_a_key_that_was_used_for_something_else_is_refused(service: Service, command: str, body: object) -> None:
    await service.create("1", "write", Idempotency_Key="k")
    answer = await service.command("1", command, body, Idempotency_Key="k")
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:eventstore:key-reused")
    assert (await service.store.load(Task, "1")).version == 1


async def test_the_same_text_as_key_is_another_command_for_another_stream(service: Service) -> None:
    for task in ("1", "2"):
        assert (await service.create(task, Idempotency_Key="k")).status_code == 201


async def test_the_same_uuid_for_another_stream_is_refused(service: Service) -> None:
    key = str(uuid4())
    await service.create("1", Idempotency_Key=key)
    assert (await service.create("2", Idempotency_Key=key)).status_code == 400


async def test_a_malformed_key_is_refused(service: Service) -> None:
    for key in ("", "x" * 256, '"', "a\tb", "a b"):
        assert (await service.create("1", Idempotency_Key=key)).status_code == 400, key


async def test_a_key_can_be_required(tmp_path: Path) -> None:
    async with asked(application(on_a_file(tmp_path), Rules(key_required=True))) as service:
        assert (await service.create("1")).status_code == 400
        assert (await service.create("1", Idempotency_Key="k")).status_code == 201


async def test_an_unknown_outcome_has_a_link_that_tells_it_later(tmp_path: Path) -> None:
    log = FaultyLog(MemoryLog())
    async with asked(application(lambda: store_on(log, tmp_path))) as service:
        log.fail("commit", "lose answer")
        answer = await service.create("1")
        assert (answer.status_code, answer.json()["type"]) == (202, "urn:eventstore:outcome-unknown")
        told = await service.client.get(answer.headers["location"])
        assert (told.status_code, told.json()["version"]) == (200, 1)
        assert told.json()["events"][0]["event_type"] == "task.created"


async def test_an_unknown_outcome_is_learnt_by_repeating_it_as_well(tmp_path: Path) -> None:
    log = FaultyLog(MemoryLog())
    async with asked(application(lambda: store_on(log, tmp_path))) as service:
        log.fail("commit", "lose answer")
        assert (await service.create("1", Idempotency_Key="k")).status_code == 202
        assert (await service.create("1", Idempotency_Key="k")).status_code == 201
        assert (await service.store.load(Task, "1")).version == 1


async def test_a_command_that_was_never_written_is_not_found(service: Service) -> None:
    await service.create("1")
    answer = await service.client.get(f"/tasks/1/commands/{uuid4()}")
    assert (answer.status_code, answer.headers["retry-after"]) == (404, "1")


async def test_a_command_of_another_stream_is_not_told(service: Service) -> None:
    other = (await service.create("1")).json()["command_id"]
    assert (await service.client.get(f"/tasks/2/commands/{other}")).status_code == 404


async def test_nothing_written_is_answered_with_when_to_try_again(tmp_path: Path) -> None:
    log = FaultyLog(MemoryLog())
    async with asked(application(lambda: store_on(log, tmp_path))) as service:
        log.fail("commit", "refuse")
        answer = await service.create("1")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert not (await service.store.load(Task, "1")).exists


async def test_only_chosen_commands_are_endpoints() -> None:
    router = command_router(Task, prefix="/jobs", commands=[CreateTask, AssignTask])
    posted = {route.path for route in router.routes if "POST" in getattr(route, "methods", ())}  # type: ignore[attr-defined]
    assert posted == {"/jobs/{aggregate_id}/commands/create-task", "/jobs/{aggregate_id}/commands/assign-task"}


async def test_a_command_that_the_aggregate_does_not_decide_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="EndDay"):
        command_router(Task, commands=[EndDay])


async def test_the_description_has_the_domains_words(service: Service) -> None:
    described = (await service.client.get("/openapi.json")).json()
    create = described["paths"]["/tasks/{aggregate_id}/commands/create-task"]["post"]
    assert (create["summary"], create["operationId"]) == ("Create task", "create_task")
    assert create["description"] == CreateTask.__doc__
    assert {"202", "409", "412", "422", "503"} <= create["responses"].keys()


async def test_without_a_lifespan_nothing_is_served_and_nothing_is_told(tmp_path: Path) -> None:
    app = FastAPI()
    install(app)
    app.include_router(command_router(Task))
    import httpx

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        answer = await client.get("/tasks/1")
    assert (answer.status_code, answer.json()["title"]) == (500, "The service failed")


async def test_a_lifespan_composes_with_others(tmp_path: Path) -> None:
    from contextlib import asynccontextmanager

    closed: list[str] = []

    @asynccontextmanager
    async def both(app: FastAPI):
        async with lifespan(on_a_file(tmp_path))(app) as state:
            yield {**state, "other": 1}
        closed.append("store")

    app = FastAPI(lifespan=both)
    app.include_router(command_router(Task))
    async with asked(app) as service:
        assert (await service.create("1")).status_code == 201
    assert closed == ["store"]


async def test_chosen_read_models_are_kept_by_this_process(tmp_path: Path) -> None:
    from examples.task_domain.read_models import TaskBoard, Workload

    def make() -> EventStore:
        return on_a_file(tmp_path)()

    app = FastAPI(lifespan=lifespan(make, projections=[TaskBoard]))
    app.include_router(command_router(Task))
    async with asked(app) as service:
        token = (await service.store.execute(Task, "1", CreateTask(title="a"))).token
        await service.store.execute(Task, "1", AssignTask(assignee="ann"))
        assert await service.store.wait_for(TaskBoard, token)
        assert not await service.store.wait_for(Workload, token, timeout=0.1, stale="allow")
