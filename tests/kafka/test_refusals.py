"""What brokers refuse is said within seconds, by a typed error that names what to do."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from eventstore import ConfigurationError, EventStore, Settings
from eventstore.core.inventory import Inventory
from eventstore.kafka import Connection, KafkaLog, KafkaOptions
from eventstore.kafka.administration import Administration
from eventstore.kafka.names import Names
from eventstore.kafka.rights import rights_of
from eventstore.testing.kafka_config import Permission
from tests.kafka.certificates import Authority
from tests.kafka.connections import connection_to, new_user
from tests.kafka.securing import Cuttable, SecureKafka
from tests.write.domain import Count, Counter

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]
PREFIX = "refused"
RIGHTS = rights_of("writer", Names(PREFIX), Inventory(("counter",)))


@contextmanager
def within(seconds: float) -> Generator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


@asynccontextmanager
async def a_writer(kafka: SecureKafka, way: Cuttable, directory: Path) -> AsyncGenerator[tuple[EventStore, str]]:
    options = KafkaOptions(partitions=1, directory=directory)
    maker = KafkaLog(connection_to(kafka.cluster, "admin"), prefix=PREFIX, categories=["counter"], options=options)
    await maker.topics.apply()
    user = await new_user(kafka.cluster, RIGHTS)
    log = KafkaLog(connection_to(kafka.cluster, user, bootstrap=way.bootstrap), prefix=PREFIX, options=options)
    async with EventStore(log, aggregates=[Counter], settings=Settings(timeout=30)) as store:
        await store.log.serving()
        yield store, user


async def test_a_right_that_is_taken_back_is_named_and_works_again_once_granted(
    secure_kafka: SecureKafka, tmp_path: Path
) -> None:
    cluster, lost = secure_kafka.cluster, [Permission("topic", "refused.counter.events", "Write")]
    async with Cuttable(secure_kafka).running() as way, a_writer(secure_kafka, way, tmp_path) as (store, user):
        await store.execute(Counter, "1", Count())
        await cluster.forbid(user, lost)
        with within(3), pytest.raises(ConfigurationError, match=r"TOPIC_AUTHORIZATION_FAILED\): grant what its role"):
            await store.execute(Counter, "1", Count())
        await cluster.allow(user, lost)
        assert (await store.execute(Counter, "1", Count())).version == 2


async def test_a_user_that_is_removed_is_told_to_check_the_login(secure_kafka: SecureKafka, tmp_path: Path) -> None:
    async with Cuttable(secure_kafka).running() as way, a_writer(secure_kafka, way, tmp_path) as (store, user):
        await store.execute(Counter, "1", Count())
        await secure_kafka.cluster.remove_user(user)
        assert way.cut() > 4  # who is logged in would stay so
        with within(10), pytest.raises(ConfigurationError, match=r"SASL_AUTHENTICATION_FAILED\): check user and pass"):
            await store.execute(Counter, "1", Count(), timeout=30)


@pytest.mark.parametrize("which", ["expired", "foreign", "none"])
async def test_a_certificate_that_is_not_accepted_is_named(
    certified_kafka: SecureKafka, tmp_path: Path, which: str
) -> None:
    cluster = certified_kafka.cluster
    authority = Authority.of(Path(cluster.client_settings()["ssl.ca.location"]))
    file = tmp_path / "client.pem"
    if which == "expired":
        authority.issue("someone", file, valid=timedelta(hours=-1))
    elif which == "foreign":
        Authority.new(tmp_path / "ca.pem").issue("someone", file)
    certificate = file if which != "none" else None
    connection = Connection(cluster.bootstrap, certificate=certificate, authority=authority.file)
    with within(3), pytest.raises(ConfigurationError, match="TLS failed.*check authority, certificate"):
        await Administration(connection).cluster()


async def test_brokers_of_an_unknown_authority_are_named(certified_kafka: SecureKafka, tmp_path: Path) -> None:
    foreign = Authority.new(tmp_path / "ca.pem")
    connection = connection_to(certified_kafka.cluster, "admin", authority=foreign.file)
    with within(3), pytest.raises(ConfigurationError, match="TLS failed.*check authority, certificate"):
        await Administration(connection).cluster()


async def test_plaintext_to_a_port_that_wants_tls_says_so(certified_kafka: SecureKafka) -> None:
    with within(3), pytest.raises(ConfigurationError, match="speaks TLS, and this connection does not"):
        await Administration(Connection(certified_kafka.cluster.bootstrap)).cluster()


async def test_tls_to_a_port_without_says_so(kafka_bootstrap: str) -> None:
    with (
        within(3),
        pytest.raises(ConfigurationError, match="does not speak TLS.: check.*that the port speaks TLS") as error,
    ):
        await Administration(Connection(kafka_bootstrap, tls=True)).cluster()
    print(error.value)


async def test_a_password_where_a_certificate_is_wanted_says_so(certified_kafka: SecureKafka) -> None:
    authority = certified_kafka.cluster.client_settings()["ssl.ca.location"]
    connection = Connection(certified_kafka.cluster.bootstrap, user="me", password="x", authority=authority)
    with within(3), pytest.raises(ConfigurationError, match="TLS failed.*check authority, certificate"):
        await Administration(connection).cluster()


async def test_no_login_where_one_is_wanted_says_so(secure_kafka: SecureKafka) -> None:
    authority = secure_kafka.cluster.client_settings()["ssl.ca.location"]
    with within(3), pytest.raises(ConfigurationError, match="wants a login, and this connection has none"):
        await Administration(Connection(secure_kafka.cluster.bootstrap, authority=authority)).cluster()
