"""Lag on Kafka: seen by a process that takes no part."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import cast
from uuid import uuid4

import pytest

from eventstore import EventStore, Settings
from eventstore.kafka import KafkaLog, KafkaOptions
from tests.kafka import audited
from tests.read.shop import Account, Accounts, Open, Owners, caught_up, fill
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


async def test_the_command_shows_idle_partitions_of_all_read_models_on_one_line_each_and_of_one_in_full(
    tmp_path: Path, kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDITED_KAFKA", kafka_bootstrap)
    monkeypatch.setenv("AUDITED_PREFIX", f"t{uuid4().hex[:8]}")
    monkeypatch.setenv("AUDITED_DIRECTORY", str(tmp_path))

    async def lag(*arguments: str) -> list[list[str]]:
        command = (sys.executable, "-m", "eventstore.cli", "--app", "tests.kafka.audited:store", "lag", *arguments)
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
        assert process.returncode == 0
        return [line.split()[:4] for line in out.decode().splitlines()[1:]]

    async with audited.store(directory="worker") as store:
        await cast("KafkaLog", store.log).serving()
        await fill(store, accounts=4, deposits=0)
        await caught_up(store, Accounts)
        await caught_up(store, Owners)

        assert await lag() == [["accounts", "1", "all", "2"], ["owners", "1", "all", "2"]]
        assert await lag("owners") == [["owners", "1", f"account/{n}", "idle"] for n in range(2)]
