"""Reading read models over HTTP."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, date, datetime
from enum import Enum
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from fastapi import FastAPI

from eventstore import (
    Aggregate,
    Command,
    ConfigurationError,
    Event,
    EventStore,
    Projection,
    Recorded,
    Row,
    Settings,
    SqliteLog,
    decides,
    evolves,
    projects,
)
from eventstore.fastapi import Rules, command_router, install, lifespan, query_router
from tests.fastapi.serving import Service, application, asked, on_a_file, store_on


async def filled(service: Service, count: int = 5) -> dict[str, str]:
    for number in range(count):
        due = f"2026-01-0{number + 1}" if number % 2 else None
        answer = await service.command(f"t{number}", "create-task", {"title": f"title {number % 2}", "due": due})
    return {"Eventstore-Position": answer.headers["eventstore-position"]}


async def ids(service: Service, query: str, headers: dict[str, str]) -> list[str]:
    answer = await service.client.get(f"/task-board{query}", headers=headers)
    assert answer.status_code == 200, answer.text
    return [row["task_id"] for row in answer.json()["items"]]


async def test_a_list_is_filtered_and_sorted(service: Service) -> None:
    headers = await filled(service)
    for query, found in {
        "": ["t0", "t1", "t2", "t3", "t4"],
        "?title=title 1": ["t1", "t3"],
        "?title=title 1&due=2026-01-04": ["t3"],
        "?due.min=2026-01-03": ["t3"],
        "?due.max=2026-01-03": ["t1"],
        "?done=true": [],
        "?title=%27 OR 1=1 --": [],
        "?sort=-task_id&limit=2": ["t4", "t3"],
        "?sort=due": ["t1", "t3", "t0", "t2", "t4"],
        "?sort=-due": ["t3", "t1", "t0", "t2", "t4"],
    }.items():
        assert await ids(service, query, headers) == found, query


async def test_pages_give_every_row_once_and_in_order(service: Service) -> None:
    headers = await filled(service)
    for sort in (None, "task_id", "-task_id", "due", "-due", "title", "-updated_at"):
        order = f"sort={sort}" if sort else ""
        whole = await ids(service, f"?{order}", headers)
        for limit in (1, 2, 5):
            seen: list[str] = []
            path: str | None = f"/task-board?limit={limit}&{order}"
            while path:
                answer = await service.client.get(path)
                seen += [row["task_id"] for row in answer.json()["items"]]
                path = answer.links.get("next", {}).get("url")
                assert (path is None) is (answer.json()["next"] is None)
            assert seen == whole, (sort, limit)


async def test_a_row_is_read_by_its_key(service: Service) -> None:
    headers = await filled(service, 1)
    answer = await service.client.get("/task-board/t0", headers=headers)
    assert (answer.status_code, answer.json()["title"]) == (200, "title 0")
    assert (await service.client.get("/task-board/t9")).status_code == 404


async def test_what_a_list_does_not_know_is_refused(service: Service) -> None:
    for query in (
        "unknown=1",
        "sort=unknown",
        "limit=0",
        "limit=1001",
        "done=perhaps",
        "due.min=x",
        "title.min=a",
        "stale=1",
    ):
        answer = await service.client.get(f"/task-board?{query}")
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json"), query


def cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


async def test_a_forged_cursor_is_refused(service: Service) -> None:
    forged = ["[]", "{}", '["due",null,"t1"]', '[null,null,{"a":1}]', '[null,null,"\\u0000"]', '[null,null,"\\ud800"]']
    for after in ("x", "%FF", "", *map(cursor, forged), cursor("[" * 5_000)):
        answer = await service.client.get(f"/task-board?after={after}")
        assert answer.status_code in {400, 422}, after


async def test_a_read_with_a_position_shows_at_least_that(service: Service) -> None:
    for number in range(20):
        answer = await service.create(f"t{number}")
        headers = {"Eventstore-Position": answer.headers["eventstore-position"]}
        assert (await service.client.get(f"/task-board/t{number}", headers=headers)).status_code == 200


async def test_a_cookie_lets_a_browser_read_its_own_writes(tmp_path: Path) -> None:
    async with asked(application(on_a_file(tmp_path), Rules(cookie=True))) as service:
        for number in range(20):
            answer = await service.create(f"t{number}")
            assert "HttpOnly" in answer.headers["set-cookie"]
            assert (await service.client.get(f"/task-board/t{number}")).status_code == 200


async def test_a_read_model_that_is_not_there_in_time_is_refused_or_stale(tmp_path: Path) -> None:
    app = application(lambda: store_on(SqliteLog(tmp_path / "t.db"), tmp_path, Settings(workers=False)))
    async with asked(app) as service:
        position = (await service.create("1")).headers["eventstore-position"]
        headers = {"Eventstore-Position": position, "Prefer": "respond-async, wait=0"}
        refused = await service.client.get("/task-board", headers=headers)
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:eventstore:stale")
        assert refused.headers["retry-after"] == "1"
        stale = await service.client.get("/task-board?stale=allow", headers=headers)
        assert (stale.status_code, stale.headers["eventstore-stale"], stale.json()["items"]) == (200, "true", [])


async def test_a_forged_position_is_refused_at_once(service: Service) -> None:
    await service.create("1")
    huge = "0@99999999999999999999"
    for token in ("nonsense", "0@99999999", "9@1", "0@-1", "0@1e3", "0@9" * 5_000, "0@1,1@1", huge):
        async with asyncio.timeout(5):
            sent = {"Eventstore-Position": token, "Prefer": "wait=30"}
            answer = await service.client.get("/task-board", headers=sent)
        assert (answer.status_code, answer.json()["type"]) == (400, "urn:eventstore:invalid-position"), token


async def test_a_cookie_of_another_log_is_refused_once_and_deleted(service: Service) -> None:
    service.client.cookies.set("eventstore-position", "0@99999", domain="service.local", path="/")
    assert (await service.client.get("/task-board")).status_code == 400
    assert (await service.client.get("/task-board")).status_code == 200


async def test_a_cookie_keeps_the_positions_of_all_partitions(tmp_path: Path) -> None:
    from tests.fastapi.serving import several_partitions

    async with asked(application(several_partitions(tmp_path), Rules(cookie=True))) as service:
        for number in range(8):
            await service.create(f"t{number}")
        assert len((await service.client.get("/task-board")).json()["items"]) == 8
        assert service.client.cookies["eventstore-position"].count("@") > 1


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Painted(Event, type="wall.painted"):
    owner: UUID
    number: int
    colour: Colour
    weight: float
    at: datetime
    day: date


class Paint(Command):
    owner: UUID
    number: int
    colour: Colour
    weight: float
    at: datetime
    day: date


class Wall(Aggregate, category="wall"):
    @decides
    def paint(self, command: Paint) -> Painted:
        return Painted(**command.model_dump())

    @evolves
    def painted(self, event: Painted) -> None: ...


class WallRow(Row):
    owner: UUID
    number: int
    colour: Colour
    weight: float
    at: datetime
    day: date
    tags: list[str] = []


class Walls(Projection[WallRow], name="walls", version=1, key=("owner", "number")):
    @projects(key=lambda event, _: (event.owner, event.number))
    def painted(self, row: WallRow | None, event: Painted, at: Recorded) -> WallRow:
        return WallRow(**event.model_dump())


def of_walls(where: Path, query_store: str | Path) -> FastAPI:
    store = EventStore(SqliteLog(where / "w.db"), aggregates=[Wall], projections=[Walls], query_store=query_store)
    app = FastAPI(lifespan=lifespan(store))
    install(app)
    app.include_router(command_router(Wall))
    app.include_router(query_router(Walls))
    return app


async def test_columns_of_every_kind_filter_sort_and_page(tmp_path: Path) -> None:
    async with asked(of_walls(tmp_path, tmp_path / "read.db")) as walls:
        await columns_of_every_kind(walls)


@pytest.mark.postgres
async def test_columns_of_every_kind_filter_sort_and_page_on_postgresql(tmp_path: Path, postgres_database: str) -> None:
    async with asked(of_walls(tmp_path, postgres_database)) as walls:
        await columns_of_every_kind(walls)


async def columns_of_every_kind(walls: Service) -> None:
    owner = uuid4()
    for number in range(4):
        body = {
            "owner": str(owner),
            "number": number,
            "colour": ["red", "blue"][number % 2],
            "weight": number / 3,
            "at": datetime(2026, 1, 1, number, tzinfo=UTC).isoformat(),
            "day": f"2026-01-0{number + 1}",
        }
        answer = await walls.client.post(f"/walls/{number}/commands/paint", json=body)
        assert answer.status_code == 201, answer.text
    walls.client.headers["Eventstore-Position"] = answer.headers["eventstore-position"]

    async def numbers(query: str) -> list[int]:
        answer = await walls.client.get(f"/walls?{query}")
        assert answer.status_code == 200, answer.text
        return [row["number"] for row in answer.json()["items"]]

    assert await numbers("colour=red") == [0, 2]
    assert await numbers(f"owner={owner}&number.min=1&number.max=2") == [1, 2]
    assert await numbers("weight.min=0.5&sort=-weight") == [3, 2]
    assert await numbers("at.min=2026-01-01T03:00:00%2B01:00&sort=-at") == [3, 2]
    assert await numbers("day.max=2026-01-02") == [0, 1]
    assert await numbers("number.min=9223372036854775807") == []
    for query in ("number=9223372036854775808", "weight=nan", "at.min=2026-01-01T00:00:00", "tags=a", "owner=1"):
        assert (await walls.client.get(f"/walls?{query}")).status_code == 422, query
    for sort in ("weight", "-at", "colour", "owner", "-number"):
        seen: list[int] = []
        path: str | None = f"/walls?limit=1&sort={sort}"
        while path:
            answer = await walls.client.get(path)
            seen += [row["number"] for row in answer.json()["items"]]
            path = answer.links.get("next", {}).get("url")
        assert seen == await numbers(f"sort={sort}")
        assert sorted(seen) == [0, 1, 2, 3]
    assert (await walls.client.get(f"/walls/{owner}/2")).json()["colour"] == "red"
    assert (await walls.client.get(f"/walls/{owner}/99999999999999999999")).status_code == 422


def test_a_column_with_the_name_of_a_parameter_is_refused() -> None:
    class LimitedRow(Row):
        task_id: str
        limit: int

    class Limited(Projection[LimitedRow], name="limited", version=1, key="task_id"):
        @projects
        def painted(self, row: LimitedRow | None, event: Painted, at: Recorded) -> LimitedRow:
            return LimitedRow(task_id="1", limit=1)

    with pytest.raises(ConfigurationError, match="limit"):
        query_router(Limited)
