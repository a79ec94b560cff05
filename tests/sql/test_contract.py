"""SQLite and PostgreSQL keep the contract of query stores."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventstore.environment import SystemClock
from eventstore.sql.store import SqlQueryStore
from eventstore.testing.query_store_contract import QueryStoreContract


class TestSqlite(QueryStoreContract):
    @pytest.fixture(autouse=True)
    def _where(self, tmp_path: Path) -> None:
        self.where = str(tmp_path / "read.db")

    def open_store(self) -> SqlQueryStore:
        return SqlQueryStore(self.where, clock=SystemClock())


@pytest.mark.postgres
class TestPostgres(QueryStoreContract):
    @pytest.fixture(autouse=True)
    def _where(self, postgres_database: str) -> None:
        self.where = postgres_database

    def open_store(self) -> SqlQueryStore:
        return SqlQueryStore(self.where, clock=SystemClock())
