"""Worker processes share the partitions of a read model: evenly, without stopping each other, each event once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from uuid import uuid4

import pytest

from eventstore import ProjectionFailedError
from tests.cli.conftest import command
from tests.kafka.crews import Crews, Worker, crews
from tests.kafka.working import POISON, Picky, Place
from tests.read.shop import Account, AccountRow, Accounts, Deposit, Open, OwnerRow, Owners
from tests.waiting import until

pytestmark = pytest.mark.kafka


async def shown(team: Crews, projection: type) -> None:
    """Return when a read model shows everything that is committed now, each event once."""
    await team.store.wait_for(projection, await team.store.present(), timeout=20)
    assert all(result.clean for result in await team.store.audit(projection))


async def balances(team: Crews) -> dict[str, int]:
    return {id_: (await team.store.load(Account, id_)).balance for id_ in team.accounts.values()}


@pytest.mark.timeout(60)
async def test_no_process_is_idle_while_another_has_two_partitions_more(tmp_path: Path, kafka_bootstrap: str) -> None:
    async with crews(kafka_bootstrap, tmp_path, str(tmp_path / "read.db")) as team:
        workers = await team.begin(3)  # returns when it is so
        await shown(team, Accounts)
        (status,) = await team.store.statuses()
        owners = {position.checkpoint.owner for position in status.positions}
        rows = await team.store.read_model(Accounts).all()
        assert rows == [AccountRow(account=row.account, owner="ann", balance=row.balance) for row in rows]
        assert {row.account: row.balance for row in rows} == await balances(team)
    assert len(owners) == len(workers)


async def join_and_leave(team: Crews, workers: Sequence[Worker]) -> float:
    """Have another process come and go; gives how long an event waited at most where nothing moved."""
    newcomer = await team.start()
    await until(lambda: "opened" in newcomer.said, newcomer.explain)
    async with team.writing():
        before = {worker: team.partitions_of(worker) for worker in workers}
        joined = time.monotonic_ns()
        await newcomer.begin()
        await until(lambda: bool(newcomer.moves), newcomer.explain)
        stayed = set[str]().union(*(before[worker] & team.partitions_of(worker) for worker in workers))
        left = time.monotonic_ns()
        await newcomer.stop()
        await until(lambda: len(set[str]().union(*(w.served_since(left, "accounts") for w in workers))) == 4)
        await asyncio.sleep(0.3)  # until everything that was written meanwhile is there
        longest = team.longest_wait(stayed, joined)
    assert len(stayed) == 3
    return longest


@pytest.mark.timeout(90)
@pytest.mark.postgres
async def test_partitions_that_do_not_move_go_on_while_others_join_and_leave(
    tmp_path: Path, kafka_bootstrap: str, postgres_database: str
) -> None:
    waits: list[float] = []
    async with crews(kafka_bootstrap, tmp_path, postgres_database) as team:
        workers = await team.begin(2)
        # What others do on the machine is not the workers' fault: a stop that joining causes would be there every time.
        while min(waits, default=1) > 0.2 and len(waits) < 5:
            waits.append(await join_and_leave(team, workers))
        await shown(team, Accounts)
    print(f"longest waits: {waits}")
    assert min(waits) <= 0.2


@pytest.mark.timeout(60)
async def test_partitions_of_a_killed_process_are_served_by_the_others_soon(
    tmp_path: Path, kafka_bootstrap: str
) -> None:
    async with crews(kafka_bootstrap, tmp_path, str(tmp_path / "read.db")) as team:
        one, two, three = await team.begin(3)
        async with team.writing():
            await three.kill()
            killed = time.monotonic_ns()
            await until(
                lambda: len({*one.served_since(killed, "accounts"), *two.served_since(killed, "accounts")}) == 4
            )
        healed = (time.monotonic_ns() - killed) / 1e9
        await shown(team, Accounts)
    print(f"healed after {healed:.1f} s")
    assert healed <= team.place.session_seconds + 2


@pytest.mark.timeout(60)
@pytest.mark.postgres
async def test_a_process_that_stood_still_writes_nothing_late(
    tmp_path: Path, kafka_bootstrap: str, postgres_database: str
) -> None:
    async with crews(kafka_bootstrap, tmp_path, postgres_database, batch_size=2) as team:
        one, zombie = await team.begin(2)
        async with team.writing(0):
            zombie.signal(signal.SIGSTOP)
            stopped = time.monotonic_ns()
            await until(lambda: len(one.served_since(stopped, "accounts")) == 4, one.explain)
            woken = time.monotonic_ns()
            zombie.signal(signal.SIGCONT)
            await team.balanced([one, zombie])
        await shown(team, Accounts)
        rows = await team.store.read_model(Accounts).all()
        assert {row.account: row.balance for row in rows} == await balances(team)
        moved = {(move.partition, move.next_offset) for move in one.moves}
        assert not [move for move in zombie.moves if move.at > woken and (move.partition, move.next_offset) in moved]


@pytest.mark.timeout(60)
@pytest.mark.postgres
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_partitions_that_fold_into_one_row_in_two_processes_lose_nothing(
    tmp_path: Path, kafka_bootstrap: str, postgres_database: str, kind: str
) -> None:
    where = postgres_database if kind == "postgresql" else str(tmp_path / "read.db")
    async with crews(kafka_bootstrap, tmp_path, where, "owners", batch_size=3) as team:
        workers = await team.begin(2)
        async with team.writing(0):
            await asyncio.sleep(2)
        await shown(team, Owners)
        (row,) = await team.store.read_model(Owners).all()
        total = sum((await balances(team)).values())
        shares = [len(team.partitions_of(worker)) for worker in workers]
    assert shares == [2, 2]
    assert row == OwnerRow(owner="ann", accounts=4, total=total)


@pytest.mark.timeout(60)
async def test_a_poisonous_event_halts_only_its_partition(tmp_path: Path, kafka_bootstrap: str) -> None:
    async with crews(kafka_bootstrap, tmp_path, str(tmp_path / "read.db"), "picky") as team:
        await team.begin(2)
        poisoned, account = next(iter(team.accounts.items()))
        done = await team.store.execute(Account, account, Deposit(amount=POISON))
        with pytest.raises(ProjectionFailedError, match=f"account.deposited at account-{account} version"):
            await team.store.wait_for(Picky, done.token, timeout=5)
        for partition, other in team.accounts.items():
            if partition != poisoned:
                done = await team.store.execute(Account, other, Deposit(amount=1))
                await team.store.wait_for(Picky, done.token, timeout=5)
        (status,) = await team.store.statuses()
        failures = {position.checkpoint.partition: position.failure for position in status.positions}
    assert [partition for partition, failure in failures.items() if failure] == [poisoned]
    assert failures[poisoned].cause == "ValueError: thirteen"


@pytest.mark.timeout(60)
async def test_the_command_line_works_until_it_is_told_to_stop_and_finishes_then(
    tmp_path: Path, kafka_bootstrap: str
) -> None:
    place = Place(
        kafka_bootstrap, f"t{uuid4().hex[:8]}", str(tmp_path), str(tmp_path / "read.db"), ["accounts", "owners"]
    )
    process = await asyncio.create_subprocess_exec(
        *command("worker", "--projections", "accounts", "--concurrency", "2"), stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "EVENTSTORE_APP": "tests.kafka.working:app", "WORKING_PLACE": json.dumps(asdict(place))},
    )  # fmt: skip
    assert process.stdout is not None
    async with place.store() as store:
        assert await process.stdout.readline() == b"working on accounts; stop with Ctrl-C\n"
        for number in range(8):
            done = await store.execute(Account, str(number), Open(owner="ann"))
        await store.wait_for(Accounts, done.token)
        process.send_signal(signal.SIGTERM)
        said, _ = await process.communicate()
        await store.wait_for(Accounts, await store.present(), timeout=0.1)
        statuses = await store.statuses()
    assert process.returncode == 0
    assert said.decode().splitlines()[-1] == "stopped; 8 events were processed meanwhile, by this worker and others"
    owners = {status.name: {position.checkpoint.owner for position in status.positions} for status in statuses}
    assert owners == {"accounts": {""}, "owners": set()}


@pytest.mark.timeout(60)
async def test_a_named_process_that_restarts_within_its_session_gets_its_partitions_back(
    tmp_path: Path, kafka_bootstrap: str
) -> None:
    async with crews(kafka_bootstrap, tmp_path, str(tmp_path / "read.db"), session_seconds=8) as team:
        one, two = await team.start(member="one"), await team.start(member="two")
        for worker in (one, two):
            await worker.begin()
        await team.balanced([one, two])
        before, stopped = team.partitions_of(one), time.monotonic_ns()
        await two.stop()
        two = await team.start(member="two")
        await two.begin()
        await team.balanced([one, two])
        assert one.served_since(stopped, "accounts") == before


@pytest.mark.timeout(60)
async def test_a_process_whose_name_another_one_takes_works_no_more_and_says_so(
    tmp_path: Path, kafka_bootstrap: str
) -> None:
    async with crews(kafka_bootstrap, tmp_path, str(tmp_path / "read.db")) as team:
        one, other = await team.start(member="one"), await team.start(member="one")
        await one.begin()
        await team.balanced([one])
        await other.begin()
        await team.balanced([other])
        await until(lambda: "accounts v1: this process works on it no more" in one.notes.read_text(), one.explain)
        assert "another process takes part under the name 'one'" in one.notes.read_text()
