"""What the page about HTTP shows is what happens."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from eventstore.fastapi import __all__ as public
from eventstore.fastapi import headers, positions
from tests.errors_page import tables, written
from tests.fastapi.serving import asked

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/http.md").read_text()


async def test_the_service_of_the_documentation_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(code, "docs/http.md", "exec"), names)
    async with asked(names["app"]) as service:
        position = (await service.create("1")).headers["eventstore-position"]
        shown = await service.client.get("/task-board/1", headers={"Eventstore-Position": position})
        assert shown.status_code == 200
        for path in re.findall(r"GET (/[a-z/-]+)(?:,|\n)", code):
            if not path.startswith(("/events", "/changes")):
                assert (await service.client.get(path)).status_code == 200, path


def test_every_name_and_header_is_documented() -> None:
    for name in (*public, headers.IDEMPOTENCY_KEY, positions.POSITION, positions.STALE, "Last-Event-ID", "Prefer"):
        assert name in PAGE or name in (ROOT / "docs/reference.md").read_text(), name


def test_the_page_of_errors_has_the_statuses_of_the_code() -> None:
    assert written() == tables()
