"""A relay reads Avro and publishes Avro, which the registry's own deserializer understands."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from eventstore import ConfigurationError, EventStore, Settings
from eventstore.kafka import KafkaLog, KafkaOptions
from eventstore.prepared import unprepared
from eventstore.publishing import relaying
from eventstore.schema import AvroCodec, SchemaRegistry
from eventstore.schema.codec import schema_text
from tests.kafka.relaying import PARTITIONS, count, feed_of, published
from tests.schema.conftest import BY_RECORD
from tests.topics import read_topic
from tests.write.domain import Counter

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]


def store_on(bootstrap: str, prefix: str, directory: Path, url: str) -> EventStore:
    return EventStore(
        KafkaLog(bootstrap, prefix=prefix, options=KafkaOptions(partitions=PARTITIONS, directory=directory)),
        aggregates=[Counter],
        publications=[feed_of(prefix)],
        codec=AvroCodec(SchemaRegistry(url), namespace=prefix),
        settings=Settings(batch_size=50),
    )


async def register(codec: AvroCodec) -> None:
    async with codec.registry as registry:
        for cls, derived in codec.derived.items():
            await registry.register(codec.subject_of(cls), schema_text(derived.schema))


def read_avro(bootstrap: str, topic: str, url: str) -> list[tuple[dict[str, object], dict[str, bytes]]]:
    with SchemaRegistryClient({"url": url}) as client:
        decode, context = AvroDeserializer(client, conf=BY_RECORD), SerializationContext(topic, MessageField.VALUE)
        return [
            (decode(message.value(), context), dict(message.headers()))
            for message in read_topic(bootstrap, topic, "read_committed")
        ]


async def test_avro_goes_in_and_out(kafka_bootstrap: str, schema_registry_url: str, tmp_path: Path) -> None:
    prefix = f"t{uuid4().hex[:8]}"
    store = store_on(kafka_bootstrap, prefix, tmp_path, schema_registry_url)
    codec = store.codec
    assert isinstance(codec, AvroCodec)
    await register(codec)
    async with store:
        log = unprepared(store.log)
        assert isinstance(log, KafkaLog)
        await log.serving()
        await count(store, {"s1": ["one", "two"]})

    relay = store_on(kafka_bootstrap, prefix, tmp_path, schema_registry_url)
    with pytest.raises(ConfigurationError, match=r"not registered.*eventstore schemas register"):
        async with relaying(relay, "feed"):
            pass
    feed = relay.application.publications[0].definition
    for topic in feed.topics:
        public = codec.for_topic(topic)
        public.declare([contract.event for contract in feed.contracts if contract.topic == topic])
        await register(public)
    async with relaying(store_on(kafka_bootstrap, prefix, tmp_path, schema_registry_url), "feed") as running:
        await published(running, 2)

    found = await asyncio.to_thread(read_avro, kafka_bootstrap, f"{prefix}.public.notes", schema_registry_url)
    assert [value["data"] for value, _ in found] == [{"version": 1, "note": "one"}, {"version": 2, "note": "two"}]
    for value, headers in found:
        assert headers["content_type"] == b"application/avro"
        assert headers["event_id"].decode() == str(value["event_id"])
        assert headers["causation_id"].decode() == str(value["metadata"]["causation_id"])  # type: ignore[index]
