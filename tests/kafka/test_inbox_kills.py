"""An inbox that is killed, joined and left loses nothing, doubles nothing and keeps the order of each key."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path
from uuid import uuid4

import pytest

from eventstore.inbox import receiving
from tests.kafka.billing import Place, new_topic, numbers_of, produce, record, until_counted
from tests.waiting import until

pytestmark = pytest.mark.kafka
ACCOUNTS = 60
PAYMENTS = 12
KILLS = 3


@pytest.fixture
def place(tmp_path: Path, kafka_bootstrap: str) -> Place:
    return Place(kafka_bootstrap, f"t{uuid4().hex[:8]}", new_topic(kafka_bootstrap, 4), str(tmp_path))


def payments() -> list[object]:
    """An account's first payment takes more than there is: it is rejected, and must not happen when it comes again."""
    return [
        record(f"a{account}", number, amount=1 if number else -1)
        for number in range(PAYMENTS)
        for account in range(ACCOUNTS)
    ]


WANTED = {f"a{account}": list(range(1, PAYMENTS)) for account in range(ACCOUNTS)}


@asynccontextmanager
async def process(place: Place, **environment: str) -> AsyncGenerator[asyncio.subprocess.Process]:
    """A process that has joined; it is killed at the end of the block."""
    notes = Path(place.directory) / f"{uuid4().hex}.log"
    with notes.open("wb") as log:
        running = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.kafka.billing", json.dumps(asdict(place)),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log, env={**os.environ, **environment},
        )  # fmt: skip
    try:
        assert running.stdout is not None
        assert await running.stdout.readline() == b"receiving\n", notes.read_text()
        yield running
    finally:
        running.kill()
        await running.wait()


@pytest.mark.timeout(90)
async def test_a_process_killed_at_any_moment_loses_and_doubles_nothing(place: Place) -> None:
    dice, kills = random.Random(6), 0
    place = replace(place, member="one")  # so that its successor need not wait for its session to end
    records = payments()
    async with place.store() as store:
        for number in range(KILLS):
            produce(
                place.bootstrap,
                place.topic,
                records[number * len(records) // KILLS : (number + 1) * len(records) // KILLS],
            )
            async with process(place):
                before = await total(store)
                async with asyncio.timeout(20):
                    while await total(store) == before:  # noqa: ASYNC110 - of another process
                        await asyncio.sleep(0.002)
                await asyncio.sleep(dice.uniform(0, 0.15))
                kills += 1
        async with receiving(store):
            await until_counted(store, WANTED)
    assert kills == KILLS


async def total(store: object) -> int:
    return sum((await store.log.ends()).values())  # type: ignore[attr-defined]


@pytest.mark.timeout(60)
async def test_processes_share_the_partitions_and_hand_them_over_in_the_middle_of_the_work(place: Place) -> None:
    records = payments()
    async with place.store() as store, receiving(store) as (first,):
        await until(lambda: len(first.partitions) == 4)
        produce(place.bootstrap, place.topic, records[: len(records) // 2])
        async with place.store() as other, receiving(other) as (second,):
            await until(lambda: len(first.partitions) == len(second.partitions) == 2)
            produce(place.bootstrap, place.topic, records[len(records) // 2 :])
            await until_counted(store, {"a0": WANTED["a0"]})
        await until_counted(store, WANTED)
        await until(lambda: len(first.partitions) == 4)
        assert await numbers_of(store, "a1") == WANTED["a1"]


@pytest.mark.timeout(60)
async def test_a_process_that_stood_still_executes_nothing_late(place: Place) -> None:
    """The zombie stops between reading a payment that is rejected and executing it, behind which another goes on."""
    records = [record("a", 0, amount=-1), record("a", 1)]
    async with process(place, BILLING_PAUSE="1") as zombie:
        produce(place.bootstrap, place.topic, records)
        assert zombie.stdout is not None
        assert zombie.stdin is not None
        assert await zombie.stdout.readline() == b"pausing\n"
        zombie.send_signal(signal.SIGSTOP)
        async with place.store() as store, receiving(store):
            await until_counted(store, {"a": [1]})
            zombie.stdin.write(b"\n")
            await zombie.stdin.drain()
            zombie.send_signal(signal.SIGCONT)
            await asyncio.sleep(2)  # what it executes would be there by then
            assert await numbers_of(store, "a") == [1]
