"""Inboxes read Avro of a registry: envelopes, and records of somebody else's schema, beside JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from uuid import uuid4

import fastavro
import pytest

from eventstore.core.envelope import Metadata
from eventstore.inbox import Inbox, PlainMessages, Received, Send, receives, receiving
from eventstore.schema import AvroCodec, SchemaRegistry
from eventstore.schema.codec import schema_text
from tests.kafka.billing import Account, Credit, Paid, Place, inbox, new_topic, produce, record, until_counted
from tests.waiting import until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]


@pytest.fixture
def place(tmp_path: Path, kafka_bootstrap: str) -> Place:
    return Place(kafka_bootstrap, f"t{uuid4().hex[:8]}", new_topic(kafka_bootstrap, 1), str(tmp_path))


async def envelopes(url: str, topic: str, *numbers: int) -> list[bytes]:
    """Give payments in Avro, as a relay writes them."""
    async with SchemaRegistry(url) as registry:
        codec = AvroCodec(registry, namespace="billing", topic=topic)
        codec.declare([Paid])
        await registry.register(codec.subject_of(Paid), schema_text(codec.derived[Paid].schema))
        async with codec:
            moment = datetime(2026, 1, 2, tzinfo=UTC)
            ids = [uuid4() for _ in numbers]
            return [
                codec.encode(Paid(number=number), one, moment, Metadata(one, one))
                for number, one in zip(numbers, ids, strict=True)
            ]


async def test_envelopes_in_avro_are_read_beside_those_in_json(place: Place, schema_registry_url: str) -> None:
    first, second = await envelopes(schema_registry_url, place.topic, 1, 3)
    headers = [("event_type", b"billing.paid")]
    produce(place.bootstrap, place.topic, [(b"a", first, []), record("a", 2), (b"a", second, headers)])
    async with (
        place.store_of(inbox("payments", place.topic), AvroCodec(schema_registry_url)) as store,
        receiving(store),
    ):
        await until_counted(store, {"a": [1, 2, 3]})


async def test_an_inbox_without_registry_halts_at_avro_and_says_so(place: Place, schema_registry_url: str) -> None:
    (only,) = await envelopes(schema_registry_url, place.topic, 1)
    produce(place.bootstrap, place.topic, [(b"a", only, [])])
    async with place.store() as store, receiving(store) as (run,):
        await until(lambda: bool(run.halted))
        assert "KafkaSource(..., codec=AvroCodec(" in str(run.halted[0])


async def test_records_of_another_schema_are_read(place: Place, schema_registry_url: str) -> None:
    class Foreign(
        Inbox,
        name="foreign",
        topics=[place.topic],
        format=PlainMessages(event_type=lambda _: "billing.paid", identify="id"),
    ):
        @receives
        def paid(self, event: Paid, at: Received) -> Send:
            return Send(Account, at.key, Credit(number=event.number, amount=event.amount))

    schema = {
        "type": "record", "name": f"Invoice{uuid4().hex}",
        "fields": [{"name": "number", "type": "int"}, {"name": "currency", "type": "string"}],
    }  # fmt: skip
    async with SchemaRegistry(schema_registry_url) as registry:
        schema_id = await registry.register(f"{place.topic}-value", schema_text(schema))

    def value(number: int) -> bytes:
        out = BytesIO()
        fastavro.schemaless_writer(out, schema, {"number": number, "currency": "EUR"})
        return b"\0" + schema_id.to_bytes(4) + out.getvalue()

    produce(place.bootstrap, place.topic, [(b"a", value(n), [("id", b"%d" % n)]) for n in (1, 2, 2, 3)])
    async with place.store_of(Foreign, AvroCodec(schema_registry_url)) as store, receiving(store):
        await until_counted(store, {"a": [1, 2, 3]})
