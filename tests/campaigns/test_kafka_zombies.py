"""Owners of a Kafka log that stand still for longer than their session, and then go on as if nothing had happened."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest

from tests.campaigns.kafka_team import Healing, Load, Team

pytestmark = pytest.mark.kafka


async def pause_again_and_again(team: Team, rounds: int) -> str:
    """Pause one member after the other; another takes over, and the paused one finds itself deposed."""
    woken: list[float] = []
    async with team:
        await team.start()
        for turn in range(rounds):
            await asyncio.sleep(team.chance.uniform(0, 0.5))
            zombie = team.members[turn % len(team.members)]
            team.healing = Healing()
            zombie.process.send_signal(signal.SIGSTOP)
            await team.heal(30)  # the others acknowledge for it
            team.healing = Healing()
            zombie.process.send_signal(signal.SIGCONT)
            await team.heal(30)
            woken.append(team.healed.pop())
            await team.acknowledges(zombie, 30)
            await team.serves_again(zombie, team.healing.since, 30)
        await team.stop_all()
        written = await team.judge()
        assert len(team.evidence.acks) > 20 * rounds, "hardly anything happened"
        return f"{team.result(written)}; after waking max {max(woken):.1f} s"


@pytest.mark.timeout(120)
async def test_owners_that_are_paused_write_nothing_late(tmp_path: Path, kafka_bootstrap: str) -> None:
    print(await pause_again_and_again(Team(kafka_bootstrap, tmp_path, Load()), 2))


@pytest.mark.campaign
async def test_a_hundred_paused_owners_write_nothing_late(tmp_path: Path, kafka_bootstrap: str) -> None:
    started = time.monotonic()
    for run in range(4):
        directory = tmp_path / f"{run}"
        directory.mkdir()
        said = await pause_again_and_again(Team(kafka_bootstrap, directory, Load()), 25)
        print(f"25 pauses: {said}; {time.monotonic() - started:,.0f} s so far", flush=True)


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
