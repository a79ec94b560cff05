"""pytest fixtures: `manual_clock`, `memory_log`, `sqlite_log`, `postgres_url` and `kafka_bootstrap`."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import ExitStack
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
    """Give the address of a real Kafka broker that runs as long as the tests do.

    Without one, and without what it takes to start one, the test is skipped; with `CI=true` it fails.
    """
    from eventstore.core.errors import ConfigurationError  # noqa: PLC0415
    from eventstore.testing.kafka import kafka_server  # noqa: PLC0415

    with ExitStack() as stack:
        try:
            bootstrap = stack.enter_context(kafka_server())
        except ConfigurationError as missing:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(str(missing))
        yield bootstrap
