"""Services on the embedded log."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.fastapi.serving import Service, application, asked, on_a_file, running


@pytest.fixture
async def service(tmp_path: Path) -> AsyncGenerator[Service]:
    """Asked without a server."""
    async with asked(application(on_a_file(tmp_path))) as service:
        yield service


@pytest.fixture
async def running_service(tmp_path: Path) -> AsyncGenerator[Service]:
    """Asked over real connections."""
    async with running(application(on_a_file(tmp_path))) as service:
        yield service
