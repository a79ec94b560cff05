"""A new version is built by all processes that have its code, and one of them compares and switches."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from eventstore import EventStore, RebuildOptions
from eventstore.core.checkpoints import SubscriptionStatus
from eventstore.core.errors import OwnershipLostError
from eventstore.core.rebuilds import RebuildProgress
from tests.cli.conftest import command
from tests.kafka.crews import Crews, Worker, crews
from tests.kafka.working import Place
from tests.read.shop import Accounts
from tests.read.test_rebuild import NewAccounts
from tests.waiting import until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]
DEPOSITS = 60


@asynccontextmanager
async def with_history(path: Path, bootstrap: str) -> AsyncGenerator[tuple[Crews, EventStore]]:
    """Give a store whose first version shows some hundred events, and one of the next release beside it."""
    async with crews(bootstrap, path, str(path / "read.db")) as team:
        team.store.query_side.start_workers()
        for _ in range(DEPOSITS):
            await team.write_everywhere()
        await team.store.wait_for(Accounts, await team.store.present(), timeout=20)
        team.place = replace(team.place, names=["new_accounts"])
        async with team.place.store() as new:
            yield team, new


async def builders(team: Crews, count: int) -> list[Worker]:
    workers = [await team.start() for _ in range(count)]
    for worker in workers:
        await worker.begin()
    return workers


async def seen(store: EventStore, holds: Callable[[SubscriptionStatus], bool]) -> None:
    """Return when something can be seen of the second version."""
    async with asyncio.timeout(20):
        while True:
            if any(holds(status) for status in await store.statuses() if status.version == 2):
                return
            await asyncio.sleep(0.02)


async def shown_alike(team: Crews, new: EventStore) -> None:
    await new.wait_for(NewAccounts, await new.present(), timeout=10)
    assert await new.read_model(NewAccounts).all() == await team.store.read_model(Accounts).all()
    assert all(result.clean for result in await new.audit())


async def test_several_processes_build_a_version_and_it_is_switched_to(tmp_path: Path, kafka_bootstrap: str) -> None:
    told: list[RebuildProgress] = []
    async with with_history(tmp_path, kafka_bootstrap) as (team, new):
        workers = await builders(team, 2)
        result = await new.rebuild(NewAccounts, RebuildOptions(batch_size=10, throttle=120), told.append)
        await until(lambda: all(team.moved(worker, "accounts") for worker in workers))
        await shown_alike(team, new)
    assert result.switched
    assert result.events == 4 * (DEPOSITS + 1)
    assert result.comparisons["accounts"].counts == {}
    assert {name: of for name, (_, of) in told[0].partitions.items()} == dict.fromkeys(team.accounts, DEPOSITS + 1)
    assert [progress.done for progress in told] == sorted(progress.done for progress in told)


async def test_a_builder_that_is_killed_is_replaced(tmp_path: Path, kafka_bootstrap: str) -> None:
    async with with_history(tmp_path, kafka_bootstrap) as (team, new):
        one, two = await builders(team, 2)
        rebuilding = asyncio.create_task(new.rebuild(NewAccounts, RebuildOptions(batch_size=5, throttle=80)))
        await until(lambda: bool(team.moved(one, "accounts") and team.moved(two, "accounts")), one.explain)
        await one.kill()
        result = await rebuilding
        await shown_alike(team, new)
    assert result.switched


async def test_everybody_sees_how_far_it_is_and_nobody_begins_a_second_one(
    tmp_path: Path, kafka_bootstrap: str
) -> None:
    async with with_history(tmp_path, kafka_bootstrap) as (team, new):
        runner = await asyncio.create_subprocess_exec(
            *command("rebuild", "accounts", "--throttle", "40", "--batch-size", "5"),
            env={**os.environ, "EVENTSTORE_APP": "tests.kafka.working:app", "WORKING_PLACE": json.dumps(asdict(team.place))},
        )  # fmt: skip
        try:
            await seen(new, lambda found: bool(found.progress and found.progress.done > 10 and found.progress.eta))
            with pytest.raises(
                OwnershipLostError, match=r"accounts v2 is being rebuilt by .*/rebuild since 20..-..-.. "
            ):
                await new.rebuild(NewAccounts)
            shown = await status_of(team.place)
            assert shown["running"]
            assert 10 < shown["done"] < shown["total"] == 4 * (DEPOSITS + 1)
            assert shown["eta"] > 0
        finally:
            runner.kill()
            await runner.wait()
        await seen(new, lambda found: bool(found.rebuild and not found.rebuild.running))
        result = await new.rebuild(NewAccounts)
        await shown_alike(team, new)
    assert result.switched
    assert 0 < result.events < 4 * (DEPOSITS + 1) - 10


async def status_of(place: Place) -> dict[str, object]:
    shown = await asyncio.create_subprocess_exec(
        *command("--json", "rebuild", "accounts", "--status"), stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "EVENTSTORE_APP": "tests.kafka.working:app", "WORKING_PLACE": json.dumps(asdict(place))},
    )  # fmt: skip
    said, _ = await shown.communicate()
    return json.loads(said)
