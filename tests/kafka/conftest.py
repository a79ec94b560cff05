"""Servers that the tests of Debezium share."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from eventstore.testing.connect import ConnectWorker
from eventstore.testing.kafka_config import free_ports
from eventstore.testing.postgres import PostgresServer
from tests.kafka.shipping import PASSWORD, Servers


@pytest.fixture(scope="session")
def servers(connect_installation: object, kafka_bootstrap: str) -> Generator[Servers]:
    """PostgreSQL that decodes its log and can be logged in to over the network, and a worker of Kafka Connect."""
    (port,) = free_ports(1)
    settings = {
        "wal_level": "logical",
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "max_replication_slots": "20",
    }
    with (
        PostgresServer.start(settings) as postgres,
        ConnectWorker(kafka_bootstrap, environment={"OUTBOX_PASSWORD": PASSWORD}) as connect,
    ):
        yield Servers(postgres, port, connect, kafka_bootstrap)
