"""A command that travels to the owner of its partition takes effect once, however often its message is delivered."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka.admin import AdminClient

from eventstore import CommandRejectedError, EventStore
from eventstore.kafka import KafkaLog, KafkaOptions
from tests.write.domain import Count, Counter, CountUpTo

pytestmark = pytest.mark.kafka


def deliver_again(bootstrap: str, prefix: str) -> None:
    """Forget what the group was told to be answered, as when an owner dies before it could tell."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for deleted in admin.delete_consumer_groups([f"{prefix}.owners"]).values():
        deleted.result(10)


async def test_a_refused_command_is_not_executed_by_a_later_owner(tmp_path: Path, kafka_bootstrap: str) -> None:
    prefix = f"t{uuid4().hex[:8]}"

    def store() -> EventStore:
        options = KafkaOptions(partitions=1, directory=tmp_path)
        return EventStore(KafkaLog(kafka_bootstrap, prefix=prefix, options=options), aggregates=[Counter])

    async with store() as owner:
        assert isinstance(owner.log, KafkaLog)
        await owner.log.serving()
        await owner.execute(Counter, "a", Count())
        async with store() as other:
            with pytest.raises(CommandRejectedError):
                await other.execute(Counter, "a", CountUpTo(limit=1))
        await owner.execute(Counter, "a", Count(by=-1))
    await asyncio.to_thread(deliver_again, kafka_bootstrap, prefix)
    async with store() as owner:
        assert isinstance(owner.log, KafkaLog)
        await owner.log.serving()
        async with store() as other:
            await other.execute(Counter, "a", Count(note="behind the ones delivered again"))
            counter = await other.load(Counter, "a")
    assert (counter.version, counter.total) == (3, 1)
