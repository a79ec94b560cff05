"""kill -9 of owners of a Kafka log at random points under load: nothing acknowledged is lost or doubled."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from tests.campaigns.kafka_team import Healing, Load, Team

pytestmark = pytest.mark.kafka


async def kill_again_and_again(team: Team, kills: int) -> str:
    async with team:
        await team.start()
        for _ in range(kills):
            await asyncio.sleep(team.chance.uniform(0, 1.0))
            victim = await team.owner(40)
            team.healing = Healing()
            await team.kill(victim)
            await team.join()
            await team.heal(30)
        await team.stop_all()
        written = await team.judge()
        assert len(team.evidence.acks) > 20 * kills, "hardly anything happened"
        return team.result(written)


@pytest.mark.timeout(120)
async def test_owners_that_are_killed_lose_and_double_nothing(tmp_path: Path, kafka_bootstrap: str) -> None:
    print(await kill_again_and_again(Team(kafka_bootstrap, tmp_path, Load()), 4))


@pytest.mark.campaign
@pytest.mark.parametrize("run", range(10))
async def test_three_hundred_killed_owners_lose_and_double_nothing(
    tmp_path: Path, kafka_bootstrap: str, run: int
) -> None:
    started = time.monotonic()
    said = await kill_again_and_again(Team(kafka_bootstrap, tmp_path, Load()), 30)
    print(f"run {run}, 30 kills: {said}; {time.monotonic() - started:,.0f} s", flush=True)


@pytest.mark.campaign
async def test_killed_owners_with_a_longer_session_are_healed_as_soon_after_it(
    tmp_path: Path, kafka_bootstrap: str
) -> None:
    said = await kill_again_and_again(Team(kafka_bootstrap, tmp_path, Load(session_seconds=12)), 15)
    print(f"15 kills, session 12 s: {said}", flush=True)
