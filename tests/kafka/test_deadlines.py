"""Time-outs of process managers on Kafka."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from eventstore import EventStore, Settings
from eventstore.environment import Environment
from eventstore.kafka import KafkaLog, KafkaOptions
from eventstore.testing.clock import ManualClock
from tests.read.shop import Account, Close, Open
from tests.read.test_deadlines import DAY, Chase, balance_of, events_of, settled

pytestmark = pytest.mark.kafka


async def test_deadlines_are_met_on_every_partition_after_a_restart(tmp_path: Path, kafka_bootstrap: str) -> None:
    clock, prefix = ManualClock(), f"t{uuid4().hex[:8]}"

    def store_on(log: KafkaLog) -> EventStore:
        settings = Settings(lease=0.3, environment=Environment(clock=clock))
        return EventStore(
            log, aggregates=[Account], processes=[Chase], query_store=str(tmp_path / "read.db"), settings=settings
        )

    def log_of() -> KafkaLog:
        return KafkaLog(kafka_bootstrap, prefix=prefix, options=KafkaOptions(partitions=2, directory=tmp_path))

    async with store_on(log := log_of()) as store:
        await log.serving()
        for account in range(6):
            await store.execute(Account, str(account), Open(owner="ann"))
        await store.execute(Account, "0", Close())
        await settled(store)
    await clock.advance(DAY.total_seconds())
    async with store_on(log := log_of()) as store:
        await log.serving()
        for account in range(1, 6):
            await balance_of(store, str(account), 1)
        await settled(store)

        assert [await events_of(store, str(account)) for account in range(6)] == [
            ["opened", "closed"],
            *[["opened", "deposited"]] * 5,
        ]
