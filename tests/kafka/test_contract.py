"""The Kafka log keeps the contract of logs."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from eventstore.core.records import Partition
from eventstore.kafka import KafkaLog, KafkaOptions
from eventstore.testing.log_contract import LogContract

pytestmark = pytest.mark.kafka


async def refuse(partition: Partition, message: bytes) -> bytes:
    raise AssertionError(partition, message)


class TestKafkaLog(LogContract):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path, kafka_bootstrap: str) -> None:
        self.bootstrap, self.options = kafka_bootstrap, KafkaOptions(partitions=2, directory=tmp_path)
        self.prefix = f"t{uuid4().hex[:8]}"

    @asynccontextmanager
    async def open_log(self) -> AsyncGenerator[KafkaLog]:
        categories = ["task", "tasks", "task_x", "other"]
        async with KafkaLog(self.bootstrap, prefix=self.prefix, categories=categories, options=self.options) as log:
            log.channel.serve(refuse)
            await log.serving()
            yield log
