"""A real Apache Kafka for tests, of one or three nodes, that leaves nothing behind.

`kafka_server()` yields the address of the broker named in `KAFKA_BOOTSTRAP`, or of one started for the occasion: in
Docker if an engine answers, else from jars. `KafkaCluster` is for tests that kill, pause, restart or log in to nodes;
its nodes are processes of this machine's Java.
"""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self
from uuid import uuid4

from eventstore.core.errors import ConfigurationError, StoreUnavailableError
from eventstore.testing.guard import DirectoryGuard
from eventstore.testing.kafka_config import ADMIN, Permission, addresses, server_properties
from eventstore.testing.kafka_docker import docker_answers, kafka_in_docker
from eventstore.testing.kafka_installation import KafkaInstallation, find_installation
from eventstore.testing.kafka_node import KafkaNode

if TYPE_CHECKING:
    from eventstore.testing.kafka_security import ClusterSecurity, Logins

_START_SECONDS: Final = 60.0


@contextmanager
def kafka_server() -> Generator[str]:
    """Yield the bootstrap address of a broker that runs for the length of the block.

    Raises:
        ConfigurationError: Neither `KAFKA_BOOTSTRAP` nor anything to start is there.
        StoreUnavailableError: A broker was started and did not come up; says what it logged.
    """
    if named := os.environ.get("KAFKA_BOOTSTRAP"):
        yield named
        return
    if docker_answers():
        with kafka_in_docker() as bootstrap:
            yield bootstrap
        return
    with KafkaCluster() as cluster:
        yield cluster.bootstrap


class KafkaCluster:
    """One throwaway cluster of local processes, of which nothing remains after the block.

    It is also gone when the process that started it is, even by `kill -9`. Both `with` and `async with` work; the
    latter does not block the event loop. Nodes keep their ports and data over `kill`, `stop` and `start`.
    """

    def __init__(  # noqa: PLR0913 - what a cluster is made of, by keyword
        self,
        *,
        nodes: int = 1,
        secure: bool | Logins = False,
        token_keys: Path | None = None,
        settings: Mapping[str, str] | None = None,
        port: int | None = None,
        directory: Path | None = None,
        proxies: Sequence[int] = (),
    ) -> None:
        """Describe it; entering the block starts it.

        Args:
            nodes: How many; 3 tolerate the death of one.
            secure: With TLS, ACLs and logins by SCRAM-SHA-512, or by client certificates if it is `"certificates"`; the
                super user is `admin`. Everybody may do everything otherwise.
            token_keys: A JWKS file with the keys of tokens, with which users may log in, too.
            settings: Broker settings beyond the defaults, for example `{"log.cleaner.backoff.ms": "100"}`.
            port: The first node's, the others follow; None for any free ones.
            directory: Where to keep the data after the block, and to go on with it; None for a temporary one.
            proxies: Ports of a `KafkaProxy` per node, over which clients reach `KafkaNode.proxied_address`.

        Raises:
            ConfigurationError: It is to be kept and secure: the passwords are not kept.
        """
        if secure and directory is not None:
            message = "a secure Kafka cluster for tests cannot be kept: leave out either secure or directory"
            raise ConfigurationError(message)
        self.nodes: list[KafkaNode] = []
        self._count = nodes
        self._settings = dict(settings or {})
        self._port = port
        self._kept = directory
        self._proxies = tuple(proxies)
        self._logins: Logins | None = "certificates" if secure == "certificates" else "passwords" if secure else None
        self._token_keys = token_keys
        self._security: ClusterSecurity | None = None
        self._directory: Path | None = None
        self._guard: DirectoryGuard | None = None
        # Starting happens in a thread that cannot be cancelled: once this is set, it starts nothing more.
        self._ended = False
        self._lock = threading.Lock()

    @property
    def bootstrap(self) -> str:
        """What clients need to find it: `host:port` of every node, separated by commas."""
        return ",".join(node.address for node in self.nodes)

    def client_settings(self, user: str = ADMIN) -> dict[str, str]:
        """Give what a client needs to connect, under the names of confluent-kafka.

        Args:
            user: Who connects to a secure cluster; others do not ask.

        Raises:
            ConfigurationError: Nobody created that user.
        """
        how = self._security.client_settings(user) if self._security is not None else {}
        return {"bootstrap.servers": self.bootstrap, **how}

    async def create_user(self, user: str) -> None:
        """Make a user of a secure cluster who may do nothing yet, or give one a new password or certificate.

        All nodes know it when this returns.

        Raises:
            ConfigurationError: The cluster is not secure.
            StoreUnavailableError: A node that runs did not learn of it in time.
        """
        await asyncio.to_thread(self._known_security().create_user, user, self._running())

    async def remove_user(self, user: str) -> None:
        """Let a user of a secure cluster log in no more; connections that are open stay so.

        Raises:
            ConfigurationError: The cluster is not secure.
            StoreUnavailableError: A node that runs did not learn of it in time.
        """
        await asyncio.to_thread(self._known_security().remove_user, user, self._running())

    async def allow(self, user: str, permissions: Iterable[Permission]) -> None:
        """Grant rights to a user of a secure cluster; in force on all nodes when this returns.

        Args:
            user: Who.
            permissions: What.

        Raises:
            ConfigurationError: The cluster is not secure.
            StoreUnavailableError: A node that runs did not learn of it in time.
        """
        await asyncio.to_thread(self._known_security().allow, user, permissions, self._running())

    async def forbid(self, user: str, permissions: Iterable[Permission]) -> None:
        """Take rights back from a user of a secure cluster; in force on all nodes when this returns.

        Args:
            user: Whose.
            permissions: Which.

        Raises:
            ConfigurationError: The cluster is not secure.
            StoreUnavailableError: A node that runs did not learn of it in time.
        """
        await asyncio.to_thread(self._known_security().forbid, user, permissions, self._running())

    def __enter__(self) -> Self:
        """Start it; every node answers and knows the others when this returns.

        Raises:
            ConfigurationError: Java, Maven or the client is missing, or a port is taken.
            StoreUnavailableError: It did not come up; says what it logged.
        """
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End all nodes and remove their data."""
        self._stop()

    async def __aenter__(self) -> Self:
        """Start it as `with` does, without blocking the event loop."""
        try:
            await asyncio.to_thread(self._start)
        except BaseException:
            self._stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """End all nodes and remove their data."""
        await asyncio.to_thread(self._stop)

    def _start(self) -> None:
        installation = find_installation()
        deadline = time.monotonic() + _START_SECONDS
        with self._lock:
            self._refuse_if_ended()
            self._directory = self._new_directory()
            self._guard = DirectoryGuard(self._directory, keep=self._kept is not None)
            if self._logins is not None:
                from eventstore.testing.kafka_security import ClusterSecurity  # noqa: PLC0415 - the client is optional

                self._security = ClusterSecurity(self._directory, self._logins, self._token_keys)
                installation = replace(installation, options=self._security.java_options)
            self.nodes += self._new_nodes(installation, self._directory)
        self._format()
        with self._lock:
            self._refuse_if_ended()
            for node in self.nodes:
                node.launch()
        for node in self.nodes:
            node.wait_until_ready({each.id for each in self.nodes}, deadline)

    def _new_nodes(self, installation: KafkaInstallation, parent: Path) -> Generator[KafkaNode]:
        protection = self._security.server_properties() if self._security is not None else {}
        client = self._security.client_settings(ADMIN) if self._security is not None else {}
        cluster = addresses(self._count, self._port, self._proxies)
        for address in cluster:
            directory = parent / f"node-{address.id}"
            properties = server_properties(address, cluster, directory / "data") | protection | self._settings
            yield KafkaNode(address, installation, directory, properties, client)

    def _format(self) -> None:
        users = self._security.format_arguments if self._security is not None else []
        cluster_id = base64.urlsafe_b64encode(uuid4().bytes).decode().rstrip("=")
        unformatted = [node for node in self.nodes if not (node.directory / "data" / "meta.properties").exists()]
        with self._lock:
            self._refuse_if_ended()
            for node in unformatted:
                # One word, because an id may begin with a dash.
                node.format(f"--cluster-id={cluster_id}", *users)
        for node in unformatted:
            node.wait_until_formatted()

    def _new_directory(self) -> Path:
        if self._kept is None:
            return Path(tempfile.mkdtemp(prefix="eventstore-kafka-")).resolve()
        self._kept.mkdir(parents=True, exist_ok=True)
        found = len(list(self._kept.glob("node-*/data/meta.properties")))
        if found not in {0, self._count}:
            message = f"{self._kept} holds a cluster of {found} nodes: ask for as many, or choose another directory"
            raise ConfigurationError(message)
        return self._kept.resolve()

    def _known_security(self) -> ClusterSecurity:
        if self._security is None:
            message = "this Kafka cluster has no users: start it with KafkaCluster(secure=True)"
            raise ConfigurationError(message)
        return self._security

    def _running(self) -> list[str]:
        return [node.address for node in self.nodes if node.pid is not None]

    def _refuse_if_ended(self) -> None:
        if self._ended:
            message = "the Kafka cluster for tests was ended while it was starting"
            raise StoreUnavailableError(message)

    def _stop(self) -> None:
        with self._lock:
            self._ended = True
            for node in self.nodes:
                node.end()
            if self._directory is not None and self._kept is None:
                shutil.rmtree(self._directory, ignore_errors=True)
            if self._guard is not None:
                self._guard.release()
