"""Stores that write Avro: with a real registry, on the embedded log and on Kafka."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient, topic_record_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from eventstore import Event, EventStore, Settings, SqliteLog, upcasts
from eventstore.core.aggregates import Aggregate, decides, evolves
from eventstore.core.commands import Command
from eventstore.core.envelope import Metadata
from eventstore.core.errors import ConfigurationError, LogUnavailableError, UndecodableEventError
from eventstore.kafka import KafkaLog, KafkaOptions
from eventstore.kafka.records import headers_of
from eventstore.ports import EventCodec, EventLog
from eventstore.prepared import PreparedLog
from eventstore.schema import AvroCodec, EventName, SchemaRegistry
from eventstore.testing.memory import MemoryLog
from eventstore.transfer import export_log, import_log
from examples.task_domain.aggregates import Calendar, Task
from examples.task_domain.commands import AssignTask, CompleteTask, CreateTask
from examples.task_domain.escalation import Escalation
from examples.task_domain.read_models import ActivityFeed, TaskBoard, Workload
from tests.schema.conftest import BY_RECORD, Register
from tests.topics import read_topic

pytestmark = pytest.mark.timeout(90)  # the first waits for the registry to start

EMITTED = [*Task.evolvers, *Calendar.evolvers]
CREATE = CreateTask(title="write", due=date(2026, 1, 2))


def tasks(log: EventLog, codec: EventCodec | None, **settings: Any) -> EventStore:
    return EventStore(
        log,
        aggregates=[Task, Calendar],
        projections=[TaskBoard, Workload, ActivityFeed],
        processes=[Escalation],
        codec=codec,
        settings=Settings(**settings),
    )


async def test_a_store_holds_json_and_avro_and_is_read_whole(tmp_path: Path, register: Register) -> None:
    path = tmp_path / "tasks.db"
    async with tasks(SqliteLog(path), None) as store:
        await store.execute(Task, "1", CREATE)
    codec = await register(*EMITTED)
    async with tasks(SqliteLog(path), codec) as store:
        first = await store.execute(Task, "1", AssignTask(assignee="ann"))
        done = await store.execute(Task, "1", CompleteTask(), caused_by=(await store.history(Task, "1"))[1].at)

    fresh = AvroCodec(codec.registry, namespace=codec.namespace)
    async with tasks(SqliteLog(path), fresh) as store:
        history = await store.history(Task, "1")
        assert [at.stored.envelope[:1] for _, at in history] == [b"{", b"\x00", b"\x00"]
        assert [event for event, _ in history][1:] == [*first.events, *done.events]
        assert history[2].at.metadata.correlation_id == history[1].at.metadata.correlation_id
        assert (await store.load(Task, "1")).done
        await store.wait_for(TaskBoard, done.token)
        row = await store.read_model(TaskBoard).get("1")
        assert row is not None
        assert row.done
        assert all(result.clean for result in await store.audit())
        assert len(await store.why(TaskBoard, "1")) == 3


async def test_reading_avro_comes_before_writing_it(tmp_path: Path, register: Register) -> None:
    path, codec = tmp_path / "tasks.db", await register(*EMITTED)
    async with tasks(SqliteLog(path), codec) as store:
        await store.execute(Task, "1", CREATE)

    reading = AvroCodec(codec.registry, namespace="not_registered", writes=False)
    async with tasks(SqliteLog(path), reading) as store:
        await store.execute(Task, "1", CompleteTask())
        assert [at.stored.envelope[:1] for _, at in await store.history(Task, "1")] == [b"\x00", b"{"]


async def test_a_store_does_not_open_while_a_schema_is_not_registered(
    tmp_path: Path, schema_registry_url: str, namespace: str
) -> None:
    codec = AvroCodec(schema_registry_url, namespace=namespace)
    with pytest.raises(
        ConfigurationError, match=rf"not registered.*{namespace}\.task\.created\.v1\.Envelope"
    ) as refusal:
        async with tasks(SqliteLog(tmp_path / "tasks.db"), codec):
            pass
    assert "`eventstore schemas register`" in str(refusal.value)
    async with SchemaRegistry(schema_registry_url) as registry:
        assert await registry.versions(f"{namespace}.task.created.v1.Envelope") == []


async def test_a_store_without_registry_says_which_event_it_cannot_read(tmp_path: Path, register: Register) -> None:
    path = tmp_path / "tasks.db"
    async with tasks(SqliteLog(path), await register(*EMITTED)) as store:
        await store.execute(Task, "1", CREATE)

    async with tasks(SqliteLog(path), None, workers=False) as store:
        with pytest.raises(
            UndecodableEventError, match=r"task\.created at task-1 version 1 .*this store has no registry"
        ):
            await store.load(Task, "1")


async def test_a_registry_that_is_away_is_missed_only_by_who_needs_it(tmp_path: Path, register: Register) -> None:
    path, codec = tmp_path / "tasks.db", await register(*EMITTED)
    async with tasks(SqliteLog(path), codec, workers=False) as store:
        await store.execute(Task, "1", CREATE)
    away = SchemaRegistry("http://127.0.0.1:9", {"max.retries": 0})

    knowing = AvroCodec(away, namespace=codec.namespace)
    knowing._written.update(codec._written)
    knowing._writing.update(codec._writing)
    async with tasks(SqliteLog(path), knowing, workers=False) as store:
        await store.execute(Task, "1", CompleteTask())

    async with tasks(SqliteLog(path), AvroCodec(away, writes=False), workers=False) as store:
        with pytest.raises(
            LogUnavailableError, match="schema registry at http://127.0.0.1:9 did not do what was asked"
        ):
            await store.load(Task, "1")


def test_a_prepared_log_leaves_nothing_of_a_log_out() -> None:
    # A protocol's own bodies would answer None for whatever is missing.
    promised = {name for cls in EventLog.__mro__ for name in vars(cls) if cls.__module__ == "eventstore.ports.log"}
    promised = {name for name in promised if not name.startswith("_")} | {"__aenter__", "__aexit__"}
    kept = {name for cls in PreparedLog.__mro__ if cls.__module__ != "eventstore.ports.log" for name in vars(cls)}
    assert promised - kept == set()
    assert len(promised) > 15


class Raised(Event, type="old.raised"):
    by: str


class Raise(Command):
    by: str


class OldCounter(Aggregate, category="counter"):
    total: int = 0

    @decides
    def do(self, command: Raise) -> Raised:
        return Raised(by=command.by)

    @evolves
    def raised(self, event: Raised) -> None:
        self.total += int(event.by)


class RaisedByNumber(Event, type="old.raised", version=2):
    by: int

    @upcasts(from_version=1)
    def to_number(data: Any) -> Any:
        return {"by": int(data["by"])}


class Counter(Aggregate, category="counter"):
    total: int = 0

    @decides
    def do(self, command: Raise) -> RaisedByNumber:
        return RaisedByNumber(by=int(command.by))

    @evolves
    def raised(self, event: RaisedByNumber) -> None:
        self.total += event.by


async def test_public_events_have_subjects_of_their_topic(register: Register, schema_registry_url: str) -> None:
    codec = await register(Raised, topic="shop.counters")
    async with codec:
        value = codec.encode(Raised(by="2"), uuid4(), datetime.now(UTC), Metadata(uuid4(), uuid4()))
    ((subject, derived),) = codec.subjects.items()
    assert subject == topic_record_subject_name_strategy(
        SerializationContext("shop.counters", MessageField.VALUE), derived.name
    )

    other = AvroCodec(schema_registry_url)
    async with other:
        await other.prepare([value, b'{"json": true}', b""])
        assert other.name_of(value) == EventName("old.raised", 1)
        assert other.decode(Raised, value) == Raised(by="2")


async def test_events_of_an_older_version_are_upcast(tmp_path: Path, register: Register) -> None:
    path = tmp_path / "counter.db"
    async with EventStore(SqliteLog(path), aggregates=[OldCounter], codec=await register(Raised)) as old:
        await old.execute(OldCounter, "1", Raise(by="2"))

    async with EventStore(SqliteLog(path), aggregates=[Counter], codec=await register(RaisedByNumber)) as new:
        assert (await new.execute(Counter, "1", Raise(by="3"))).events == (RaisedByNumber(by=3),)
        assert (await new.load(Counter, "1")).total == 5


async def test_an_export_keeps_avro_as_it_is(register: Register) -> None:
    codec, exported = await register(*EMITTED), io.BytesIO()
    async with EventStore(MemoryLog(), aggregates=[Task, Calendar], codec=codec) as store:
        await store.execute(Task, "1", CREATE)
        before = [at.stored.envelope for _, at in await store.history(Task, "1")]
        await export_log(store.log, exported)
    exported.seek(0)
    async with EventStore(MemoryLog(), aggregates=[Task, Calendar], codec=codec) as store:
        await import_log(store.log, exported)
        assert [at.stored.envelope for _, at in await store.history(Task, "1")] == before


@pytest.mark.kafka
async def test_any_avro_deserializer_reads_the_events_topic(
    tmp_path: Path, register: Register, kafka_bootstrap: str, schema_registry_url: str
) -> None:
    prefix, codec = f"avro-{uuid4().hex[:8]}", await register(*EMITTED)
    log = KafkaLog(kafka_bootstrap, prefix=prefix, options=KafkaOptions(partitions=1, directory=tmp_path))
    async with tasks(log, codec) as store:
        done = await store.execute(Task, "1", CREATE)
        await store.execute(Task, "1", CompleteTask())
        assert (await store.load(Task, "1", linearizable=True)).done
        await store.wait_for(TaskBoard, done.token, timeout=15)
        identity = (await store.history(Task, "1"))[0].at.event_id

    read = [message for message in read_topic(kafka_bootstrap, f"{prefix}.task.events") if message.key()[:1] != b"\x00"]
    with SchemaRegistryClient({"url": schema_registry_url}) as client:
        deserialize = AvroDeserializer(client, conf=BY_RECORD)
        values: list[Any] = [
            deserialize(message.value(), SerializationContext(message.topic(), MessageField.VALUE)) for message in read
        ]
    assert [dict(headers_of(message))["content_type"] for message in read] == [b"application/avro"] * 2
    assert [value["event_type"] for value in values] == ["task.created", "task.completed"]
    assert values[0]["event_id"] == identity
    assert values[0]["data"] == {"title": "write", "due": date(2026, 1, 2)}
