"""Server-sent events: complete, in order, resumable, and bounded."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from eventstore.fastapi import feed
from eventstore.testing.memory import MemoryLog
from examples.task_domain.aggregates import Task
from examples.task_domain.commands import AssignTask, CreateTask, DeleteTask, UpdateTask
from tests.fastapi.serving import (
    Service,
    application,
    asked,
    listening_to,
    running,
    several_partitions,
    store_on,
    taken,
)


async def test_a_stream_is_sent_from_its_beginning_and_then_live(running_service: Service) -> None:
    await running_service.create("1", "a\nb")
    async with listening_to(running_service, "/events/task/1") as messages:
        (created,) = await taken(messages, 1)
        await running_service.create("2")
        await running_service.command("1", "complete-task")
        (completed,) = await taken(messages, 1)

    assert (created.event, created.id, created.data["data"]["title"]) == ("task.created", "1", "a\nb")
    assert (completed.event, completed.id, completed.data["version"]) == ("task.completed", "2", 2)


async def test_a_stream_goes_on_behind_the_last_event(running_service: Service) -> None:
    await running_service.create("1")
    await running_service.command("1", "complete-task")
    async with listening_to(running_service, "/events/task/1", "1") as messages:
        assert [message.id for message in await taken(messages, 1)] == ["2"]


async def test_an_erased_event_is_passed_over(running_service: Service) -> None:
    await running_service.create("1")
    await running_service.command("1", "complete-task")
    await running_service.store.erase(Task, "1", 1)
    async with listening_to(running_service, "/events/task/1") as messages:
        assert [message.id for message in await taken(messages, 1)] == ["2"]


async def test_all_streams_of_a_category_are_resumed_without_gap_or_repeat(tmp_path: Path) -> None:
    async with running(application(several_partitions(tmp_path))) as service:
        seen: list[str] = []
        last: str | None = None
        async with listening_to(service, "/events/task") as messages:
            for number in range(5):
                await service.create(f"a{number}")
            for message in await taken(messages, 3):
                seen.append(message.data["stream"])
                last = message.id
        for number in range(20):
            await service.create(f"b{number}")
        async with listening_to(service, "/events/task", last) as messages:
            for number in range(5):
                await service.create(f"c{number}")
            seen += [message.data["stream"] for message in await taken(messages, 27)]
    assert sorted(seen) == sorted(
        f"task-{name}{n}" for name, count in (("a", 5), ("b", 20), ("c", 5)) for n in range(count)
    )


async def test_a_client_that_was_away_while_thousands_came_misses_none(tmp_path: Path) -> None:
    async with running(application(several_partitions(tmp_path))) as service:
        start = str(await service.store.present())
        await asyncio.gather(*(service.store.execute(Task, f"t{n}", CreateTask(title="x")) for n in range(2_000)))
        async with listening_to(service, "/events/task", start or None) as messages:
            streams = [message.data["stream"] for message in await taken(messages, 2_000)]
    assert len(set(streams)) == 2_000


async def test_changes_of_a_read_model_are_the_rows_as_they_stand(running_service: Service) -> None:
    async with listening_to(running_service, "/changes/task-board") as messages:
        await running_service.create("1", "write")
        (created,) = await taken(messages, 1)
        await running_service.command("1", "delete-task")
        (deleted,) = await taken(messages, 1)

    assert (created.event, created.data["key"], created.data["row"]["title"]) == ("changed", {"task_id": "1"}, "write")
    assert (deleted.data["key"], deleted.data["row"]) == ({"task_id": "1"}, None)


async def test_a_client_that_applies_changes_ends_with_what_is_there(tmp_path: Path) -> None:
    async with running(application(several_partitions(tmp_path))) as service:
        rows: dict[str, object] = {}
        last: str | None = None
        for turn in range(4):
            async with listening_to(service, "/changes/task-board", last) as messages:
                for number in range(10):
                    await change(service, turn, number)
                # Cut in the middle of what comes: the rest is made up for next time.
                for message in await taken(messages, 3 + turn):
                    rows[message.data["key"]["task_id"]] = message.data["row"]
                    last = message.id or last
        end = {"Eventstore-Position": str(await service.store.present())}
        there = {row["task_id"]: row for row in (await service.client.get("/task-board", headers=end)).json()["items"]}
        async with listening_to(service, "/changes/task-board", last) as messages:
            while {key: row for key, row in rows.items() if row} != there:
                (message,) = await taken(messages, 1)
                rows[message.data["key"]["task_id"]] = message.data["row"]


async def change(service: Service, turn: int, number: int) -> None:
    command = [CreateTask(title="a"), AssignTask(assignee="ann"), UpdateTask(title="b"), DeleteTask()][turn]
    if turn < 3 or number % 2:
        await service.store.execute(Task, f"t{number}", command)


async def test_a_forged_event_id_is_refused(service: Service) -> None:
    await service.create("1")
    for path, forged in (
        ("/events/task/1", "x"),
        ("/events/task/1", "-1"),
        ("/events/task/1", "9" * 40),
        ("/events/task", "0@999999"),
        ("/events/task", "nothing"),
        ("/changes/task-board", "1@1"),
        ("/changes/task-board", "0@1" * 5_000),
    ):
        answer = await service.client.get(path, headers={"Last-Event-ID": forged})
        assert answer.status_code in {400, 422}, (path, forged)


async def test_a_slow_client_is_cut_off_and_the_others_are_not(
    running_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "QUEUE", 5)
    service = running_service
    large = "x" * 90_000
    async with service.client.stream("GET", "/events/task") as slow, listening_to(service, "/events/task") as quick:
        for number in range(60):
            await service.create(f"t{number}", large)
            await taken(quick, 1)
        # It had not taken anything: what was on its way is still there, then its connection ends.
        received = sum([len(chunk) async for chunk in slow.aiter_raw()])
    assert received < 60 * len(large)


async def test_streams_end_when_the_service_does(tmp_path: Path) -> None:
    async with AsyncExitStack() as clients, running(application(several_partitions(tmp_path))) as service:
        streams = [
            await clients.enter_async_context(service.client.stream("GET", path))
            for path in ("/events/task", "/events/task/1", "/changes/task-board")
        ]
        service.edge.end_streams()
        async with asyncio.timeout(2):
            for stream in streams:
                assert "event: begin" in (await stream.aread()).decode()
        refused = await service.client.get("/events/task")
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:eventstore:closing")


async def test_a_thousand_idle_streams_share_one_follower_and_no_threads(tmp_path: Path) -> None:
    log = MemoryLog(partitions=3)
    async with asked(application(lambda: store_on(log, tmp_path))) as service:
        before = threading.active_count()
        memory = resident()
        tasks, opened = [], [asyncio.Event() for _ in range(1_000)]
        for number, event in enumerate(opened):
            path = ("/events/task", "/events/task/1", "/changes/task-board")[number % 3]
            tasks.append(asyncio.create_task(idle(service, path, event)))
        for event in opened:
            await event.wait()
        held = resident() - memory
        await service.create("1")
        assert threading.active_count() <= before + 4
        assert len([task for task in asyncio.all_tasks() if task.get_name().startswith("eventstore-feed")]) == 3
        assert held < 1_000 * 60_000, held
        service.edge.end_streams()
        await asyncio.gather(*tasks)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def idle(service: Service, path: str, opened: asyncio.Event) -> None:
    """A client that is sent what there is, on the server's side of its connection."""
    edge = service.edge

    async def receive() -> dict[str, object]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: dict[str, object]) -> None:
        if message["type"] == "http.response.body":
            opened.set()

    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": [(b"host", b"service")], "server": ("service", 80), "client": None, "state": {"eventstore": edge},
    }  # fmt: skip
    await service.app(scope, receive, send)  # type: ignore[arg-type]
