"""Query stores of every kind."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def query_store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Name an empty query store, in SQLite and on PostgreSQL in turn."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_database"))
    return str(tmp_path / "read.db")
