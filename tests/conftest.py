"""Servers that tests share."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator

import pytest

from eventstore.testing.postgres import fresh_database, postgres_server


@pytest.fixture(scope="session")
def postgres_url() -> Generator[str]:
    """A real PostgreSQL for the whole run."""
    with postgres_server() as url:
        yield url


@pytest.fixture
async def postgres_database(postgres_url: str) -> AsyncGenerator[str]:
    """A new, empty database on it."""
    async with fresh_database(postgres_url) as url:
        yield url
