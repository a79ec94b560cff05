"""Debezium carries an outbox to Kafka, and inboxes make commands of it, on PostgreSQL, Kafka Connect and Kafka."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text

from eventstore.core.envelope import read_envelope
from tests.kafka.shipping import Servers, messages, service

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.timeout(120)]


async def test_events_leave_in_the_envelope_when_their_transaction_commits(servers: Servers, tmp_path: Path) -> None:
    async with service(servers) as one:
        async with one.engine.begin() as connection:
            await one.pay(connection, "a", 1)  # before the connector has ever run
        async with one.engine.connect() as connection:
            await one.pay(connection, "a", 2)
            await connection.rollback()
        await one.connect()
        async with one.engine.begin() as connection:
            await one.pay(connection, "a", 3, 4)
        found = await messages(one.servers.bootstrap, one.topic, 3)
        async with one.engine.connect() as connection:
            assert (await connection.execute(text("SELECT count(*) FROM outbox"))).scalar() == 0
    for each in found:
        print(each)
    envelopes = [read_envelope(message.value or b"", "") for message in found]
    assert [envelope.data["number"] for envelope in envelopes] == [1, 3, 4]
    for message, envelope in zip(found, envelopes, strict=True):
        assert message.key == b"a"
        assert UUID(message.header("event_id")) == envelope.event_id
