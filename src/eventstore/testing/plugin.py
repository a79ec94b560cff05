"""pytest fixtures: clocks, logs in memory and in files, a PostgreSQL, Kafka brokers, a schema registry."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest


@pytest.fixture
def manual_clock() -> object:
    """Give a clock that moves when the test says so."""
    from eventstore.testing.clock import ManualClock  # noqa: PLC0415 - a plug-in is imported by every pytest run

    return ManualClock()


@pytest.fixture
def memory_log() -> object:
    """Give a log in memory with several partitions, not opened yet."""
    from eventstore.testing.memory import MemoryLog  # noqa: PLC0415

    return MemoryLog()


@pytest.fixture
def sqlite_log(tmp_path: Path) -> object:
    """Give an embedded log in a directory of the test's own, not opened yet."""
    from eventstore.sqlite import SqliteLog  # noqa: PLC0415

    return SqliteLog(tmp_path / "log.db")


@pytest.fixture(scope="session")
def postgres_url() -> Generator[str]:
    """Give the URL of a real PostgreSQL that runs as long as the tests do."""
    from eventstore.testing.postgres import postgres_server  # noqa: PLC0415

    with postgres_server() as url:
        yield url


@pytest.fixture(scope="session")
def kafka_bootstrap() -> Generator[str]:
    """Give the address of a real Kafka broker that runs as long as the tests do, or skip the test."""
    from eventstore.testing.kafka import kafka_server  # noqa: PLC0415

    with ExitStack() as stack:
        with _skip_if_missing():
            bootstrap = stack.enter_context(kafka_server())
        yield bootstrap


@pytest.fixture(scope="session")
def kafka_installation() -> object:
    """Give what `KafkaCluster` needs to start nodes, or skip the test."""
    from eventstore.testing.kafka_installation import find_installation  # noqa: PLC0415

    with _skip_if_missing():
        return find_installation()


@pytest.fixture(scope="session")
def schema_registry_url() -> Generator[str]:
    """Give the address of a real schema registry that runs as long as the tests do, or skip the test."""
    from eventstore.testing.registry import schema_registry  # noqa: PLC0415

    with ExitStack() as stack:
        with _skip_if_missing():
            url = stack.enter_context(schema_registry())
        yield url


@pytest.fixture(scope="session")
def connect_installation() -> object:
    """Give what `ConnectWorker` needs to start, or skip the test."""
    from eventstore.testing.connect import find_connect  # noqa: PLC0415

    with _skip_if_missing():
        return find_connect()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fetch the servers, which takes minutes on a slow line, before the first test's time runs."""
    wanted: set[str] = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    if session.config.option.collectonly:
        return
    from eventstore.core.errors import EventStoreError  # noqa: PLC0415

    # The fixtures say again what is missing, of the tests that it concerns.
    if wanted & {"kafka_bootstrap", "kafka_installation"}:
        with suppress(EventStoreError):
            _fetch_broker(wanted)
    if "connect_installation" in wanted:
        from eventstore.testing.connect import find_connect  # noqa: PLC0415

        with suppress(EventStoreError):
            find_connect()
    if "schema_registry_url" in wanted and not os.environ.get("SCHEMA_REGISTRY_URL"):
        from eventstore.testing.registry import find_registry  # noqa: PLC0415

        with suppress(EventStoreError):
            find_registry()


def _fetch_broker(wanted: set[str]) -> None:
    from eventstore.testing.kafka_docker import docker_answers  # noqa: PLC0415
    from eventstore.testing.kafka_installation import find_installation  # noqa: PLC0415

    if "kafka_installation" in wanted or not (os.environ.get("KAFKA_BOOTSTRAP") or docker_answers()):
        find_installation()


@contextmanager
def _skip_if_missing() -> Generator[None]:
    from eventstore.core.errors import ConfigurationError  # noqa: PLC0415

    try:
        yield
    except ConfigurationError as missing:
        # Where every change is tested, a test that is left out by mistake would go unnoticed.
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(missing))
