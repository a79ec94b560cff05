"""An owner that was deposed and does not know it: what it loads, and what it can prove."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from eventstore import EventStore
from eventstore.kafka import KafkaLog, KafkaOptions
from eventstore.kafka.connection import Connection
from eventstore.kafka.names import Names
from eventstore.kafka.records import event_records
from eventstore.kafka.wire import Wire
from eventstore.ports import NewEvent, StreamCommit
from tests.kafka.partitions import read_all, soon, writer_of
from tests.write.domain import Count, Counted, Counter

pytestmark = pytest.mark.kafka


async def take_over_and_count(bootstrap: str, prefix: str) -> None:
    """Claim the partition behind the election's back, and write to it as an owner does."""
    name = Names(prefix).parse("counter/0")
    envelope = next(found.value for found in read_all(bootstrap, name.topic) if found.key and found.key[0] != 0) or b""
    async with Wire(Connection(bootstrap)) as wire:
        successor = await writer_of(wire, name)
        await successor.claim([], soon())
        event = NewEvent(Counted.event_type, Counted.schema_version, uuid4().bytes, 1, envelope)
        commit = StreamCommit("counter-x", 1, uuid4().bytes, (event,))
        await successor.append(event_records(commit, successor.lease), soon())


async def test_a_deposed_owner_loads_what_was_current_before_and_proves_what_is_current_now(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    prefix = f"t{uuid4().hex[:8]}"
    log = KafkaLog(kafka_bootstrap, prefix=prefix, options=KafkaOptions(partitions=1, directory=tmp_path))
    async with EventStore(log, aggregates=[Counter]) as store:
        await log.serving()
        await store.execute(Counter, "x", Count())
        await take_over_and_count(kafka_bootstrap, prefix)
        assert (await store.load(Counter, "x")).version == 1
        assert (await store.load(Counter, "x", linearizable=True)).version == 2
        assert (await store.load(Counter, "x")).version == 2
