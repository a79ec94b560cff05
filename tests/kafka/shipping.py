"""A service whose truth is PostgreSQL, its outbox, and the connector that carries it to Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID, uuid4

from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient
from sqlalchemy import MetaData, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from eventstore.core.messages import Message
from eventstore.kafka.inbox_feed import message_of
from eventstore.outbox import ConnectorOptions, Outbox, connector_config, outbox_table
from eventstore.testing.connect import ConnectWorker
from eventstore.testing.postgres import PostgresServer, fresh_database
from tests.kafka.billing import Paid, new_topic

PASSWORD = "not a secret"

outbox = Outbox(outbox_table(MetaData()), name="billing")
"""For the command line."""


@dataclass(frozen=True)
class Servers:
    """PostgreSQL that decodes its log, and Kafka Connect; the broker runs already."""

    postgres: PostgresServer
    port: int
    connect: ConnectWorker
    bootstrap: str


@dataclass
class Service:
    """One service in a database of its own."""

    servers: Servers
    engine: AsyncEngine
    outbox: Outbox
    topic: str
    role: str

    @property
    def connector(self) -> str:
        return self.outbox.name

    @property
    def options(self) -> ConnectorOptions:
        return ConnectorOptions(
            host="127.0.0.1", port=str(self.servers.port), database=str(self.engine.url.database), user=self.role,
            password="${env:OUTBOX_PASSWORD}", sslmode="disable", partitions=2, replication=1, heartbeat=True,
        )  # fmt: skip

    async def pay(self, connection: AsyncConnection, account: str, *numbers: int, amount: int = 1) -> Sequence[UUID]:
        """Announce payments in the transaction that is under way; gives their ids."""
        events = [Paid(number=number, amount=amount) for number in numbers]
        return await self.outbox.add(connection, f"payments-{account}", *events)

    async def connect(self, **changes: str) -> None:
        """Have the connector run."""
        config = {**connector_config(self.outbox, self.options), "heartbeat.interval.ms": "500", **changes}
        await asyncio.to_thread(self.servers.connect.put, self.connector, config)

    @property
    def legacy_topic(self) -> str:
        """Where the changes of the legacy table go."""
        return f"{self.outbox.name}_cdc.legacy.tasks"

    async def capture(self) -> None:
        """Have another connector run, for a table of a legacy application."""
        own = connector_config(self.outbox, self.options)
        json_converter = "org.apache.kafka.connect.json.JsonConverter"
        shared = {name: own[name] for name in own if name.startswith(("connector.", "plugin.", "database.", "topic."))}
        config = {
            **shared, "topic.prefix": f"{self.outbox.name}_cdc", "table.include.list": "legacy.tasks", "slot.name": f"{self.outbox.name}_legacy",
            "publication.name": f"{self.outbox.name}_legacy", "publication.autocreate.mode": "disabled",
            "snapshot.mode": "initial", "key.converter": json_converter, "value.converter": json_converter,
        }  # fmt: skip
        await asyncio.to_thread(self.servers.connect.put, f"{self.connector}-legacy", config)

    async def execute(self, *statements: str) -> None:
        for statement in statements:
            async with self.engine.begin() as connection:  # a slot cannot be made behind other changes
                await connection.execute(text(statement))

    async def remove(self) -> None:
        """Remove what would keep the database from being dropped."""
        for name in (self.connector, f"{self.connector}-legacy"):
            await asyncio.to_thread(self.servers.connect.delete, name)
        slots = text("SELECT slot_name, active FROM pg_replication_slots WHERE database = current_database()")
        async with asyncio.timeout(20), self.engine.connect() as connection:
            found = list(await connection.execute(slots))
            while any(slot.active for slot in found):
                await asyncio.sleep(0.1)
                found = list(await connection.execute(slots))
            for slot in found:
                await connection.execute(text("SELECT pg_drop_replication_slot(:name)"), {"name": slot.slot_name})
            await connection.commit()


@asynccontextmanager
async def service(servers: Servers) -> AsyncGenerator[Service]:
    """Prepare a database as `eventstore outbox sql` says; the connector is not started yet."""
    name = f"s{uuid4().hex[:8]}"
    topic = new_topic(servers.bootstrap, 2)
    outbox = Outbox(outbox_table(MetaData()), name=name, topic=topic)
    async with fresh_database(servers.postgres.url) as url:
        made = Service(servers, create_async_engine(url), outbox, topic, f"{name}_debezium")
        try:
            await made.execute(*outbox.sql(made.role, heartbeat=True), f"ALTER ROLE {made.role} PASSWORD '{PASSWORD}'")
            await made.execute(
                "CREATE SCHEMA legacy",
                "CREATE TABLE legacy.tasks (id integer PRIMARY KEY, title text NOT NULL)",
                "INSERT INTO legacy.tasks VALUES (1, 'one'), (2, 'two'), (3, 'three')",
                f"CREATE PUBLICATION {name}_legacy FOR TABLE legacy.tasks",
                f"GRANT USAGE ON SCHEMA legacy TO {made.role}",
                f"GRANT SELECT ON legacy.tasks TO {made.role}",
            )
            yield made
        finally:
            await made.remove()
            await made.engine.dispose()
    engine = create_async_engine(servers.postgres.url)
    async with engine.begin() as connection:
        await connection.execute(text(f"DROP ROLE {made.role}"))
    await engine.dispose()


async def messages(bootstrap: str, topic: str, least: int, seconds: float = 40) -> list[Message]:
    """Give what is in a topic, per partition in order, once it is at least so much."""

    def read() -> list[Message]:
        consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "none",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
            }
        )
        found, ends = list[Message](), set[int]()
        try:
            partitions = AdminClient({"bootstrap.servers": bootstrap}).list_topics(topic, 10).topics[topic].partitions
            consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
            for _ in range(int(seconds * 10)):
                for record in consumer.consume(1_000, 0.1):
                    number, error = record.partition() or 0, record.error()
                    if error is None:
                        found.append(message_of((topic, number), record))
                        ends.discard(number)
                    else:
                        assert error.code() == KafkaError._PARTITION_EOF, error
                        ends.add(number)
                if len(found) >= least and len(ends) == len(partitions):
                    return found
        finally:
            consumer.close()
        raise AssertionError(found)

    return await asyncio.to_thread(read)
