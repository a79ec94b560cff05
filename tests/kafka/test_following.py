"""The follower answers whoever asks it for something, also while it ends, and nothing that it ends with is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from eventstore.core.errors import CorruptLogError, StoreClosedError
from tests.kafka.logs import new_prefix, opened, write

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]


async def test_whoever_no_longer_waits_for_it_does_not_end_it(kafka_bootstrap: str, tmp_path: Path) -> None:
    async with opened(kafka_bootstrap, new_prefix(kafka_bootstrap), tmp_path) as log:
        session = log._opened
        name, follower = session.partitions.parse("task/0"), session.ownership._means.follower
        for _ in range(200):
            asking = asyncio.create_task(follower.follow(name))
            await asyncio.sleep(0)
            asking.cancel()
        await follower.unfollow(name)
        await write(log, "task-1", 0, 1)


async def test_whoever_asks_it_while_it_ends_is_refused(kafka_bootstrap: str, tmp_path: Path) -> None:
    async with opened(kafka_bootstrap, new_prefix(kafka_bootstrap), tmp_path) as log:
        session = log._opened
        name, follower = session.partitions.parse("task/0"), session.ownership._means.follower
        ending = asyncio.create_task(follower.__aexit__(None, None, None))
        refused = 0
        async with asyncio.timeout(20):
            while not ending.done() or not refused:
                try:
                    await follower.follow(name)
                except StoreClosedError:
                    refused += 1
                    await asyncio.sleep(0)
        await ending


async def test_a_log_whose_reading_ended_gives_partitions_up_and_says_why_it_ended(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    async with opened(kafka_bootstrap, new_prefix(kafka_bootstrap), tmp_path) as log:
        session = log._opened
        name, follower = session.partitions.parse("task/0"), session.ownership._means.follower
        await follower.__aexit__(None, None, None)
        follower.on_failure(CorruptLogError("the topic is damaged"))
        session.ownership.lost([(name.commands_topic, 0)])
        await asyncio.wait(session.ownership._background._tasks)
        with pytest.raises(StoreClosedError, match="the topic is damaged"):
            await write(log, "task-1", 0, 1)
