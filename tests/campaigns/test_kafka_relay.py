"""Relays and brokers are killed; readers of committed data see each event once and in order, others see aborted ones."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from eventstore.kafka import KafkaLog
from eventstore.testing.kafka import KafkaCluster
from tests.campaigns.kafka_judge import read_events
from tests.campaigns.relay_crew import SIZE, STREAMS, crew_on, write
from tests.campaigns.relay_judge import expected_versions, read_public, violations
from tests.campaigns.relays import MILESTONE, Place

pytestmark = pytest.mark.kafka


async def kill_brokers(cluster: KafkaCluster, place: Place, kills: int, chance: random.Random) -> None:
    """Kill one after the other, each only when all replicas are in sync again, and restart it."""
    topics = [f"{place.prefix}.counter.events", *place.topics, "__consumer_offsets", "__transaction_state"]
    for _ in range(kills):
        await all_in_sync(cluster.bootstrap, topics)
        await asyncio.sleep(chance.uniform(0, 2))
        node = chance.choice(cluster.nodes)
        await node.kill()
        await asyncio.sleep(chance.uniform(0, 5))
        await node.start()
    await all_in_sync(cluster.bootstrap, topics)


async def all_in_sync(bootstrap: str, topics: Sequence[str]) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    async with asyncio.timeout(120):
        while True:
            found = await asyncio.to_thread(admin.list_topics, timeout=20)
            places = [
                place for topic in topics if topic in found.topics for place in found.topics[topic].partitions.values()
            ]
            if places and all(len(place.isrs) == len(place.replicas) for place in places):
                return
            await asyncio.sleep(0.1)


async def published_all(place: Place, seconds: float) -> None:
    """Return when the positions have reached the end of what was written."""
    topic, deadline = f"{place.prefix}.counter.events", time.monotonic() + seconds

    def behind() -> int:
        consumer = Consumer({"bootstrap.servers": place.bootstrap, "group.id": f"{place.prefix}.relay.feed"})
        try:
            committed = consumer.committed([TopicPartition(topic, number) for number in range(place.partitions)], 30)
            return sum(consumer.get_watermark_offsets(each, 30)[1] - max(each.offset, 0) for each in committed)
        finally:
            consumer.close()

    while left := await asyncio.to_thread(behind):
        assert time.monotonic() < deadline, f"{left:,} records are not published"
        await asyncio.sleep(0.5)


async def judge(place: Place, written: int) -> str:
    source = await asyncio.to_thread(read_events, place.bootstrap, f"{place.prefix}.counter.events")
    assert len(source.valid) == written
    said: list[str] = []
    for topic, every in zip(place.topics, (1, MILESTONE, MILESTONE), strict=True):
        expected = expected_versions(source.valid, every)
        committed = await asyncio.to_thread(read_public, place.bootstrap, topic)
        broken = list(violations(expected, committed))
        assert not broken, f"{topic}: {len(broken)} violations:\n" + "\n".join(broken[:20])
        everything = await asyncio.to_thread(read_public, place.bootstrap, topic, "read_uncommitted")
        if every == 1:
            assert everything.count > committed.count, "no transaction was aborted: nothing was tried"
            # The judge would object if readers saw what was aborted.
            assert list(violations(expected, everything))
        said.append(f"{committed.count:,} committed, {everything.count - committed.count:,} aborted")
    claims = sum(map(len, source.claims.values()))
    return f"{'; '.join(said)}; {claims} claims, {len(source.void)} void; 0 violations"


def effects(place: Place) -> str:
    said = "".join(log.read_text() for log in Path(place.directory).glob("relay-*.log"))
    assert "a defect" not in said, said[said.index("a defect") - 200 :][:3_000]
    assert "Exception in thread" not in said, said[said.index("Exception in thread") :][:3_000]
    assert "a relay ended" not in said, said[said.index("a relay ended") - 200 :][:3_000]
    return f"{said.count('a transaction failed')} transactions failed in relays that lived"


@dataclass(frozen=True)
class Sizes:
    """How much there is to publish, and to be done meanwhile."""

    events: int
    live: int
    kills: int
    broker_kills: int


async def disturb_and_judge(cluster: KafkaCluster, place: Place, sizes: Sizes) -> str:
    seed = int(os.environ.get("SEED", random.randrange(2**32)))
    print(f"seed {seed}, {place.directory}, {place.prefix}")
    rounds, live = sizes.events // (STREAMS * SIZE), sizes.live // (STREAMS * SIZE)
    began = time.monotonic()
    async with place.store("writer") as store:
        assert isinstance(store.log, KafkaLog)
        await store.log.serving()
        await write(store.log, range(rounds - live))
        print(f"{(rounds - live) * STREAMS * SIZE:,} events after {time.monotonic() - began:,.0f} s", flush=True)
        async with crew_on(place, seed) as crew:
            disturbing = time.monotonic()
            chance = random.Random(seed + 1)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(write(store.log, range(rounds - live, rounds), pace=4 * sizes.kills / live))
                tasks.create_task(crew.disturb(sizes.kills))
                tasks.create_task(kill_brokers(cluster, place, sizes.broker_kills, chance))
            disturbed = time.monotonic() - disturbing
            print(f"disturbed for {disturbed:,.0f} s: {dict(crew.done)}", flush=True)
            written = rounds * STREAMS * SIZE
            await published_all(place, 900)
            caught_up = time.monotonic() - disturbing
            await crew.stop(40)
    said = await judge(place, written)
    faults = ", ".join(f"{count} x {kind}" for kind, count in sorted(crew.done.items()))
    return (
        f"{faults}, {sizes.broker_kills} brokers killed in {disturbed:,.0f} s, all published after {caught_up:,.0f} s, "
        f"{effects(place)}: {said}; {time.monotonic() - began:,.0f} s in all"
    )


def place_on(bootstrap: str, directory: Path, slowness: float) -> Place:
    return Place(bootstrap, f"c{uuid4().hex[:10]}", str(directory), slowness=slowness)


@pytest.mark.timeout(150)
@pytest.mark.usefixtures("kafka_installation")
async def test_relays_and_a_broker_that_are_killed_publish_every_event_once(tmp_path: Path) -> None:
    async with KafkaCluster(nodes=3) as cluster:
        place = place_on(cluster.bootstrap, tmp_path, 0.0005)
        print(await disturb_and_judge(cluster, place, Sizes(30_000, 10_000, kills=4, broker_kills=1)))


@pytest.mark.campaign
@pytest.mark.usefixtures("kafka_installation")
async def test_a_million_events_are_published_once_through_a_hundred_kills(tmp_path: Path) -> None:
    sizes = Sizes(
        events=int(os.environ.get("EVENTS", "1_000_000")),
        live=int(os.environ.get("LIVE", "200_000")),
        kills=int(os.environ.get("KILLS", "100")),
        broker_kills=int(os.environ.get("BROKER_KILLS", "20")),
    )
    async with KafkaCluster(nodes=3) as cluster:
        place = place_on(cluster.bootstrap, tmp_path, float(os.environ.get("SLOWNESS", "0.002")))
        print(await disturb_and_judge(cluster, place, sizes), flush=True)
