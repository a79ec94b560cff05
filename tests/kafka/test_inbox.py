"""An inbox turns other systems' events into commands: each exactly once in effect, in order per key."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from uuid import uuid4, uuid5

import pytest
from confluent_kafka import Producer

from eventstore import ConfigurationError, OnError
from eventstore.inbox import Inbox, JsonMessages, Received, Send, receives, receiving
from tests.kafka.billing import (
    NAMESPACE,
    POISON,
    Account,
    Credit,
    CreditOnce,
    Noise,
    Paid,
    Place,
    inbox,
    new_topic,
    numbers_of,
    produce,
    record,
    until_counted,
)

pytestmark = pytest.mark.kafka


@pytest.fixture
def place(tmp_path: Path, kafka_bootstrap: str) -> Place:
    return Place(kafka_bootstrap, f"t{uuid4().hex[:8]}", new_topic(kafka_bootstrap), str(tmp_path))


async def test_every_event_becomes_its_command_once_in_the_order_of_its_key(place: Place) -> None:
    wanted = {f"a{n}": list(range(20)) for n in range(10)}
    records = [record(account, number) for number in range(20) for account in wanted]
    produce(place.bootstrap, place.topic, [each for one in records for each in (one, one)])
    async with place.store() as store, receiving(store):
        await until_counted(store, wanted)
        produce(place.bootstrap, place.topic, records)  # once more, long after
        produce(place.bootstrap, place.topic, [record(account, 20) for account in wanted])
        await until_counted(store, {account: [*numbers, 20] for account, numbers in wanted.items()})


async def test_the_envelope_alone_is_enough_and_its_correlation_is_carried_on(place: Place) -> None:
    produce(place.bootstrap, place.topic, [record("a", 1, bare=True), record("b", 1)])
    async with place.store() as store, receiving(store):
        await until_counted(store, {"a": [1], "b": [1]})
        for account in ("a", "b"):
            ((_, at),) = await store.history(Account, account)
            assert at.metadata.correlation_id == uuid5(NAMESPACE, f"order of {account}")


async def test_the_commands_of_a_store_on_kafka_are_routed_to_their_owners(place: Place) -> None:
    place = Place(**{**place.__dict__, "on_kafka": True})
    produce(place.bootstrap, place.topic, [record(account, number) for number in range(5) for account in "abc"])
    async with place.store() as store, receiving(store):
        await until_counted(store, dict.fromkeys("abc", list(range(5))))
