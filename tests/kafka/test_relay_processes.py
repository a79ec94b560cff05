"""Relay processes that are killed or stand still in the middle of a transaction: nothing is lost, nothing doubled."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka.admin import AdminClient

from eventstore.kafka import KafkaLog
from tests.campaigns.kafka_judge import read_events
from tests.campaigns.relay_crew import SIZE, RelayCrew, crew_on, write
from tests.campaigns.relay_judge import expected_versions, read_public, violations
from tests.campaigns.relays import MILESTONE, Place
from tests.waiting import until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]
STREAMS = 12


@asynccontextmanager
async def relays(bootstrap: str, directory: Path, members: int) -> AsyncGenerator[RelayCrew]:
    """Write some hundred events, and start relays that take seconds for them."""
    place = Place(bootstrap, f"t{uuid4().hex[:8]}", str(directory), slowness=0.025)
    async with place.store() as store:
        assert isinstance(store.log, KafkaLog)
        await store.log.serving()
        await write(store.log, range(1), streams=STREAMS)
    async with crew_on(place, members=members) as crew:
        yield crew


def counts(place: Place) -> tuple[int, int]:
    """Tell how many records readers of committed data see, and how many others do."""
    committed, everything = (
        read_public(place.bootstrap, place.topics[0], isolation).count
        for isolation in ("read_committed", "read_uncommitted")
    )
    return committed, everything


def is_there(place: Place) -> bool:
    """Tell whether every topic is there and can be read."""
    found = AdminClient({"bootstrap.servers": place.bootstrap}).list_topics(timeout=10).topics
    return all(topic in found and found[topic].partitions for topic in place.topics)


async def in_the_middle(place: Place) -> None:
    """Return when there is a transaction of which records are there, and others are not."""
    await until(lambda: is_there(place), seconds=40, in_thread=True)

    def is_open() -> bool:
        committed, everything = counts(place)
        return everything > committed

    await until(is_open, seconds=40, in_thread=True)


async def stopped_in_the_middle(crew: RelayCrew) -> None:
    """Return when the first relay stands still with a transaction open: what it had asked for before is over."""
    while True:
        await in_the_middle(crew.place)
        os.kill(crew.pids[0], signal.SIGSTOP)
        await asyncio.sleep(0.5)
        committed, everything = await asyncio.to_thread(counts, crew.place)
        if everything > committed:
            return
        os.kill(crew.pids[0], signal.SIGCONT)


async def judged(place: Place) -> tuple[int, int]:
    """Wait until everything is published, and check it; gives what readers of committed data and others see."""
    source = await asyncio.to_thread(read_events, place.bootstrap, f"{place.prefix}.counter.events")
    assert len(source.valid) == STREAMS * SIZE
    await until(lambda: is_there(place), seconds=40, in_thread=True)
    await until(lambda: counts(place)[0] >= len(source.valid), seconds=40, in_thread=True)
    for topic, every in zip(place.topics, (1, MILESTONE, MILESTONE), strict=True):
        found = await asyncio.to_thread(read_public, place.bootstrap, topic)
        assert list(violations(expected_versions(source.valid, every), found)) == []
    return await asyncio.to_thread(counts, place)


async def test_what_a_killed_relay_did_not_commit_is_published_by_the_next_one(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    async with relays(kafka_bootstrap, tmp_path, 1) as crew:
        await stopped_in_the_middle(crew)
        await crew.kill()
        committed, everything = await judged(crew.place)
        assert everything > committed, "the kill aborted nothing"


async def test_a_relay_that_stood_still_publishes_nothing_after_another_one_took_over(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    async with relays(kafka_bootstrap, tmp_path, 1) as crew:
        await in_the_middle(crew.place)
        (zombie,) = crew.pids
        os.kill(zombie, signal.SIGSTOP)
        await crew.start()
        before = await judged(crew.place)
        os.kill(zombie, signal.SIGCONT)
        log = tmp_path / "relay-0.log"
        await until(lambda: "a transaction failed" in log.read_text(), log.read_text)
        assert await judged(crew.place) == before


async def test_a_relay_that_is_told_to_stop_ends_its_transactions(kafka_bootstrap: str, tmp_path: Path) -> None:
    async with relays(kafka_bootstrap, tmp_path, 1) as crew:
        await in_the_middle(crew.place)
        await crew.stop(40)
        committed, everything = await asyncio.to_thread(counts, crew.place)
        assert committed == everything, "a transaction was left open, or aborted"
        crew.pids.clear()
        await crew.start()
        assert (await judged(crew.place))[0] == STREAMS * SIZE


def eventstore(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "eventstore.cli", "--app", "tests.campaigns.relays:app", *arguments)


async def run(place: Place, *arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *eventstore(*arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "RELAY_PLACE": json.dumps(asdict(place))},
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


async def test_the_command_publishes_until_told_to_stop_and_shows_how_far_it_is(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    async with relays(kafka_bootstrap, tmp_path, 0) as crew:
        place = crew.place
        code, said = await run(place, "relay", "--status")
        assert (code, said.count("new")) == (0, 6), said
        process = await asyncio.create_subprocess_exec(
            *eventstore("relay"),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "RELAY_PLACE": json.dumps(asdict(place))},
        )
        await judged(place)
        process.send_signal(signal.SIGTERM)
        out, _ = await process.communicate()
        assert process.returncode == 0
        topics = ", ".join(sorted(place.topics))
        assert f"publishing feed to {topics}; stop with Ctrl-C" in out.decode()
        assert f"stopped; {STREAMS * SIZE} events were published by this relay" in out.decode()
        code, said = await run(place, "--json", "relay", "--status", "--max-behind", "0")
        assert code == 0, said
        rows = [json.loads(line) for line in said.splitlines()]
        assert {row["state"] for row in rows} == {"idle"}
        assert [row["behind"] for row in rows] == [0] * 6


async def test_the_command_says_what_it_cannot_relay(kafka_bootstrap: str, tmp_path: Path) -> None:
    place = Place(kafka_bootstrap, "t", str(tmp_path))
    code, said = await run(place, "relay", "--publication", "nothing")
    assert (code, "there is no publication 'nothing' in this application; there is feed" in said) == (2, True), said
