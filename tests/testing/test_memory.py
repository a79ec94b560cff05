"""The log in memory keeps the contract of logs, with several partitions and gaps between offsets."""

from __future__ import annotations

import pytest

from eventstore.testing.log_contract import LogContract
from eventstore.testing.memory import MemoryLog


class TestMemoryLog(LogContract):
    @pytest.fixture(autouse=True)
    def _log(self) -> None:
        self.log = MemoryLog()

    def open_log(self) -> MemoryLog:
        return self.log
