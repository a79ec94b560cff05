"""Owners of a Kafka log that stand still for longer than their session, and then go on as if nothing had happened."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pytest

from eventstore.testing.proxy import KafkaProxy
from tests.campaigns.kafka_member import JUMPS
from tests.campaigns.kafka_team import Healing, Load, Running, Team
from tests.conftest import ProxiedKafka

pytestmark = pytest.mark.kafka


Sleep: TypeAlias = AbstractAsyncContextManager[object]


@asynccontextmanager
async def paused(zombie: Running) -> AsyncGenerator[None]:
    zombie.process.send_signal(signal.SIGSTOP)
    yield
    zombie.process.send_signal(signal.SIGCONT)


@asynccontextmanager
async def jumped(team: Team, zombie: Running, jump: str) -> AsyncGenerator[None]:
    async with paused(zombie):
        yield
        team.jump(zombie, jump)


@asynccontextmanager
async def cut_off(proxy: KafkaProxy, how: str) -> AsyncGenerator[None]:
    proxy.cut() if how == "cut" else proxy.stall()
    yield
    proxy.heal()


async def depose_again_and_again(team: Team, rounds: int, asleep: Callable[[Running], Sleep], first: int | None) -> str:
    """Let a member be asleep; another takes over, and the first one finds itself deposed when it wakes.

    Args:
        team: Has been started.
        rounds: How often.
        asleep: Makes a member a zombie for as long as the context lasts.
        first: Which member it is every time; None for one after the other.
    """
    woken: list[float] = []
    for turn in range(rounds):
        await asyncio.sleep(team.chance.uniform(0, 0.5))
        zombie = team.members[turn % len(team.members) if first is None else first]
        await team.serves(zombie, 30)
        team.healing = Healing()
        since = team.healing.since
        async with asleep(zombie):
            await team.heal(30)  # the others acknowledge for it
        team.healing = Healing()
        await team.heal(30)
        woken.append(team.healed.pop())
        await team.acknowledges(zombie, 30)
        await team.serves_again(zombie, since, 30)
    await team.stop_all()
    written = await team.judge()
    assert len(team.evidence.acks) > 20 * rounds, "hardly anything happened"
    return f"{team.result(written)}; after waking max {max(woken):.1f} s"


async def pause_again_and_again(team: Team, rounds: int, jump: str | None) -> str:
    async with team:
        await team.start()
        asleep = partial(jumped, team, jump=jump) if jump else paused
        return await depose_again_and_again(team, rounds, asleep, None)


async def cut_off_again_and_again(kafka: ProxiedKafka, directory: Path, rounds: int, how: str) -> str:
    """Cut the first member off from the broker, which the others go on to reach."""
    async with KafkaProxy(kafka.port) as proxy, Team(kafka.cluster.bootstrap, directory, Load()) as team:
        proxy.lead_to(kafka.cluster.nodes[0].proxied_address)
        await team.start(first_over=proxy.address)
        return await depose_again_and_again(team, rounds, lambda _: cut_off(proxy, how), 0)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("jump", [None, "monotonic +1 h"])
async def test_owners_that_are_paused_write_nothing_late(
    tmp_path: Path, kafka_bootstrap: str, jump: str | None
) -> None:
    print(await pause_again_and_again(Team(kafka_bootstrap, tmp_path, Load()), 1, jump))


@pytest.mark.timeout(120)
async def test_an_owner_that_is_cut_off_writes_nothing_late(tmp_path: Path, proxied_kafka: ProxiedKafka) -> None:
    print(await cut_off_again_and_again(proxied_kafka, tmp_path, 1, "stalled"))


@pytest.mark.campaign
@pytest.mark.parametrize("jump", [None, *JUMPS])
async def test_paused_owners_write_nothing_late_whatever_their_clocks_say(
    tmp_path: Path, kafka_bootstrap: str, jump: str | None
) -> None:
    started, rounds = time.monotonic(), 15 if jump else 30
    said = await pause_again_and_again(Team(kafka_bootstrap, tmp_path, Load()), rounds, jump)
    print(f"{rounds} pauses, {jump or 'no jump'}: {said}; {time.monotonic() - started:,.0f} s", flush=True)


@pytest.mark.campaign
@pytest.mark.parametrize("how", ["cut", "stalled"])
async def test_owners_that_are_cut_off_write_nothing_late(
    tmp_path: Path, proxied_kafka: ProxiedKafka, how: str
) -> None:
    started = time.monotonic()
    said = await cut_off_again_and_again(proxied_kafka, tmp_path, 15, how)
    print(f"15 times {how}: {said}; {time.monotonic() - started:,.0f} s", flush=True)


@pytest.mark.timeout(120)
async def test_a_member_whose_name_was_taken_stops_for_good(tmp_path: Path, kafka_bootstrap: str) -> None:
    """Two processes under one name would depose each other for ever: the older one has to give up."""
    async with Team(kafka_bootstrap, tmp_path, Load(members=2)) as team:
        await team.start(["a", "b"])
        zombie = team.members[0]
        zombie.process.send_signal(signal.SIGSTOP)
        team.healing = Healing()
        successor = await team.join("a")
        await team.heal(30)
        zombie.process.send_signal(signal.SIGCONT)
        await team.gives_up(zombie, 20)
        team.healing = Healing()
        await team.heal(30)
        await team.acknowledges(successor, 30)
        await team.kill(zombie)
        told = [line for line in team.evidence.broken if "another process takes part under the name" in line]
        team.evidence.broken = [line for line in team.evidence.broken if line not in told]
        await team.stop_all()
        await team.judge()
