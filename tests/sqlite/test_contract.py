"""The embedded log keeps the contract of logs."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventstore.sqlite import SqliteLog
from eventstore.testing.log_contract import LogContract


class TestSqliteLog(LogContract):
    @pytest.fixture(autouse=True)
    def _path(self, tmp_path: Path) -> None:
        self.path = tmp_path / "log.db"

    def open_log(self) -> SqliteLog:
        return SqliteLog(self.path)
