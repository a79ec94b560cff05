"""Processes of two versions of the package at once, on one cluster under load: rolled forward, back, and killed.

The older version is built from the commit that `UPGRADE_FROM` names.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import time
from bisect import bisect_right
from collections import Counter as Tally
from contextlib import closing
from pathlib import Path

import pytest

from eventstore import EventStore, Settings
from eventstore.publishing import relaying
from tests.campaigns.earlier import ROOT, installed
from tests.campaigns.kafka_judge import Written
from tests.campaigns.kafka_team import Healing, Load, Running, Team
from tests.campaigns.relay_judge import expected_versions, read_public
from tests.campaigns.relay_judge import violations as misprinted
from tests.campaigns.relays import MILESTONE, Place
from tests.campaigns.test_kafka_deploys import longest_gap
from tests.campaigns.test_kafka_relay import published_all
from tests.campaigns.upgrade_member import log_of
from tests.campaigns.worker_judge import Shown, differences, folded
from tests.campaigns.workers import Notes, Totals
from tests.write.domain import Counter

pytestmark = [pytest.mark.kafka, pytest.mark.campaign]
UPGRADE_FROM = os.environ.get("UPGRADE_FROM", "a5e3484")


class Upgrade(Team):
    """A team whose members run one version or the other."""

    module = "tests.campaigns.upgrade_member"

    def __init__(self, bootstrap: str, directory: Path, load: Load, old: str) -> None:
        super().__init__(bootstrap, directory, load)
        self.old = old
        self.of: dict[str, str] = {}
        self.senders: dict[str, str] = {}
        self.published: Tally[str] = Tally()
        self.projected: set[str] = set()
        self.gaps: dict[str, list[float]] = {}

    async def join(self, name: str | None = None, over: str | None = None) -> Running:
        member = await super().join(name, over)
        self.of[str(member.process.pid)] = "old" if self.python == self.old else "new"
        return member

    def heard(self, member: Running, text: str) -> None:
        version = self.of[str(member.process.pid)]
        match text.split():
            case ["version", path]:
                assert Path(path).is_relative_to(ROOT) == (version == "new"), path
            case ["sent", key, *_]:
                self.senders[key] = version
            case ["published", count]:
                self.published[version] += int(count)
            case _:
                pass

    async def replace(self, old: Running, version: str, step: str, *, kill: bool = False) -> None:
        """End a member in order, or kill it, and start one of a version; note how long a partition was silent."""
        begun = time.monotonic_ns()
        await (self.kill(old) if kill else self.stop(old))
        self.healing = Healing()
        self.python = self.old if version == "old" else sys.executable
        await self.opened(await self.join())
        await self.heal(40)
        self.gaps.setdefault(step, []).append(longest_gap(self.evidence, begun, time.monotonic_ns()))
        with closing(sqlite3.connect(self.directory / "read.db", timeout=20)) as db:
            owners = [owner for (owner,) in db.execute("SELECT owner FROM eventstore_checkpoints WHERE owner <> ''")]
        self.projected |= {self.of.get(owner.split(":")[1], "?") for owner in owners}

    async def roll(self, version: str, step: str, *, kill: bool = False) -> None:
        """Replace one member after the other, the ones that have been there longest first."""
        for old in list(self.members):
            await self.replace(old, version, step, kill=kill)


def crossings(team: Upgrade, written: Written) -> Tally[tuple[str, str]]:
    """Count the commands by the version that sent them and the one that executed them."""
    found: Tally[tuple[str, str]] = Tally()
    for record in written.valid:
        if record.part == 1:
            claims = written.claims[record.partition]
            claim = claims[bisect_right([each.offset for each in claims], record.offset) - 1]
            found[team.senders[str(record.command)], team.of[claim.pid]] += 1
    return found


async def judged(team: Upgrade, place: Place) -> Written:
    """Have this version finish what there is to project and to relay, and judge everything."""
    written = await team.judge()
    settings = {
        "bootstrap": team.bootstrap, "prefix": team.prefix, "partitions": place.partitions, "member": None,
        "directory": str(team.directory / "judge"), "session_seconds": 2.0,
    }  # fmt: skip
    store = EventStore(
        log_of(settings),
        aggregates=[Counter],
        projections=[Totals, Notes],
        query_store=team.directory / "read.db",
        settings=Settings(serve=False),
    )
    async with store:
        for projection in (Totals, Notes):
            await store.wait_for(projection, await store.present(), timeout=120)
        assert all(result.clean for result in await store.audit())
        totals = {row.counter: row for row in await store.read_model(Totals).all()}
        notes = {row.note: row for row in await store.read_model(Notes).all()}
    wrong = differences(folded(team.bootstrap, f"{team.prefix}.counter.events"), Shown(totals, notes))
    assert not wrong, "\n".join(wrong[:20])
    if team.published:
        async with relaying(place.store("judge"), "feed"):
            await published_all(place, 120)
        for topic, every in zip(place.topics, (1, MILESTONE, MILESTONE), strict=True):
            seen = await asyncio.to_thread(read_public, team.bootstrap, topic)
            broken = list(misprinted(expected_versions(written.valid, every), seen))
            assert not broken, f"{topic}: {len(broken)} violations:\n" + "\n".join(broken[:20])
    return written


async def test_an_upgrade_and_its_rollback_lose_double_and_refuse_nothing(tmp_path: Path, kafka_bootstrap: str) -> None:
    cycles = int(os.environ.get("CYCLES", "3"))
    earlier = tmp_path / "earlier"
    earlier.mkdir()
    old = await asyncio.to_thread(installed, UPGRADE_FROM, earlier)
    team = Upgrade(kafka_bootstrap, tmp_path, Load(members=3, callers=8, session_seconds=2), old)
    async with team:
        team.python = old
        await team.start()
        for _ in range(cycles):
            await team.roll("old", "old to old")
            await team.roll("new", "old to new")
            await team.roll("new", "new to new")
            await team.roll("old", "new to old")
            await team.replace(team.members[0], "new", "killed while mixed", kill=True)
            await team.replace(team.members[0], "old", "killed while mixed", kill=True)
            await team.replace(team.members[0], "old", "killed while mixed", kill=True)
        await team.roll("new", "old to new")
        await team.stop_all()
    place = Place(kafka_bootstrap, team.prefix, str(tmp_path), partitions=4)
    written = await judged(team, place)
    crossed = crossings(team, written)
    shown = {
        step: f"p50 {sorted(gaps)[len(gaps) // 2]:.1f} s, max {max(gaps):.1f} s" for step, gaps in team.gaps.items()
    }
    print(
        f"from {UPGRADE_FROM}, {cycles} cycles: longest silence of a partition {shown}; commands by sender and owner "
        f"{dict(crossed)}; relayed {dict(team.published)}; read models by {team.projected}; {team.result(written)}",
        flush=True,
    )
    assert all(crossed[sender, owner] for sender in ("old", "new") for owner in ("old", "new"))
    assert {"old", "new"} <= team.projected
    assert not team.published or all(team.published[version] for version in ("old", "new"))
    within = max(gap for step in ("old to old", "new to new") for gap in team.gaps[step])
    for step in ("old to new", "new to old"):
        assert max(team.gaps[step]) <= within + 5, (step, team.gaps)
