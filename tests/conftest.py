"""Servers that tests share; `postgres_url` comes from the pytest plug-in."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from eventstore.testing.postgres import fresh_database


@pytest.fixture
async def postgres_database(postgres_url: str) -> AsyncGenerator[str]:
    """A new, empty database on the real PostgreSQL of this run."""
    async with fresh_database(postgres_url) as url:
        yield url
