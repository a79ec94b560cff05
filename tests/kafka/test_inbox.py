"""An inbox turns other systems' events into commands: each exactly once in effect, in order per key."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from uuid import uuid4, uuid5

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic

from eventstore import ConfigurationError, OnError
from eventstore.inbox import Inbox, PlainMessages, Received, Send, receives, receiving, source_of
from eventstore.kafka import KafkaOptions, KafkaSource
from eventstore.kafka.inbox import check_topics, letters_of
from eventstore.kafka.inbox_positions import InboxPositions
from eventstore.publishing import relaying
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
    until_any_counted,
    until_counted,
)
from tests.kafka.logs import create
from tests.kafka.relaying import Noted, count, published, shop
from tests.waiting import until

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


async def test_what_a_relay_publishes_is_received(tmp_path: Path, kafka_bootstrap: str) -> None:
    """From the log of one application over a public topic into the log of another."""
    notes = {f"s{number}": [str(each) for each in range(1, 6)] for number in range(4)}
    public = shop(kafka_bootstrap, tmp_path / "shop")

    class Copies(Inbox, name="copies", topics=[public.notes]):
        @receives
        def noted(self, event: Noted, at: Received) -> Send:
            return Send(Account, at.key, Credit(number=int(event.note), amount=1))

    async with public.store() as source, relaying(source, "feed") as relay:
        await source.log.serving()  # type: ignore[attr-defined]
        await count(source, notes)
        await published(relay, 20)
    place = Place(kafka_bootstrap, f"t{uuid4().hex[:8]}", public.notes, str(tmp_path))
    async with place.store_of(Copies) as store, receiving(store):
        await until_counted(store, {stream: [1, 2, 3, 4, 5] for stream in notes})


async def test_the_commands_of_a_store_on_kafka_are_routed_to_their_owners(place: Place) -> None:
    place = Place(**{**place.__dict__, "on_kafka": True})
    produce(place.bootstrap, place.topic, [record(account, number) for number in range(5) for account in "abc"])
    async with place.store() as store, receiving(store):
        await until_counted(store, {account: list(range(5)) for account in "abc"})


async def test_what_a_transaction_aborted_is_never_received(place: Place) -> None:
    producer = Producer({"bootstrap.servers": place.bootstrap, "transactional.id": place.topic})
    await asyncio.to_thread(producer.init_transactions)

    def transaction(numbers: range, *, commit: bool) -> None:
        producer.begin_transaction()
        for number in numbers:
            key, value, headers = record("a", number)
            producer.produce(place.topic, value, key, headers=headers)
        producer.flush()
        (producer.commit_transaction if commit else producer.abort_transaction)()

    for first, commit in ((0, True), (5, False), (10, True)):
        await asyncio.to_thread(transaction, range(first, first + 5), commit=commit)
    async with place.store() as store, receiving(store):
        await until_counted(store, {"a": [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]})


async def test_other_types_are_passed_over(place: Place) -> None:
    produce(place.bootstrap, place.topic, [record("a", 1, event=Noise()), (b"a", None, []), record("a", 2)])
    async with place.store() as store, receiving(store):
        await until_counted(store, {"a": [2]})


async def halted(place: Place) -> str:
    async with place.store() as store, receiving(store) as (run,):
        await until(lambda: bool(run.halted))
        (why,) = run.halted
        return str(why)


async def test_a_strict_inbox_halts_at_a_type_it_does_not_know(place: Place) -> None:
    produce(place.bootstrap, place.topic, [record("a", 1, event=Noise())])
    why = await halted(Place(**{**place.__dict__, "strict": True}))
    assert f"the inbox payments is halted at {place.topic} partition" in why
    assert "no method of the inbox payments receives 'billing.noise'" in why
    assert "park it: eventstore inbox park payments" in why


@pytest.mark.parametrize(
    ("value", "headers", "cause"),
    [
        (b"{}", [], "cannot be decoded: event_id: Field required"),
        (b"{}", [("event_type", b"billing.paid")], "cannot be decoded: event_id: Field required"),
        (b"{}", [("event_type", b"\xff")], "the header event_type is no UTF-8 text"),
        (b"{}", [("lease", b"1")], "read its public topic"),
    ],
)
async def test_a_message_that_cannot_be_read_halts_its_partition_and_says_why(
    place: Place, value: bytes, headers: list[tuple[str, bytes]], cause: str
) -> None:
    produce(place.bootstrap, place.topic, [(b"a", value, headers)])
    assert cause in await halted(place)


async def test_a_method_that_raises_halts_its_partition_and_no_other(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    accounts = [f"a{n}" for n in range(20)]
    produce(place.bootstrap, place.topic, [record("a0", 0), record("a0", 1, POISON), record("a0", 2)])
    produce(place.bootstrap, place.topic, [record(account, n) for n in range(3) for account in accounts[1:]])
    async with place.store() as store, receiving(store) as (run,):
        await until(lambda: bool(run.halted))
        # Those of the other partition, since at least one of twenty is in it.
        others = [account for account in accounts if account != "a0"]
        await until_any_counted(store, others, [0, 1, 2])
        assert await numbers_of(store, "a0") == [0]
        (why,) = run.halted
    assert "ValueError: thirteen" in str(why)
    assert [each.levelno for each in caplog.records if "thirteen" in each.getMessage()].count(logging.ERROR) == 1


async def test_what_follows_a_rejected_command_waits_until_that_cannot_come_again(
    tmp_path: Path, kafka_bootstrap: str
) -> None:
    place = Place(kafka_bootstrap, f"t{uuid4().hex[:8]}", new_topic(kafka_bootstrap, 1), str(tmp_path))
    # Were the first message of a delivered again behind the second, it would not be rejected any more.
    records = [record("halting", 0, POISON), record("a", 1, -1), record("a", 2, 1), record("b", 1), record("b", 2)]
    produce(place.bootstrap, place.topic, records)
    async with place.store() as store, receiving(store) as (run,):
        await until(lambda: bool(run.halted))
        assert await numbers_of(store, "b") == [1, 2]
        assert await numbers_of(store, "a") == []
        (definition,) = (inbox.definition for inbox in store.application.inboxes)
        message, cause = await InboxPositions(source_of(store), definition).halted_at()
        await letters_of(source_of(store), definition).park(message, cause)
        await until_counted(store, {"a": [2]})


@pytest.mark.parametrize(("policy", "total"), [(None, [1, 2, 3, 4]), (OnError.skip(), [1, 4])])
async def test_a_rejected_command_is_a_normal_outcome_unless_the_inbox_says_otherwise(
    place: Place, policy: OnError | None, total: list[int]
) -> None:
    class Once(Inbox, name="once", topics=[place.topic], on_rejection=policy):
        @receives
        def paid(self, event: Paid, at: Received) -> list[Send]:
            return [
                Send(Account, event.account, CreditOnce(amount=event.amount)),
                Send(Account, "total", Credit(number=event.number, amount=event.amount)),
            ]

    paid = [Paid(number=n, account="b" if n == 4 else "a") for n in (1, 2, 3, 4)]
    produce(place.bootstrap, place.topic, [record("key", event.number, event=event) for event in paid])
    async with place.store_of(Once) as store, receiving(store):
        await until_counted(store, {"a": [0], "b": [0], "total": total})


async def test_messages_of_another_form_are_read_with_an_id_that_the_user_finds(place: Place) -> None:
    class Foreign(
        Inbox,
        name="foreign",
        topics=[place.topic],
        format=PlainMessages(event_type=lambda _: "billing.paid", identify=lambda message: message.header("no")),
    ):
        @receives
        def paid(self, event: Paid, at: Received) -> Send:
            return Send(Account, at.key, Credit(number=event.number, amount=event.amount))

    records = [(b"a", b'{"number": %d, "currency": "EUR"}' % n, [("no", b"INV-%d" % n)]) for n in (1, 2, 2, 1, 3)]
    produce(place.bootstrap, place.topic, [*records, (b"a", b'{"number": 4}', [])])
    async with place.store_of(Foreign) as store, receiving(store) as (run,):
        await until_counted(store, {"a": [1, 2, 3]})
        await until(lambda: bool(run.halted))
        assert "has no id: the function found none" in str(run.halted[0])
        assert "format=PlainMessages(identify=" in str(run.halted[0])


async def test_a_topic_that_is_not_there_is_refused(place: Place) -> None:
    async with Place(**{**place.__dict__, "topic": "no.such.topic"}).store() as store:
        with pytest.raises(ConfigurationError, match=r"payments reads no\.such\.topic, which the brokers at .* do not"):
            async with receiving(store):
                pass


async def test_production_wants_a_safe_topic_for_dead_letters(place: Place) -> None:
    options = KafkaOptions(production=True, replication=1)
    source = KafkaSource(place.bootstrap, prefix=place.prefix, options=options)
    with pytest.raises(ConfigurationError, match=f"{place.prefix}.inbox.payments.dead, for dead letters, does not"):
        await check_topics(source, inbox("payments", place.topic).definition)
    create(place.bootstrap, [NewTopic(f"{place.prefix}.inbox.payments.dead", 1, 1)])
    with pytest.raises(
        ConfigurationError, match=r"there are 1 copies; 3 survive.*\n.*min.insync.replicas=1 instead of 2"
    ):
        await check_topics(source, inbox("payments", place.topic).definition)
    create(place.bootstrap, [NewTopic(f"{place.prefix}.inbox.orders.dead", 2, 1)])
    with pytest.raises(ConfigurationError, match="has several partitions"):
        await check_topics(source, inbox("orders", place.topic).definition)


async def test_deleted_messages_that_were_never_read_end_the_inbox_with_the_way_out(place: Place) -> None:
    from confluent_kafka import TopicPartition
    from confluent_kafka.admin import AdminClient

    produce(place.bootstrap, place.topic, [record("a", 0)])
    async with place.store() as store, receiving(store):
        await until_counted(store, {"a": [0]})
    produce(place.bootstrap, place.topic, [record(f"a{n}", 0) for n in range(40)])
    admin = AdminClient({"bootstrap.servers": place.bootstrap})
    deleted = admin.delete_records([TopicPartition(place.topic, number, -1) for number in range(2)])
    for each in deleted.values():
        await asyncio.to_thread(each.result, 10)
    async with place.store() as store, receiving(store) as (run,):
        with pytest.raises(Exception, match="does not hold any more what .* has not read yet") as refused:
            async with asyncio.timeout(15):
                await run.failed()
    assert "--reset-offsets --to-earliest" in str(refused.value)


def test_an_inbox_is_checked_when_it_is_defined() -> None:
    with pytest.raises(ConfigurationError, match="needs a name"):
        type("Nameless", (Inbox,), {}, topics=["t"])
    with pytest.raises(ConfigurationError, match="reads no topic"):
        type("Deaf", (Inbox,), {}, name="deaf")
    with pytest.raises(ConfigurationError, match="receives nothing"):
        type("Idle", (Inbox,), {}, name="idle", topics=["t"])
    with pytest.raises(ConfigurationError, match=r"must take \(self, event, at\)"):

        class Short(Inbox, name="short", topics=["t"]):
            @receives
            def paid(self, event: Paid) -> None: ...

    with pytest.raises(ConfigurationError, match="annotate `event` with the event class"):

        class Vague(Inbox, name="vague", topics=["t"]):
            @receives
            def paid(self, event: int, at: Received) -> None: ...

    with pytest.raises(ConfigurationError, match="both receive billing.paid"):

        class Twice(Inbox, name="twice", topics=["t"]):
            @receives
            def paid(self, event: Paid, at: Received) -> None: ...

            @receives
            def again(self, event: Paid, at: Received) -> None: ...


def test_the_ids_of_commands_never_change() -> None:
    from eventstore.core.inboxes import InboxFold
    from eventstore.core.messages import Message

    key, value, headers = record("a", 1)
    (incoming,) = InboxFold(inbox("payments", "t")()).commands(Message("t", 0, 7, key, value, dict(headers)))
    assert str(incoming.command_id) == "69abba58-a3cb-5133-90a8-3d4a894f29af"
