"""Servers that tests share; `postgres_url` comes from the pytest plug-in."""

from __future__ import annotations

import signal
import socket
from collections.abc import AsyncGenerator, Generator
from typing import NamedTuple

import pytest
from hypothesis import settings

from eventstore.testing.connect import ConnectWorker
from eventstore.testing.kafka import KafkaCluster
from eventstore.testing.kafka_config import free_ports
from eventstore.testing.postgres import PostgresServer, fresh_database
from tests.kafka.securing import SecureKafka
from tests.kafka.shipping import PASSWORD, Servers
from tests.kafka.tokens import TokenServer


def pytest_configure() -> None:
    """Let Ctrl-C reach the commands that tests start, though the tests themselves run in the background of a shell."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # A busy machine is no mistake of an example; one that hangs is found by its test's limit.
    settings.register_profile("patient", settings(), deadline=None)
    settings.load_profile("patient")


class ProxiedKafka(NamedTuple):
    """A broker that expects clients over a `KafkaProxy` on `port`, too."""

    cluster: KafkaCluster
    port: int

    @property
    def bootstrap(self) -> str:
        """The way past the proxy."""
        return self.cluster.bootstrap


@pytest.fixture(scope="session")
def proxied_kafka(kafka_installation: object) -> Generator[ProxiedKafka]:
    """One node, which tests may kill, but have to leave running."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    # Compaction at once wherever a topic's own settings allow it.
    with KafkaCluster(proxies=[port], settings={"log.cleaner.backoff.ms": "200"}) as cluster:
        yield ProxiedKafka(cluster, port)


@pytest.fixture(scope="session")
def token_server(tmp_path_factory: pytest.TempPathFactory) -> Generator[TokenServer]:
    """Gives tokens that the secure broker of this run believes."""
    server = TokenServer(tmp_path_factory.mktemp("tokens"))
    with server.running():
        yield server


@pytest.fixture(scope="session")
def secure_kafka(kafka_installation: object, token_server: TokenServer) -> Generator[SecureKafka]:
    """One node where users log in with passwords or tokens."""
    (port,) = free_ports(1)
    with KafkaCluster(secure=True, token_keys=token_server.keys, proxies=[port]) as cluster:
        yield SecureKafka(cluster, port)


@pytest.fixture(scope="session")
def certified_kafka(kafka_installation: object) -> Generator[SecureKafka]:
    """One node where users show certificates."""
    (port,) = free_ports(1)
    with KafkaCluster(secure="certificates", proxies=[port]) as cluster:
        yield SecureKafka(cluster, port)


@pytest.fixture
async def postgres_database(postgres_url: str) -> AsyncGenerator[str]:
    """A new, empty database on the real PostgreSQL of this run."""
    async with fresh_database(postgres_url) as url:
        yield url


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
