"""Debezium carries an outbox to Kafka, and inboxes make commands of it, on PostgreSQL, Kafka Connect and Kafka."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from confluent_kafka.admin import NewTopic
from sqlalchemy import text

from eventstore import Aggregate, Command, ConfigurationError, Event, EventStore, decides, evolves
from eventstore.core.envelope import read_envelope
from eventstore.inbox import Change, DebeziumRows, Inbox, Received, Send, SourceRow, receives, receiving
from tests.kafka.billing import Account, Place, produce, until_counted
from tests.kafka.logs import create
from tests.kafka.shipping import Servers, messages, service

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.timeout(150)]


async def test_events_leave_in_the_envelope_if_and_only_if_their_transaction_commits(servers: Servers) -> None:
    async with service(servers) as one:
        async with one.engine.begin() as connection:
            await one.pay(connection, "a", 1)  # before the connector has ever run
        async with one.engine.connect() as connection:
            await one.pay(connection, "a", 2)
            await connection.rollback()
        await one.connect()
        async with one.engine.begin() as connection:
            ids = await one.pay(connection, "a", 3, 4)
        found = await messages(one.servers.bootstrap, one.topic, 3)
        async with one.engine.connect() as connection:
            assert (await connection.execute(text("SELECT count(*) FROM outbox"))).scalar() == 0
    envelopes = [read_envelope(message.value or b"", "") for message in found]
    assert [envelope.data["number"] for envelope in envelopes] == [1, 3, 4]
    assert [envelope.event_id for envelope in envelopes[1:]] == ids
    assert {envelope.metadata.correlation_id for envelope in envelopes[1:]} == {ids[0]}
    for message, envelope in zip(found, envelopes, strict=True):
        assert message.key == b"a"
        assert {name: value.decode() for name, value in message.headers.items()} == {
            "id": str(envelope.event_id),
            "event_id": str(envelope.event_id),
            "event_type": "billing.paid",
            "schema_version": "1",
            "occurred_at": envelope.occurred_at.isoformat().replace("+00:00", "Z"),
            "correlation_id": str(envelope.metadata.correlation_id),
            "causation_id": str(envelope.metadata.causation_id),
        }
        assert UUID(message.header("event_id") or "") == envelope.event_id


async def test_an_outbox_refuses_a_connection_that_commits_each_statement_by_itself(servers: Servers) -> None:
    async with service(servers) as one:
        engine = one.engine.execution_options(isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            with pytest.raises(ConfigurationError, match="the outbox needs a transaction"):
                await one.pay(connection, "a", 1)


class TaskRow(SourceRow, table="legacy.tasks"):
    """What is of interest of a legacy application's table."""

    title: str


class Changed(Event, type="copy.changed"):
    operation: str
    title: str | None


class Copy(Command):
    operation: str
    title: str | None


class CopiedTask(Aggregate, category="copy"):
    @decides
    def copy_row(self, command: Copy) -> Changed:
        return Changed(operation=command.operation, title=command.title)

    @evolves
    def changed(self, event: Changed) -> None: ...


def legacy_tasks(topic: str) -> type[Inbox]:
    class LegacyTasks(Inbox, name="legacy_tasks", topics=[topic], format=DebeziumRows()):
        @receives
        def changed(self, change: Change[TaskRow], at: Received) -> Send:
            title = change.after.title if change.after else None
            return Send(CopiedTask, str(change.key["id"]), Copy(operation=change.operation.name, title=title))

    return LegacyTasks


async def copies(store: EventStore, count: int) -> list[list[tuple[str, str | None]]]:
    """Give what became of the first so many rows."""
    return [
        [
            (event.operation, event.title)
            for event, _ in await store.history(CopiedTask, str(number))
            if isinstance(event, Changed)
        ]
        for number in range(1, count + 1)
    ]


async def until_copied(store: EventStore, wanted: list[list[tuple[str, str | None]]]) -> None:
    found: list[list[tuple[str, str | None]]] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(40):
            while found != wanted:
                found = await copies(store, len(wanted))
                await asyncio.sleep(0.05)
    assert found == wanted


async def test_a_killed_worker_of_kafka_connect_loses_nothing_and_what_it_repeats_has_no_effect(
    servers: Servers, tmp_path: Path
) -> None:
    accounts, payments = [f"a{number}" for number in range(20)], 40
    wanted = {account: list(range(payments)) for account in accounts}

    async with service(servers) as one:

        async def write(numbers: range) -> None:
            for number in numbers:
                async with one.engine.begin() as connection:
                    for account in accounts:
                        await one.pay(connection, account, number)

        create(servers.bootstrap, [NewTopic(one.legacy_topic, 2, 1)])
        place = Place(servers.bootstrap, f"t{uuid4().hex[:8]}", one.topic, str(tmp_path))
        await one.connect()
        await one.capture()
        template = place.store()
        store = EventStore(
            template.log, source=template.source, aggregates=[Account, CopiedTask],
            inboxes=[*template.application.inboxes, legacy_tasks(one.legacy_topic)],
        )  # fmt: skip
        async with store, receiving(store):
            await write(range(payments // 2))
            await one.execute(
                "UPDATE legacy.tasks SET title = 'two!' WHERE id = 2",
                "DELETE FROM legacy.tasks WHERE id = 3",
                "INSERT INTO legacy.tasks VALUES (4, 'four')",
                "UPDATE legacy.tasks SET title = 'four!' WHERE id = 4",
            )
            before = [
                [("READ", "one")],
                [("READ", "two"), ("UPDATE", "two!")],
                [("READ", "three"), ("DELETE", None)],
                [("CREATE", "four"), ("UPDATE", "four!")],
            ]
            await until_copied(store, before)
            await until_counted(store, {account: list(range(payments // 2)) for account in accounts}, 40)
            # It has not noted yet how far it was: it begins again, and reads the legacy table once more, as it is now.
            await asyncio.to_thread(servers.connect.kill)
            await write(range(payments // 2, payments))
            await asyncio.to_thread(servers.connect.start)
            await until_counted(store, wanted, 60)
            after = [before[0], [*before[1], ("READ", "two!")], before[2], [*before[3], ("READ", "four!")]]
            await until_copied(store, after)
            # What is delivered again, bit by bit, has no effect either.
            legacy = await messages(servers.bootstrap, one.legacy_topic, 7)
            again = [(message.key, message.value, []) for message in legacy]
            produce(servers.bootstrap, one.legacy_topic, again)
            await one.execute("UPDATE legacy.tasks SET title = 'one!' WHERE id = 1")
            await until_copied(store, [[*before[0], ("UPDATE", "one!")], *after[1:]])
        delivered = await messages(servers.bootstrap, one.topic, len(accounts) * payments)
    assert len(delivered) > len(accounts) * payments
