"""Members of a Kafka event store are stopped in order and replaced, one after the other."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.campaigns.kafka_judge import Evidence
from tests.campaigns.kafka_team import Healing, Load, Team

pytestmark = pytest.mark.kafka


async def replace_one_after_the_other(team: Team, rounds: int, *, static: bool) -> str:
    gaps: list[float] = []
    names = [f"member-{number}" if static else None for number in range(team.load.members)]
    async with team:
        await team.start(names)
        for _ in range(rounds):
            old, begun = team.members[0], time.monotonic_ns()
            await team.stop(old)
            team.healing = Healing()
            await team.opened(await team.join(old.name))
            await team.heal(30)
            gaps.append(longest_gap(team.evidence, begun, time.monotonic_ns()))
        await team.stop_all()
        written = await team.judge()
        assert len(team.evidence.acks) > 20 * rounds, "hardly anything happened"
        gaps.sort()
        how = "static" if static else "dynamic"
        return f"{how}: gap p50 {gaps[len(gaps) // 2]:.1f} s, max {gaps[-1]:.1f} s; {team.result(written)}"


def longest_gap(evidence: Evidence, begun: int, ended: int) -> float:
    """Give the longest time in which some partition acknowledged nothing."""
    moments: dict[str, list[int]] = {}
    for acks in evidence.acks.values():
        for at, _, partition in acks:
            if begun <= at <= ended:
                moments.setdefault(partition, []).append(at)
    gaps = [
        later - earlier
        for times in moments.values()
        for earlier, later in zip([begun, *sorted(times)], [*sorted(times), ended], strict=True)
    ]
    return max(gaps) / 1e9


@pytest.mark.timeout(120)
@pytest.mark.parametrize("static", [False, True])
async def test_a_rolling_deploy_loses_and_doubles_nothing(tmp_path: Path, kafka_bootstrap: str, static: bool) -> None:
    load = Load(session_seconds=8 if static else 2)
    print(await replace_one_after_the_other(Team(kafka_bootstrap, tmp_path, load), 2, static=static))


@pytest.mark.campaign
@pytest.mark.parametrize("static", [False, True])
async def test_thirty_hand_overs_lose_and_double_nothing(tmp_path: Path, kafka_bootstrap: str, static: bool) -> None:
    load = Load(session_seconds=8 if static else 2)
    said = await replace_one_after_the_other(Team(kafka_bootstrap, tmp_path, load), 30, static=static)
    print(f"30 hand-overs, {said}", flush=True)
