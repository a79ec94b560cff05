"""A closed Kafka log leaves nothing behind: no task, thread, file, socket or warning."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import pytest

from eventstore import AppendOutcomeUnknownError, EventStore
from eventstore.core.errors import StoreClosedError
from eventstore.kafka import KafkaLog, KafkaOptions
from eventstore.testing.kafka import KafkaCluster
from tests.read.shop import Account, Accounts, Open

pytestmark = pytest.mark.kafka


@pytest.mark.timeout(60)
async def test_closing_leaves_nothing_behind(tmp_path: Path, kafka_bootstrap: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-X", "dev", "-W", "error", "-m", "tests.kafka.closing", kafka_bootstrap, str(tmp_path),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    left, warned = await process.communicate()
    lines = [line for line in warned.decode().splitlines() if "NotLeader" not in line]
    assert (left.decode(), lines, process.returncode) == ("", [], 0)


@pytest.mark.timeout(90)
@pytest.mark.usefixtures("kafka_installation")
async def test_a_log_can_be_closed_while_the_brokers_are_away(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with KafkaCluster() as cluster:
        log = KafkaLog(cluster.bootstrap, prefix="away", options=KafkaOptions(partitions=1, directory=tmp_path))
        async with EventStore(log, aggregates=[Account], projections=[Accounts]) as store:
            done = await store.execute(Account, "a", Open(owner="ann"))
            await store.wait_for(Accounts, done.token)
            await cluster.nodes[0].kill()
            waiting = asyncio.create_task(store.execute(Account, "b", Open(owner="ann"), timeout=60))
            await asyncio.sleep(1)  # it is under way: nobody says when it has got how far
            closing = time.monotonic()
        assert time.monotonic() - closing < 20
        with pytest.raises((StoreClosedError, AppendOutcomeUnknownError)):
            await waiting
        caplog.clear()
        await asyncio.sleep(4)  # a client that cannot leave its group tries again every second or so
        assert caplog.text == ""
