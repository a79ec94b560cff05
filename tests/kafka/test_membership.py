"""Members of a group come and go without the others noticing more than they must."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from eventstore.core.errors import EventStoreError
from eventstore.core.records import Partition
from tests.kafka.logs import new_prefix, reading
from tests.waiting import until

pytestmark = pytest.mark.kafka


class Note:
    """Takes note of what it is told; implements `Sharer`."""

    def __init__(self) -> None:
        self.has: set[Partition] = set()
        self.told: list[str] = []

    def assigned(self, partitions: Sequence[Partition]) -> None:
        self.told.append("assigned")
        self.has.update(partitions)

    async def revoked(self, partitions: Sequence[Partition]) -> None:
        self.told.append("revoked")
        self.has.difference_update(partitions)

    def lost(self, partitions: Sequence[Partition]) -> None:
        self.told.append("lost")
        self.has.difference_update(partitions)

    def failed(self, error: EventStoreError) -> None:
        raise AssertionError(error)


class Stuck(Note):
    async def revoked(self, partitions: Sequence[Partition]) -> None:
        await asyncio.sleep(60)


def members(bootstrap: str, group: str) -> int:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    return len(admin.describe_consumer_groups([group])[group].result(10).members)


async def test_a_member_without_a_share_is_no_member_any_more_when_it_has_left(
    tmp_path: Path, kafka_bootstrap: str
) -> None:
    prefix = new_prefix(kafka_bootstrap, partitions=1)
    one, other, group = Note(), Note(), f"{prefix}.work"
    async with reading(kafka_bootstrap, prefix, tmp_path) as log, log.sharing.share("work", one):
        await until(lambda: one.has == {"task/0"})
        async with log.sharing.share("work", other):
            await until(lambda: members(kafka_bootstrap, group) == 2)
            await asyncio.sleep(1.5)  # the group has settled: a member that is about to join would leave in order
        assert members(kafka_bootstrap, group) == 1
    assert (one.told, other.told) == (["assigned", "revoked"], [])


async def test_a_hand_over_is_not_waited_for_longer_than_allowed(tmp_path: Path, kafka_bootstrap: str) -> None:
    prefix = new_prefix(kafka_bootstrap, partitions=2)
    one, other = Stuck(), Note()
    async with AsyncExitStack() as stack:
        log = await stack.enter_async_context(reading(kafka_bootstrap, prefix, tmp_path, drain_seconds=0.5))
        await stack.enter_async_context(log.sharing.share("work", one))
        await until(lambda: len(one.has) == 2)
        await stack.enter_async_context(log.sharing.share("work", other))
        await until(lambda: len(other.has) == 1, seconds=10)
