"""Workers that are killed, paused, cut off from their database and rebalanced apply every event exactly once."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from eventstore import EventStore
from eventstore.core.checkpoints import Checkpoint
from eventstore.core.errors import EventStoreError
from eventstore.core.records import Partition, StoredEvent
from eventstore.ports import QueryStore
from eventstore.testing.postgres import fresh_database
from tests.campaigns.nursery import Crew, manned
from tests.campaigns.worker_judge import Shown, differences, folded
from tests.campaigns.workers import Notes, Place, Totals
from tests.write.domain import Count, Counter

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]
MEMBERS = 3
STREAMS = 24
NOTES = 5
WRITERS = 8
PAUSE_SECONDS = 0.05


@dataclass
class WorkerCrew(Crew):
    """Workers, whose database can be cut off."""

    database: str = ""

    async def cut(self) -> None:
        """The database ends every connection."""
        connection = await asyncpg.connect(self.database.replace("+asyncpg", ""))
        try:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        finally:
            await connection.close()

    async def disturb(self, rounds: int) -> None:
        """Do so many things in random order.

        On PostgreSQL half of them are kills, a fifth pauses and rebalances each, a tenth cuts. A process that stands
        still in the middle of a batch holds the only write lock of an SQLite file, so there are no pauses there.
        """
        ten = [*[self.kill] * 5, *[self.pause] * 2, *[self.rebalance] * 2, self.cut]
        if not self.database:
            ten = [*[self.kill] * 7, *[self.rebalance] * 3]
        kinds = ten * (rounds // 10)
        self.chance.shuffle(kinds)
        for kind in kinds:
            self.done[kind.__name__] += 1
            await kind()
            await asyncio.sleep(self.chance.uniform(0, 0.8))
        await asyncio.gather(*self.waking)


def crew_on(place: Place, database: str, seed: int) -> AbstractAsyncContextManager[WorkerCrew]:
    chance = random.Random(seed)
    return manned(
        "tests.campaigns.workers",
        place,
        lambda nursery: WorkerCrew(nursery, place, chance, database=database),
        MEMBERS,
    )


@asynccontextmanager
async def writing(store: EventStore, chance: random.Random, size: int) -> AsyncGenerator[None]:
    """Have commands of 1 to `size` events executed all the time."""

    async def write() -> None:
        while True:
            command = Count(
                by=chance.choice([1, -1, 3]), times=chance.randint(1, size), note=f"n{chance.randrange(NOTES)}"
            )
            try:
                await store.execute(Counter, f"s{chance.randrange(STREAMS)}", command)
            except (
                EventStoreError
            ) as error:  # on a busy machine this process may miss its own session; the topic counts
                if not error.retriable:
                    raise
            await asyncio.sleep(PAUSE_SECONDS)

    writers = [asyncio.create_task(write()) for _ in range(WRITERS)]
    try:
        yield
    finally:
        for writer in writers:
            writer.cancel()
        for found in await asyncio.gather(*writers, return_exceptions=True):
            assert isinstance(found, asyncio.CancelledError), found


async def shown(store: EventStore) -> Shown:
    return Shown(
        {row.counter: row for row in await store.read_model(Totals).all()},
        {row.note: row for row in await store.read_model(Notes).all()},
    )


async def plant(store: EventStore, query: QueryStore, copies: Callable[[StoredEvent], list[StoredEvent]]) -> Partition:
    """Move over a new event as if it were another number of them."""
    done = await store.execute(Counter, f"planted-{uuid4().hex[:4]}", Count(note="planted"))
    ((partition, end),) = done.token.positions.items()
    before: Checkpoint | None = await query.claim(Totals.definition, partition, "planter", 60, force=True)
    assert before is not None
    page = await store.log.read(partition, before.next_offset, 10)
    async with query.transaction() as transaction:
        await transaction.advance(before, before.after(copies(page.events[-1]), end))
    return partition


async def judge(store: EventStore, place: Place) -> int:
    """Check every promise, and that broken ones would be noticed; gives the number of events."""
    topic = f"{place.prefix}.counter.events"
    expected, found = await asyncio.to_thread(folded, place.bootstrap, topic), await shown(store)
    assert differences(expected, found) == []
    assert [result for result in await store.audit() if not result.clean] == []

    query = store._opened_query_store
    assert query is not None
    skipped = await plant(store, query, lambda event: [])
    while (doubled := await plant(store, query, lambda event: [event, event])) == skipped:
        skipped = await plant(store, query, lambda event: [])
    verdicts = {result.partition: result.verdict for result in await store.audit(Totals) if not result.clean}
    assert "skipped" in verdicts[skipped]
    assert "too many" in verdicts[doubled] or "other events" in verdicts[doubled]
    planted = await asyncio.to_thread(folded, place.bootstrap, topic)
    assert len(differences(planted, await shown(store))) >= 2
    one = next(iter(expected.totals.values()))
    assert differences(
        expected, found._replace(totals={**found.totals, one.counter: one.model_copy(update={"total": 0.5})})
    )
    return sum(row.events for row in expected.totals.values())


async def disturb_and_judge(place: Place, database: str, rounds: int, size: int) -> str:
    seed = int(os.environ.get("SEED", random.randrange(2**32)))
    print(f"seed {seed}, {place.directory}")
    async with place.store(serve=True) as store, crew_on(place, database, seed) as crew:
        began = time.monotonic()
        async with writing(store, random.Random(seed + 1), size):
            await asyncio.sleep(1)
            await crew.disturb(rounds)
        disturbed = time.monotonic() - began
        for projection in (Totals, Notes):
            await store.wait_for(projection, await store.present(), timeout=180)
        await crew.stop(30)
        events = await judge(store, place)
    faults = ", ".join(f"{count} x {kind}" for kind, count in sorted(crew.done.items()))
    return (
        f"{rounds} faults in {disturbed:,.0f} s ({faults}; {effects(place)}), {events:,} events, "
        "0 differences, audit clean"
    )


def effects(place: Place) -> str:
    """Count what workers noticed and lived to tell; a defect is none of it."""
    said = "".join(log.read_text() for log in Path(place.directory).glob("worker-*.log"))
    assert "a defect stopped the worker" not in said
    assert "a worker ended" not in said
    return f"{said.count('trying again in')} batches tried again"


def place_on(bootstrap: str, directory: Path, query_store: str) -> Place:
    return Place(bootstrap, f"c{uuid4().hex[:10]}", str(directory), query_store)


@pytest.mark.timeout(120)
async def test_workers_that_are_disturbed_apply_every_event_once(
    tmp_path: Path, kafka_bootstrap: str, postgres_database: str
) -> None:
    place = place_on(kafka_bootstrap, tmp_path, postgres_database)
    print(await disturb_and_judge(place, postgres_database, rounds=10, size=20))


@pytest.mark.campaign
async def test_a_thousand_disturbances_of_workers(tmp_path: Path, kafka_bootstrap: str, postgres_url: str) -> None:
    started = time.monotonic()
    for run in range(int(os.environ.get("RUNS", "10"))):
        directory = tmp_path / f"{run}"
        directory.mkdir()
        async with fresh_database(postgres_url) as database:
            place = replace(place_on(kafka_bootstrap, directory, database), batch_size=200, slowness=0.00005)
            said = await disturb_and_judge(place, database, rounds=100, size=100)
        print(f"{said}; {time.monotonic() - started:,.0f} s so far", flush=True)


@pytest.mark.campaign
async def test_hundreds_of_killed_workers_on_sqlite(tmp_path: Path, kafka_bootstrap: str) -> None:
    for run in range(int(os.environ.get("RUNS", "2"))):
        directory = tmp_path / f"{run}"
        directory.mkdir()
        place = replace(place_on(kafka_bootstrap, directory, str(directory / "read.db")), batch_size=200, slowness=0.0)
        print(await disturb_and_judge(place, "", rounds=100, size=50), flush=True)
