"""Campaign: an inbox under load that is killed again and again, with repeats and rejected commands among its messages.

`make campaign-kafka`, or `KILLS=n python -m pytest -m campaign --timeout=0 -s tests/campaigns/test_inbox_kills.py`
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from eventstore.inbox import receiving
from tests.kafka.billing import Account, Place, new_topic, produce, record
from tests.kafka.test_inbox_kills import process, total

pytestmark = [pytest.mark.campaign, pytest.mark.kafka]
KILLS = int(os.environ.get("KILLS", "100"))
ACCOUNTS = 100
PER_KILL = 12


def deliveries(first: int, count: int, dice: random.Random) -> list[object]:
    """Make messages of payments, a tenth of them twice or once more later; an account's first payment is rejected."""
    made: list[object] = []
    for number in range(first, first + count):
        for account in range(ACCOUNTS):
            made.append(record(f"a{account}", number, amount=1 if number else -1))
            if dice.random() < 0.1:
                again = number if dice.random() < 0.5 else dice.randint(1, max(number, 1))
                if 0 < again <= number:
                    made.append(record(f"a{account}", again))
    return made


async def test_an_inbox_that_is_killed_again_and_again_misses_and_doubles_nothing(
    tmp_path: Path, kafka_bootstrap: str
) -> None:
    dice, sent, began = random.Random(9), 0, time.monotonic()
    place = Place(kafka_bootstrap, f"t{uuid4().hex[:8]}", new_topic(kafka_bootstrap, 4), str(tmp_path))
    place = replace(place, member="one")
    async with place.store() as store:
        for kill in range(KILLS):
            messages = deliveries(kill * PER_KILL, PER_KILL, dice)
            sent += len(messages)
            await asyncio.to_thread(produce, place.bootstrap, place.topic, messages)
            async with process(place):
                before = await total(store)
                async with asyncio.timeout(60):
                    while await total(store) == before:  # noqa: ASYNC110 - of another process
                        await asyncio.sleep(0.002)
                await asyncio.sleep(dice.uniform(0, 0.5))
        wanted = list(range(1, KILLS * PER_KILL))
        async with receiving(store), asyncio.timeout(300):
            while await total(store) <= len(wanted) * ACCOUNTS:  # noqa: ASYNC110 - of a store
                await asyncio.sleep(0.1)
            await asyncio.sleep(2)  # what is doubled would come now
        for account in range(ACCOUNTS):
            history = await store.history(Account, f"a{account}")
            assert [event.number for event, _ in history] == wanted  # type: ignore[attr-defined]
    print(f"{KILLS} kills, {sent:,} messages, {len(wanted) * ACCOUNTS:,} events in {time.monotonic() - began:.0f} s")
