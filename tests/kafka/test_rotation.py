"""Passwords, certificates and tokens end while a log is under load: no command is lost, none is executed twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from eventstore import EventStore, Settings
from eventstore.core.inventory import Inventory
from eventstore.kafka import Connection, KafkaLog, KafkaOptions
from eventstore.kafka.names import Names
from eventstore.kafka.rights import rights_of
from eventstore.testing.kafka import KafkaCluster
from tests.kafka.certificates import Authority
from tests.kafka.connections import connection_to, permissions_of
from tests.kafka.securing import Cuttable, SecureKafka
from tests.kafka.tokens import TokenServer
from tests.write.domain import Count, Counter

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]
PREFIX = "rotated"
RIGHTS = rights_of("writer", Names(PREFIX), Inventory(("counter",)))
RECONNECT_SECONDS = 5.0


@asynccontextmanager
async def stores(connection: Connection, directory: Path, cluster: KafkaCluster) -> AsyncGenerator[list[EventStore]]:
    """Open an owner of everything, and a process that sends it commands."""
    options = KafkaOptions(partitions=2)
    maker = KafkaLog(connection_to(cluster, "admin"), prefix=PREFIX, categories=["counter"], options=options)
    await maker.topics.apply()
    async with AsyncExitStack() as stack:
        opened: list[EventStore] = []
        for name, serve in (("owner", True), ("sender", False)):
            log = KafkaLog(connection, prefix=PREFIX, options=KafkaOptions(partitions=2, directory=directory / name))
            store = EventStore(log, aggregates=[Counter], settings=Settings(serve=serve, timeout=15))
            opened.append(await stack.enter_async_context(store))
        await opened[0].log.serving()
        yield opened


class Load:
    """Commands, one after the other for each store, whose outcomes are counted; any error ends it."""

    def __init__(self, opened: list[EventStore]) -> None:
        self._opened = opened
        self._streams = [uuid4().hex for _ in opened]
        self.acknowledged = [0 for _ in opened]
        self.slowest = 0.0
        self._ends = False

    async def run_during(self, work: Callable[[], Awaitable[None]]) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(len(self._opened)):
                group.create_task(self._run(number))
            await work()
            self._ends = True

    async def _run(self, number: int) -> None:
        while not self._ends:
            started = time.monotonic()
            done = await self._opened[number].execute(Counter, self._streams[number], Count())
            self.slowest = max(self.slowest, time.monotonic() - started)
            self.acknowledged[number] += 1
            assert done.version == self.acknowledged[number]
            await asyncio.sleep(0.005)

    async def judge(self) -> None:
        """Each command counted once."""
        for stream, acknowledged in zip(self._streams, self.acknowledged, strict=True):
            total = (await self._opened[0].load(Counter, stream)).total
            assert acknowledged == total
            assert acknowledged > 5


async def test_a_password_is_rotated_under_load(secure_kafka: SecureKafka, tmp_path: Path) -> None:
    cluster, user, file = secure_kafka.cluster, f"u-{uuid4().hex[:8]}", tmp_path / "password"
    await cluster.create_user(user)
    await cluster.allow(user, permissions_of(RIGHTS))

    def write() -> None:
        file.write_text(cluster.client_settings(user)["sasl.password"])

    write()
    async with Cuttable(secure_kafka).running() as way:
        connection = connection_to(cluster, user, bootstrap=way.bootstrap, password=None, password_file=file)
        async with stores(connection, tmp_path, cluster) as opened:
            load = Load(opened)

            async def rotate() -> None:
                await asyncio.sleep(0.5)
                await cluster.create_user(user)  # with another password: whoever is logged in stays so
                write()
                await asyncio.sleep(1)
                assert way.cut() > 4
                await asyncio.sleep(1.5)
                await cluster.create_user(user)  # once more, and now the file comes late
                assert way.cut() > 4
                await asyncio.sleep(0.7)
                write()
                await asyncio.sleep(2.5)

            await load.run_during(rotate)
            await load.judge()
            assert load.slowest < 0.7 + RECONNECT_SECONDS


async def test_a_certificate_is_rotated_under_load(certified_kafka: SecureKafka, tmp_path: Path) -> None:
    cluster, file = certified_kafka.cluster, tmp_path / "user.pem"
    authority = Authority.of(Path(cluster.client_settings()["ssl.ca.location"]))
    for name in ("first", "second"):
        await cluster.allow(f"CN={name}", permissions_of(RIGHTS))
    authority.issue("first", file)
    async with Cuttable(certified_kafka).running() as way:
        connection = Connection(way.bootstrap, certificate=file, authority=authority.file)
        async with stores(connection, tmp_path, cluster) as opened:
            load = Load(opened)

            async def rotate() -> None:
                await asyncio.sleep(0.5)
                authority.issue("second", file)
                await asyncio.sleep(5)  # clients that read certificates only at their beginning are replaced
                assert way.cut() > 4
                await asyncio.sleep(1)
                await cluster.forbid("CN=first", permissions_of(RIGHTS))  # who is known by it still can do nothing now
                await asyncio.sleep(2)

            await load.run_during(rotate)
            await load.judge()
            assert load.slowest < RECONNECT_SECONDS


async def test_tokens_are_renewed_under_load(
    secure_kafka: SecureKafka, token_server: TokenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, user, before = secure_kafka.cluster, f"u-{uuid4().hex[:8]}", token_server.asked
    await cluster.allow(user, permissions_of(RIGHTS))
    monkeypatch.setattr(token_server, "seconds", 5.0)
    authority = cluster.client_settings()["ssl.ca.location"]
    connection = Connection(cluster.bootstrap, token=token_server.credentials(user), authority=authority)
    async with stores(connection, tmp_path, cluster) as opened:
        load = Load(opened)
        await load.run_during(lambda: asyncio.sleep(8))  # the brokers close connections when a token ends
        await load.judge()
        assert load.slowest < RECONNECT_SECONDS
    assert token_server.asked >= before + 3
