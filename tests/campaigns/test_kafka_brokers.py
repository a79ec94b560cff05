"""Brokers of a cluster of three are killed and restarted under load; the members recover by themselves."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from eventstore.testing.kafka import KafkaCluster
from tests.campaigns.kafka_team import Healing, Load, Team

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("kafka_installation")]
LOAD = Load(members=2, callers=12, session_seconds=6)
HEAL_SECONDS = 60


async def kill_brokers(cluster: KafkaCluster, team: Team, kills: int) -> str:
    async with team:
        await team.start()
        await all_in_sync(cluster, team)
        for _ in range(kills):
            await asyncio.sleep(team.chance.uniform(0, 2))
            node = team.chance.choice(cluster.nodes)
            team.healing = Healing()
            await node.kill()
            await team.heal(HEAL_SECONDS)
            await node.start()
            await all_in_sync(cluster, team)
        return await ended(team, kills)


async def restart_brokers(cluster: KafkaCluster, team: Team) -> str:
    """Stop one after the other in order, then kill all at once and start them all again."""
    async with team:
        await team.start()
        await all_in_sync(cluster, team)
        for node in cluster.nodes:
            await node.stop()
            await node.start()
            await all_in_sync(cluster, team)
        team.healing = Healing()
        await team.heal(HEAL_SECONDS)
        await asyncio.gather(*(node.kill() for node in cluster.nodes))
        await asyncio.gather(*(node.start() for node in cluster.nodes))
        team.healing = Healing()
        await team.heal(HEAL_SECONDS)
        return await ended(team, 4)


async def ended(team: Team, faults: int) -> str:
    await team.stop_all()
    written = await team.judge()
    assert len(team.evidence.acks) > 20 * faults, "hardly anything happened"
    return team.result(written)


async def all_in_sync(cluster: KafkaCluster, team: Team) -> None:
    """Return when every replica has caught up: otherwise the next kill takes a partition away, as it should."""
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    topics = [f"{team.prefix}.counter.events", f"{team.prefix}.counter.commands", "__consumer_offsets"]
    async with asyncio.timeout(60):
        while True:
            found = await asyncio.to_thread(admin.list_topics, timeout=20)
            partitions = [place for topic in topics for place in found.topics[topic].partitions.values()]
            if all(len(place.isrs) == 3 for place in partitions):
                return
            await asyncio.sleep(0.1)


@pytest.mark.timeout(150)
async def test_a_killed_broker_loses_and_doubles_nothing(tmp_path: Path) -> None:
    async with KafkaCluster(nodes=3) as cluster:
        print(await kill_brokers(cluster, Team(cluster.bootstrap, tmp_path, LOAD), 1))


@pytest.mark.campaign
@pytest.mark.parametrize("run", range(5))
async def test_fifty_killed_brokers_lose_and_double_nothing(tmp_path: Path, run: int) -> None:
    started = time.monotonic()
    async with KafkaCluster(nodes=3) as cluster:
        said = await kill_brokers(cluster, Team(cluster.bootstrap, tmp_path, LOAD), 10)
        print(f"run {run}, 10 brokers killed: {said}; {time.monotonic() - started:,.0f} s", flush=True)


@pytest.mark.campaign
@pytest.mark.parametrize("run", range(3))
async def test_restarts_of_the_whole_cluster_lose_and_double_nothing(tmp_path: Path, run: int) -> None:
    async with KafkaCluster(nodes=3) as cluster:
        said = await restart_brokers(cluster, Team(cluster.bootstrap, tmp_path, LOAD))
        print(f"run {run}, rolling and full restart: {said}", flush=True)
