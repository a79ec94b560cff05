"""Lag on Kafka: seen by a process that takes no part."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest

from eventstore import EventStore, Settings
from eventstore.kafka import KafkaLog, KafkaOptions
from tests.read.shop import Account, Open
from tests.read.test_lag import seen
from tests.read.test_waiting import Fragile

pytestmark = pytest.mark.kafka


async def test_a_process_that_only_looks_sees_what_blocks_a_partition_and_owns_none(
    tmp_path: Path, kafka_bootstrap: str
) -> None:
    prefix = f"t{uuid4().hex[:8]}"

    def log_in(directory: str) -> KafkaLog:
        options = KafkaOptions(partitions=2, directory=tmp_path / directory)
        return KafkaLog(kafka_bootstrap, prefix=prefix, options=options)

    def store_on(log: KafkaLog, **settings: bool) -> EventStore:
        return EventStore(
            log,
            aggregates=[Account],
            projections=[Fragile],
            query_store=str(tmp_path / "read.db"),
            settings=Settings(**settings),
        )

    log, looking = log_in("worker"), log_in("looker")
    async with store_on(log) as store, store_on(looking, serve=False, workers=False) as looker:
        await log.serving()
        ill = log.partition_of("account-1")
        sound = next(str(n) for n in range(99) if log.partition_of(f"account-{n}") != ill)
        await store.execute(Account, "1", Open(owner="nobody"))
        async with asyncio.timeout(1):
            blocked = await seen(looker, "blocked")
        done = await store.execute(Account, sound, Open(owner="ann"))
        await looker.wait_for(Fragile, done.token)

        assert blocked.failure is not None
        assert (blocked.partition, blocked.failure.cause) == (ill, "ValueError: nobody")
        assert {lag.partition: lag.state for lag in await looker.lag()}[done.token.positions.popitem()[0]] == "idle"
        assert not [name for name in looking.partitions if looking._opened.ownership.serves(name)]
