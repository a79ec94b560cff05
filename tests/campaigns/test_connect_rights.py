"""Campaign: Kafka Connect with the configuration, the user and the rights of the manifests, on brokers that forbid all else.

`python -m pytest -m campaign --timeout=0 -s tests/campaigns/test_connect_rights.py`
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager

import pytest
from confluent_kafka import Consumer
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from eventstore.core.envelope import read_envelope
from eventstore.core.errors import StoreUnavailableError
from eventstore.testing.connect import ConnectWorker
from eventstore.testing.kafka import KafkaCluster
from eventstore.testing.kafka_config import free_ports
from eventstore.testing.postgres import PostgresServer
from examples.billing import outbox
from tests.deploy.applying import permissions_in
from tests.deploy.manifests import Manifests
from tests.kafka.billing import Paid

pytestmark = [pytest.mark.campaign, pytest.mark.kafka, pytest.mark.postgres]
PASSWORD = "not a secret"


@pytest.fixture(scope="module")
def manifests() -> Manifests:
    return Manifests.of_environment("production")


@pytest.fixture(scope="module")
def cluster(manifests: Manifests) -> Generator[KafkaCluster]:
    """One node with the settings of the manifests, as far as one node can have them."""
    wanted = manifests.kafka["spec"]["kafka"]["config"]
    one = {name: "1" for name in wanted if name.endswith(("replication.factor", "min.isr", "min.insync.replicas"))}
    given = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in wanted.items()}
    with KafkaCluster(secure=True, settings=given | one) as started:
        yield started


@contextmanager
def worker(cluster: KafkaCluster, manifests: Manifests, environment: Mapping[str, str]) -> Generator[ConnectWorker]:
    """Run a worker as Strimzi configures it from the manifests."""
    spec = manifests.get("KafkaConnect", "connect")["spec"]
    client = cluster.client_settings(spec["authentication"]["username"])
    login = "org.apache.kafka.common.security.scram.ScramLoginModule required"
    secured = {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": spec["authentication"]["type"].upper(),
        "sasl.jaas.config": f'{login} username="{client["sasl.username"]}" password="{client["sasl.password"]}";',
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": client["ssl.ca.location"],
    }
    settings = {
        **{name: str(value) for name, value in spec["config"].items()},
        "group.id": spec["groupId"],
        **{f"{kind}.storage.topic": spec[f"{kind}StorageTopic"] for kind in ("config", "offset", "status")},
        **{
            f"{part}{name}": value
            for part in ("", "producer.", "consumer.", "admin.")
            for name, value in secured.items()
        },
    }
    with ConnectWorker(client["bootstrap.servers"], environment=environment, settings=settings) as started:
        yield started


async def test_connect_carries_an_outbox_with_the_rights_of_the_manifests_and_not_without(
    cluster: KafkaCluster, manifests: Manifests
) -> None:
    rights = permissions_in(manifests.get("KafkaUser", "connect"))
    await cluster.create_user("connect")
    await cluster.allow("connect", rights)
    (port,) = free_ports(1)
    settings = {"wal_level": "logical", "listen_addresses": "127.0.0.1", "port": str(port)}
    config = manifests.get("KafkaConnector", "billing-outbox")["spec"]["config"] | {
        "connector.class": manifests.get("KafkaConnector", "billing-outbox")["spec"]["class"],
        "database.port": str(port), "database.sslmode": "disable", "heartbeat.interval.ms": "500",
        "topic.creation.default.replication.factor": "1", "topic.creation.default.min.insync.replicas": "1",
    }  # fmt: skip
    environment = {
        "OUTBOX_HOST": "127.0.0.1",
        "OUTBOX_DATABASE": "postgres",
        "OUTBOX_USER": "carrier",
        "OUTBOX_PASSWORD": PASSWORD,
    }
    with PostgresServer.start(settings) as server:
        engine = create_async_engine(server.url)
        for statement in [*outbox.sql("carrier"), f"ALTER ROLE carrier PASSWORD '{PASSWORD}'"]:
            async with engine.begin() as connection:
                await connection.execute(text(statement))
        with worker(cluster, manifests, environment) as connect:
            connect.put("billing-outbox", config)
            async with engine.begin() as connection:
                ids = await outbox.add(connection, "payments-a", Paid(number=1, amount=1), Paid(number=2, amount=1))
            found = read(cluster, "billing.public.payments", 2)
            assert [read_envelope(value, "").event_id for value in found] == list(ids)
            assert read(cluster, "__debezium-heartbeat.billing", 1)
            connect.delete("billing-outbox")
            # The tasks' transactions are what they may not do without this right.
            await cluster.forbid("connect", [right for right in rights if right.resource == "transactional_id"])
            with pytest.raises(StoreUnavailableError, match=r"[Tt]ransactional"):
                connect.put("billing-outbox", config)
                connect.wait_until_running("billing-outbox")
        await engine.dispose()


def read(cluster: KafkaCluster, topic: str, count: int) -> list[bytes]:
    """Give what is committed in a topic, once there is so much."""
    settings = cluster.client_settings("admin")
    consumer = Consumer(
        {
            **settings,
            "group.id": "reader",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
    )
    consumer.subscribe([topic])
    found: list[bytes] = []
    deadline = time.monotonic() + 60
    while len(found) < count:
        assert time.monotonic() < deadline, found
        record = consumer.poll(0.2)
        if record is not None and record.error() is None:
            found.append(record.value() or b"")
    consumer.close()
    return found
