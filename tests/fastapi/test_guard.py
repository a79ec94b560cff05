"""What stands before the endpoints: large and hostile requests, and clients that take nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fastapi import FastAPI

from eventstore import ConfigurationError
from eventstore.fastapi import event_router, install, lifespan
from eventstore.fastapi.feed import QUEUE
from examples.task_domain.aggregates import Task
from examples.task_domain.commands import CreateTask
from tests.fastapi.serving import Service, on_a_file, running

JSON = {"Content-Type": "application/json"}
CREATE = "/tasks/1/commands/create-task"


async def test_a_body_that_is_too_large_is_refused_before_it_is_sent(running_service: Service) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", running_service.client.base_url.port)
    writer.write(f"POST {CREATE} HTTP/1.1\r\nhost: s\r\ncontent-length: 999999999\r\n\r\n".encode())
    async with asyncio.timeout(5):
        answer = await reader.readuntil(b"}")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"application/problem+json" in answer
    writer.close()


async def test_a_body_without_a_length_is_refused_when_it_gets_too_large(running_service: Service) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield b'{"title":"'
        for _ in range(1_000):
            sent += 10_000
            yield b"x" * 10_000

    answer = await running_service.client.post(CREATE, content=endless(), headers=JSON)
    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")
    assert not (await running_service.store.load(Task, "1")).exists


async def test_a_body_of_the_largest_size_is_taken(running_service: Service) -> None:
    frame = len(json.dumps({"title": ""}))
    content = json.dumps({"title": "x" * (100_000 - frame)})
    assert (await running_service.client.post(CREATE, content=content, headers=JSON)).status_code == 201


async def test_a_body_that_is_no_sound_json_is_refused(service: Service) -> None:
    for content in (
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe",
        b"[" * 90_000,
        b'{"a":' * 15_000 + b"1" + b"}" * 15_000,
        b'{"title":' + b"9" * 50_000 + b"}",
        b'{"title":NaN}',
        b'{"title":"a","title":1}',
        b'{"title":"\\ud800"}',
        b'{"title":"\\u0000"}',
        b'{"title":"a","due":"2026-02-30"}',
        b'{"title":"a","__proto__":{}}',
    ):
        answer = await service.client.post(CREATE, content=content, headers=JSON)
        assert (answer.status_code in {400, 422}) is True, (content[:30], answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
    assert not (await service.store.load(Task, "1")).exists


async def test_text_that_looks_like_an_escaped_nul_is_taken(service: Service) -> None:
    for number, title in enumerate(("\\u0000", "a\\\\u0000", "\\")):
        assert (await service.create(f"t{number}", title)).status_code == 201
        assert (await service.store.load(Task, f"t{number}")).title == title


async def test_hostile_headers_are_refused_or_passed_over(service: Service) -> None:
    await service.create("1")
    for name, value in (
        ("If-Match", b'"1"' + b",\xff" * 5),
        ("If-Match", b'"' + b"9" * 60_000 + b'"'),
        ("If-None-Match", b"\xc3\xa9"),
        ("Idempotency-Key", b"\xe2\x82\xac"),
        ("Idempotency-Key", b"x" * 60_000),
    ):
        answer = await service.client.post("/tasks/1/commands/complete-task", headers=[(name.encode(), value)])
        assert answer.status_code in {400, 412}, (name, value[:20], answer.text)
    for name, value in (
        ("Eventstore-Position", b"\xff\xfe"),
        ("Eventstore-Position", "0@\N{ARABIC-INDIC DIGIT ONE}".encode()),
        ("Cookie", b"eventstore-position=\xff"),
        ("Cookie", b"eventstore-position=" + b"0@1|" * 20_000),
    ):
        answer = await service.client.get("/task-board", headers=[(name.encode(), value)])
        assert answer.status_code == 400, (name, value[:20], answer.text)
    for value in (b"wait=-1", b"wait=99999999999999999999", b"wait=1e9", b"wait=\xff", b"wait"):
        assert (await service.client.get("/task-board", headers=[(b"Prefer", value)])).status_code == 200
    assert not (await service.store.load(Task, "1")).done


async def test_a_nul_in_a_path_or_query_is_refused(service: Service) -> None:
    for path in ("/task-board/%00", "/task-board?title=%00", "/tasks/%00"):
        assert (await service.client.get(path)).status_code == 400


async def test_a_client_that_takes_nothing_is_let_go(tmp_path: Path) -> None:
    app = FastAPI(lifespan=lifespan(on_a_file(tmp_path)))
    install(app, send_seconds=0.3)
    app.include_router(event_router(Task))
    async with running(app) as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.client.base_url.port, limit=1_000)
        writer.write(b"GET /events/task HTTP/1.1\r\nhost: s\r\n\r\n")
        await reader.readuntil(b"begin")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        large = "x" * 100_000
        async with asyncio.timeout(15):
            number = 0
            while service.edge.feed.listeners:
                number += 1
                assert number < QUEUE, "its queue overflowed first"
                await service.store.execute(Task, f"t{number}", CreateTask(title=large))
        writer.transport.abort()


def test_limits_have_to_be_positive() -> None:
    for limits in ({"max_body": 0}, {"send_seconds": 0}):
        with pytest.raises(ConfigurationError, match="more than 0"):
            install(FastAPI(), **limits)  # type: ignore[arg-type]
