"""A broker that has lost its newest records, as one alone may after a power cut, is noticed and never written on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from eventstore.core.errors import CorruptLogError, EventStoreError
from tests.conftest import ProxiedKafka
from tests.kafka.logs import indexed, new_prefix, opened, versions, write
from tests.kafka.partitions import commit_of

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(90)]


async def lose_the_tail(kafka: ProxiedKafka, prefix: str, size: int) -> None:
    """Kill the broker, cut its newest bytes of a partition off, and start it again."""
    node = kafka.cluster.nodes[0]
    await node.kill()
    (segment,) = (node.directory / "data" / f"{prefix}.task.events-0").glob("*.log")
    with segment.open("r+b") as file:
        file.truncate(segment.stat().st_size - size)
    await node.start()


async def test_a_log_that_lost_its_tail_while_it_was_closed_is_refused_with_a_remedy(
    proxied_kafka: ProxiedKafka, tmp_path: Path
) -> None:
    prefix = new_prefix(proxied_kafka.bootstrap)
    async with opened(proxied_kafka.bootstrap, prefix, tmp_path) as log:
        for version in range(10):
            await write(log, "task-1", version, 1)
        await indexed(log)
    await lose_the_tail(proxied_kafka, prefix, 300)
    refusal = (
        r"task/0 ends at offset \d+, but .* was read up to 11: the brokers have lost .* Restore the topic, or accept"
    )
    with pytest.raises(CorruptLogError, match=refusal):
        async with opened(proxied_kafka.bootstrap, prefix, tmp_path):
            pass
    async with opened(proxied_kafka.bootstrap, prefix, tmp_path / "accepted") as log:
        left = await versions(log, "task-1")
        assert left == list(range(1, len(left) + 1))
        assert 0 < len(left) < 10


async def test_a_log_that_loses_its_tail_while_it_is_open_is_used_no_longer(
    proxied_kafka: ProxiedKafka, tmp_path: Path
) -> None:
    prefix = new_prefix(proxied_kafka.bootstrap)
    async with opened(proxied_kafka.bootstrap, prefix, tmp_path) as log:
        for version in range(10):
            await write(log, "task-1", version, 1)
        await indexed(log)
        await lose_the_tail(proxied_kafka, prefix, 300)
        refused: EventStoreError | None = None
        async with asyncio.timeout(60):
            while refused is None:
                try:
                    outcome = await log.commit("task/0", [commit_of("task-1", 10)])
                    raise AssertionError(outcome)
                except EventStoreError as error:
                    refused = None if error.retriable else error
                    await asyncio.sleep(0.1)
        assert "lost" in str(refused)
