"""Campaign: an outbox under load whose connector is killed again and again; nothing is lost, doubled or out of order.

`make campaign-kafka`, or `ROWS=n KILLS=n python -m pytest -m campaign --timeout=0 -s tests/campaigns/test_debezium.py`
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter, defaultdict
from pathlib import Path
from uuid import uuid4

import pytest

from eventstore.core.envelope import read_envelope
from eventstore.inbox import receiving
from tests.kafka.billing import Account, Place
from tests.kafka.shipping import Servers, Service, messages, service

pytestmark = [pytest.mark.campaign, pytest.mark.kafka, pytest.mark.postgres]
ROWS = int(os.environ.get("ROWS", "100000"))
KILLS = int(os.environ.get("KILLS", "10"))
ACCOUNTS = 200
WRITERS = 8
BATCH = 5


async def write(one: Service, accounts: list[str], payments: int, pause: float) -> int:
    """Announce an account's payments in order, some in each transaction; every tenth transaction is rolled back first."""
    rolled_back = 0
    for first in range(0, payments, BATCH):
        for account in accounts:
            numbers = range(first, min(first + BATCH, payments))
            if random.random() < 0.1:
                async with one.engine.connect() as connection:
                    await one.pay(connection, account, *numbers)
                    await connection.rollback()
                rolled_back += len(numbers)
            async with one.engine.begin() as connection:
                await one.pay(connection, account, *numbers)
        await asyncio.sleep(pause)
    return rolled_back


async def kill_again_and_again(servers: Servers, dice: random.Random) -> list[float]:
    """Kill the worker, start it, let it run for a while; gives how long each start took."""
    starts: list[float] = []
    for _ in range(KILLS):
        await asyncio.sleep(dice.uniform(1, 8))
        await asyncio.to_thread(servers.connect.kill)
        began = time.monotonic()
        await asyncio.to_thread(servers.connect.start)
        starts.append(time.monotonic() - began)
    return starts


async def test_rows_survive_a_connector_that_is_killed_again_and_again(servers: Servers, tmp_path: Path) -> None:
    payments, dice = ROWS // ACCOUNTS, random.Random(100)
    accounts = [f"a{number}" for number in range(ACCOUNTS)]
    total, began = payments * ACCOUNTS, time.monotonic()
    async with service(servers) as one:
        place = Place(servers.bootstrap, f"t{uuid4().hex[:8]}", one.topic, str(tmp_path))
        await one.connect()
        async with place.store() as store, receiving(store):
            async with asyncio.TaskGroup() as tasks:
                killing = tasks.create_task(kill_again_and_again(servers, dice))
                writing = [
                    tasks.create_task(write(one, accounts[n::WRITERS], payments, KILLS * 5 * BATCH / payments))
                    for n in range(WRITERS)
                ]
            rolled_back = sum(task.result() for task in writing)
            written = time.monotonic() - began
            deadline = time.monotonic() + 600
            while sum((await store.log.ends()).values()) <= total:  # they begin at 1
                assert time.monotonic() < deadline, await store.log.ends()
                await asyncio.sleep(0.2)
            caught_up = time.monotonic() - began
            await asyncio.sleep(2)  # what is doubled would come now
            for account in accounts:
                history = await store.history(Account, account)
                assert [event.number for event, _ in history] == list(range(payments))  # type: ignore[attr-defined]
        delivered = await messages(servers.bootstrap, one.topic, total, 300)
    judge(delivered, accounts, payments)
    print(
        f"{total:,} rows, {rolled_back:,} more rolled back, {KILLS} kills (starts {min(killing.result()):.1f} to "
        f"{max(killing.result()):.1f} s): {len(delivered):,} messages, {len(delivered) - total:,} of them repeats; "
        f"written in {written:.0f} s, all received after {caught_up:.0f} s"
    )


def judge(delivered: list, accounts: list[str], payments: int) -> None:
    """Every row's event is in the topic, first occurrences are in order, and something was repeated."""
    seen, order = Counter[object](), defaultdict[str, list[int]](list)
    for message in delivered:
        envelope = read_envelope(message.value or b"", message.place)
        seen[envelope.event_id] += 1
        if seen[envelope.event_id] == 1:
            order[(message.key or b"").decode()].append(int(str(envelope.data["number"])))
    assert order == {account: list(range(payments)) for account in accounts}
    assert sum(seen.values()) > len(seen), "nothing was repeated: the inbox had nothing to recognise"
