"""Another system that announces payments, and inboxes that count them; also as a process of its own.

`python -m tests.kafka.billing '{"bootstrap": ..., "prefix": ..., "topic": ..., "database": ..., "inbox": ...}'`
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4, uuid5

from confluent_kafka import Producer

from eventstore import Aggregate, Command, CommandRejectedError, Event, EventStore, OnError, SqliteLog, decides, evolves
from eventstore.core.envelope import Metadata, write_envelope
from eventstore.inbox import Inbox, Received, Send, receives, receiving
from eventstore.kafka import KafkaLog, KafkaOptions, KafkaSource
from tests.kafka.logs import create

NAMESPACE = UUID(int=1)
POISON = 13


class Paid(Event, type="billing.paid"):
    """What the other system announces; payments of an account are numbered."""

    number: int
    amount: int = 1
    account: str = ""


class Noise(Event, type="billing.noise"):
    pass


class Credited(Event, type="account.credited"):
    number: int
    amount: int


class Credit(Command):
    number: int
    amount: int


class CreditOnce(Command):
    amount: int


class Account(Aggregate, category="account"):
    balance: int = 0
    numbers: list[int] = []

    @decides
    def credit(self, command: Credit) -> Credited:
        if self.balance + command.amount < 0:
            raise CommandRejectedError("there is not enough")
        return Credited(number=command.number, amount=command.amount)

    @decides
    def credit_once(self, command: CreditOnce) -> Credited:
        if self.exists:
            raise CommandRejectedError("there is a balance already")
        return Credited(number=0, amount=command.amount)

    @evolves
    def credited(self, event: Credited) -> None:
        self.balance += event.amount
        self.numbers = [*self.numbers, event.number]


def inbox(name: str, topic: str, *, poison: bool = True, **options: Any) -> type[Inbox]:
    """Make an inbox on a test's own topic."""

    class Payments(Inbox, name=name, topics=[topic], **options):
        @receives
        def paid(self, event: Paid, at: Received) -> Send | None:
            if event.amount < 0 and "BILLING_PAUSE" in os.environ:
                print("pausing", flush=True)
                sys.stdin.readline()
            if event.amount == POISON and poison:
                raise ValueError("thirteen")
            return Send(Account, at.key, Credit(number=event.number, amount=event.amount)) if event.amount else None

    return Payments


def record(account: str, number: int, amount: int = 1, *, event: Event | None = None, bare: bool = False) -> Any:
    """Make a record as a public topic has it: key, value, headers; `bare` leaves the headers out."""
    paid = event or Paid(number=number, amount=amount)
    event_id = uuid5(NAMESPACE, f"{account}:{number}")
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    metadata = Metadata(uuid5(NAMESPACE, f"order of {account}"), event_id)
    value = write_envelope(paid, event_id, moment, metadata)
    headers = [] if bare else [
        ("event_id", str(event_id).encode()), ("event_type", paid.event_type.encode()), ("schema_version", b"1"),
        ("occurred_at", moment.isoformat().encode()), ("correlation_id", str(metadata.correlation_id).encode()),
    ]  # fmt: skip
    return account.encode(), value, headers


def produce(bootstrap: str, topic: str, records: Sequence[Any], **settings: Any) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, **settings})
    for key, value, headers in records:
        producer.produce(topic, value, key, headers=headers)
    assert producer.flush(15) == 0


def new_topic(bootstrap: str, partitions: int = 2) -> str:
    from confluent_kafka.admin import NewTopic

    topic = f"billing.{uuid4().hex[:8]}.payments"
    create(bootstrap, [NewTopic(topic, partitions, 1)])
    return topic


@dataclass(frozen=True)
class Place:
    """Where everything is."""

    bootstrap: str
    prefix: str
    topic: str
    directory: str
    on_kafka: bool = False
    then: str = "halt"
    strict: bool = False
    poison: bool = True
    member: str | None = None

    def store(self) -> EventStore:
        policy = {"halt": OnError.halt, "dead_letter": OnError.dead_letter, "skip": OnError.skip}[self.then]()
        return self.store_of(inbox("payments", self.topic, on_error=policy, strict=self.strict, poison=self.poison))

    def store_of(self, payments: type[Inbox], codec: Any = None) -> EventStore:
        options = KafkaOptions(partitions=2, directory=Path(self.directory), session_seconds=2, member=self.member)
        if self.on_kafka:
            log: Any = KafkaLog(self.bootstrap, prefix=self.prefix, options=options)
            return EventStore(log, aggregates=[Account], inboxes=[payments])
        source = KafkaSource(self.bootstrap, prefix=self.prefix, options=options, codec=codec)
        log = SqliteLog(Path(self.directory) / "accounts.db")
        return EventStore(log, aggregates=[Account], inboxes=[payments], source=source)


def app() -> EventStore:
    """The application, for the command line."""
    return Place(**json.loads(os.environ["BILLING_PLACE"])).store()


async def numbers_of(store: EventStore, account: str) -> list[int]:
    return (await store.load(Account, account)).numbers


async def until_counted(store: EventStore, wanted: dict[str, list[int]], seconds: float = 20) -> None:
    """Return when every account has exactly these payments, in order."""
    found: dict[str, list[int]] = {}
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while found != wanted:
                found = {account: await numbers_of(store, account) for account in wanted}
                await asyncio.sleep(0.02)
    assert found == wanted


async def until_any_counted(store: EventStore, accounts: Sequence[str], numbers: list[int]) -> None:
    """Return when one of the accounts has exactly these payments, in order."""
    found: list[list[int]] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(20):
            while numbers not in found:
                found = [await numbers_of(store, account) for account in accounts]
                await asyncio.sleep(0.02)
    assert numbers in found


async def work(place: Place) -> None:
    async with place.store() as store, receiving(store):
        print("receiving", flush=True)
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s", level=logging.INFO)
    asyncio.run(work(Place(**json.loads(sys.argv[1]))))
