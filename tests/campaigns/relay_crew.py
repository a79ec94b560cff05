"""Relay processes of a test, to be killed, paused and replaced, and the events that they publish."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from uuid import uuid4

from eventstore.core.errors import EventStoreError
from eventstore.core.ids import derived_id, event_id
from eventstore.kafka import KafkaLog
from eventstore.ports import NewEvent, StreamCommit
from tests.campaigns.nursery import Crew, manned
from tests.campaigns.relays import Place

STREAMS = 200
SIZE = 50
MEMBERS = 3


@dataclass
class RelayCrew(Crew):
    """Relays, disturbed mostly in the middle of something."""

    place: Place

    async def disturb(self, kills: int) -> None:
        """Kill so many, and pause and rebalance a quarter as many each, in random order."""
        kinds = [*[self.kill] * kills, *[self.pause] * (kills // 4), *[self.rebalance] * (kills // 4)]
        self.chance.shuffle(kinds)
        for kind in kinds:
            await kind()
            self.done[kind.__name__] += 1
            # Mostly longer than a session, so that there is something to kill in the middle of.
            await asyncio.sleep(self.chance.uniform(0.5, 3 * self.place.session_seconds))
        await asyncio.gather(*self.waking)


def crew_on(place: Place, seed: int = 0, members: int = MEMBERS) -> AbstractAsyncContextManager[RelayCrew]:
    chance = random.Random(seed)
    return manned("tests.campaigns.relays", place, lambda nursery: RelayCrew(nursery, place, chance), members)


def commits_of(round_: int, streams: int) -> list[StreamCommit]:
    """Give the next commands, one of `SIZE` events for each stream."""
    commits: list[StreamCommit] = []
    for number in range(streams):
        command = derived_id(uuid4(), "command")
        metadata = f'{{"correlation_id":"{command}","causation_id":"{command}"}}'
        events: list[NewEvent] = []
        for index in range(1, SIZE + 1):
            identity = event_id(command, index)
            envelope = (
                f'{{"event_id":"{identity}","event_type":"counter.counted","occurred_at":"2026-01-01T00:00:00.000000'
                f'+00:00","data":{{"by":{index},"note":""}},"metadata":{metadata}}}'
            )
            events.append(NewEvent("counter.counted", 1, identity.bytes, 1_767_225_600_000_000, envelope.encode()))
        commits.append(StreamCommit(f"counter-s{number}", round_ * SIZE, command.bytes, tuple(events)))
    return commits


async def write(log: KafkaLog, rounds: range, pace: float = 0.0, streams: int = STREAMS) -> None:
    """Write rounds of commands; whatever fails retriably is repeated under the same ids."""
    for round_ in rounds:
        groups: dict[str, list[StreamCommit]] = {}
        for commit in commits_of(round_, streams):
            groups.setdefault(log.partition_of(commit.stream), []).append(commit)
        await asyncio.gather(*(write_group(log, partition, commits) for partition, commits in groups.items()))
        await asyncio.sleep(pace)


async def write_group(log: KafkaLog, partition: str, commits: Sequence[StreamCommit]) -> None:
    while True:
        try:
            outcomes = await log.commit(partition, commits)
        except EventStoreError as error:
            if not error.retriable:
                raise
            await asyncio.sleep(0.1)
            continue
        assert {type(outcome).__name__ for outcome in outcomes} <= {"Appended", "Duplicated"}, outcomes
        return
