"""What an inbox could not process is parked, seen, tried again or given up, from the command line."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from dataclasses import asdict, replace
from pathlib import Path
from uuid import uuid4

import pytest

from eventstore.inbox import receiving, source_of
from eventstore.kafka.inbox import letters_of
from eventstore.kafka.inbox_positions import InboxPositions
from tests.cli.conftest import command
from tests.kafka.billing import POISON, Place, new_topic, numbers_of, produce, record, until_counted
from tests.waiting import until

pytestmark = pytest.mark.kafka


@pytest.fixture
def place(tmp_path: Path, kafka_bootstrap: str) -> Place:
    return Place(kafka_bootstrap, f"t{uuid4().hex[:8]}", new_topic(kafka_bootstrap, 1), str(tmp_path), poison=True)


def run(place: Place, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ, "EVENTSTORE_APP": "tests.kafka.billing:app", "BILLING_PLACE": json.dumps(asdict(place)),
        "COLUMNS": "160", "NO_COLOR": "1",
    }  # fmt: skip
    return subprocess.run(command(*arguments), env=environment, capture_output=True, text=True, check=False)


async def call(place: Place, *arguments: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(run, place, *arguments)


@pytest.mark.timeout(120)  # it runs the command line several times
async def test_a_parked_message_is_listed_tried_again_and_settled(place: Place) -> None:
    place = replace(place, then="dead_letter")
    numbers = [record("a", 1), record("a", 2, POISON), record("a", 3), record("a", 4, POISON)]
    produce(place.bootstrap, place.topic, numbers)
    async with place.store() as store, receiving(store):
        await until_counted(store, {"a": [1, 3]})

        waiting = letters_of(source_of(store), store.application.inboxes[0].definition).waiting
        async with asyncio.timeout(15):
            while len(await waiting()) < 2:  # noqa: ASYNC110 - of a topic
                await asyncio.sleep(0.05)
    listed = await call(place, "--json", "inbox", "dead", "list", "payments")
    first, second = (json.loads(line) for line in listed.stdout.splitlines())
    _, value, headers = numbers[1]
    assert (first["topic"], first["partition"], first["offset"], first["key"]) == (place.topic, 0, 1, "a")
    assert first["value"] == value.decode()
    assert first["headers"] == {name: content.decode() for name, content in headers}
    assert first["cause"] == "ValueError: thirteen"

    again = await call(place, "inbox", "dead", "retry", "payments", str(first["id"]))
    assert again.returncode == 2
    assert f"dead letter {first['id']} failed again and stays: ValueError: thirteen" in again.stderr
    fixed = replace(place, poison=False)
    again = await call(fixed, "inbox", "dead", "retry", "payments", str(first["id"]))
    assert (again.returncode, again.stdout) == (0, f"executed: {place.topic} partition 0 offset 1\n"), again.stderr
    gone = await call(place, "inbox", "dead", "discard", "payments", str(second["id"]))
    assert gone.stdout == f"discarded: {place.topic} partition 0 offset 3\n"
    assert await waiting() == []
    async with place.store() as store:
        assert await numbers_of(store, "a") == [1, 3, 2]


@pytest.mark.timeout(120)  # it runs the command line several times
async def test_a_halted_inbox_shows_where_and_goes_on_behind_a_message_that_somebody_parks(place: Place) -> None:
    produce(place.bootstrap, place.topic, [record("a", 1), record("a", 2, POISON), record("a", 3)])
    async with place.store() as store, receiving(store) as (one,):
        await until(lambda: bool(one.halted))
        positions = InboxPositions(source_of(store), store.application.inboxes[0].definition)
        async with asyncio.timeout(15):
            while not (await positions.all())[0].halted:  # noqa: ASYNC110 - of a group
                await asyncio.sleep(0.05)
        status = await call(place, "inbox", "status")
        assert status.returncode == 5
        assert f"payments is halted at {place.topic} partition 0 offset 1" in status.stdout
        assert "ValueError: thirteen" in status.stdout
        parked = await call(place, "inbox", "park", "payments")
        assert parked.returncode == 0, parked.stderr
        assert parked.stdout.startswith(f"parked: {place.topic} partition 0 offset 1")
        await until_counted(store, {"a": [1, 3]})
        async with asyncio.timeout(15):
            while (await positions.all())[0].behind:  # noqa: ASYNC110 - of a group
                await asyncio.sleep(0.05)
        assert one.halted == []
    status = await call(place, "inbox", "status")
    assert (status.returncode, status.stdout.split()[7:]) == (
        0,
        ["payments", place.topic, "0", "current", "3", "3", "0"],
    )
    nothing = await call(place, "inbox", "park", "payments")
    assert nothing.returncode == 2
    assert "the inbox payments is not halted: there is nothing to park" in nothing.stderr


@pytest.mark.timeout(60)
async def test_the_command_runs_inboxes_until_it_is_told_to_stop(place: Place) -> None:
    produce(place.bootstrap, place.topic, [record("a", 1), record("a", 2, POISON)])
    environment = {
        **os.environ,
        "EVENTSTORE_APP": "tests.kafka.billing:app",
        "BILLING_PLACE": json.dumps(asdict(place)),
    }
    process = await asyncio.create_subprocess_exec(
        *command("inbox", "--inbox", "payments"), env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with place.store() as store:
        await until_counted(store, {"a": [1]})
    assert process.stderr is not None
    async with asyncio.timeout(15):
        said = (await process.stderr.readline()).decode()
    assert said.startswith(
        f"ERROR the inbox payments is halted at {place.topic} partition 0 offset 1: ValueError: thirteen. "
    )
    process.terminate()
    printed, _ = await process.communicate()
    assert process.returncode == 0
    assert printed.decode().splitlines() == [
        "receiving into payments; stop with Ctrl-C",
        "stopping: what is under way is finished, then others take over",
        "stopped",
    ]


@pytest.mark.timeout(60)
async def test_an_unknown_inbox_is_refused(place: Place) -> None:
    refused = await call(place, "inbox", "--inbox", "nothing")
    assert refused.returncode == 2
    assert "there is no inbox 'nothing': this application has payments" in refused.stderr
