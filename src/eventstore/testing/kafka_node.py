"""One broker process of a cluster for tests, and how it is hurt."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from eventstore.core.errors import ConfigurationError, StoreUnavailableError
from eventstore.testing.kafka_config import HOST, NodeAddress, write_log_config, write_properties
from eventstore.testing.kafka_installation import KafkaInstallation

_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.02
_ANSWER_SECONDS: Final = 2.0
# The client complains about every refused connection, which is the normal course while a broker starts. A logger
# hears that only when the client is polled, which it is not.
_UNHEARD = logging.getLogger(__name__)


class KafkaNode:
    """A broker and controller in one process, on the same ports and data as long as the cluster exists."""

    def __init__(
        self,
        address: NodeAddress,
        installation: KafkaInstallation,
        directory: Path,
        properties: Mapping[str, str],
        client: Mapping[str, str],
    ) -> None:
        """Write its configuration; the cluster formats and starts it.

        Args:
            address: Where it listens.
            installation: What runs it.
            directory: Its own directory, with the data in `data`.
            properties: The whole of `server.properties`.
            client: How a client that may describe the cluster connects, without the address.
        """
        self.id = address.id
        self.port = address.port
        self.proxied_port = address.proxied_port
        self.directory = directory
        self._installation = installation
        self._client = client
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(exist_ok=True)
        write_properties(directory / "server.properties", properties)
        write_log_config(directory / "log4j2.properties", directory / "server.log")

    @property
    def address(self) -> str:
        """Where clients reach it: `host:port`."""
        return f"{HOST}:{self.port}"

    @property
    def proxied_address(self) -> str:
        """Where its proxy reaches it: `host:port`.

        Raises:
            ConfigurationError: The cluster has none.
        """
        if self.proxied_port is None:
            raise ConfigurationError(f"node {self.id} has no proxy: start it with KafkaCluster(proxies=[port])")
        return f"{HOST}:{self.proxied_port}"

    @property
    def pid(self) -> int | None:
        """The process id of its Java machine, or None while it does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    async def start(self) -> None:
        """Run on the data it has, ready when this returns; does nothing if it runs already.

        Raises:
            StoreUnavailableError: It did not come up; says what it logged.
        """
        if self.pid is None:
            self.launch()
            await asyncio.to_thread(self.wait_until_ready, {self.id}, time.monotonic() + _START_SECONDS)

    async def stop(self) -> None:
        """Shut down in order, as `kill` does: leadership is handed over before it goes.

        Raises:
            StoreUnavailableError: It did not end in time, for example because too few other controllers are there to
                agree; it was killed then.
        """
        await asyncio.to_thread(self._terminate)

    async def kill(self) -> None:
        """End it at once, as `kill -9` does."""
        await asyncio.to_thread(self.end)

    def pause(self) -> None:
        """Let it hang: connections stay open, nothing is answered until `resume`."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._signal(signal.SIGCONT)

    def log_tail(self, lines: int = 40) -> str:
        """Give the end of what it printed and logged.

        Args:
            lines: How many at most.
        """
        texts = [self.directory / name for name in ("output", "server.log")]
        found = [line for path in texts if path.exists() for line in path.read_text(errors="replace").splitlines()]
        return "\n".join(found[-lines:])

    def format(self, *arguments: str) -> None:
        """Start to prepare its data directory for a new cluster; `wait_until_formatted` ends it.

        Args:
            arguments: Of Kafka's `StorageTool format`.
        """
        config = ["-c", str(self.directory / "server.properties")]
        self._process = self._run("kafka.tools.StorageTool", "format", *config, *arguments)

    def wait_until_formatted(self) -> None:
        """Return when the data directory is ready for the first start.

        Raises:
            StoreUnavailableError: The settings are refused; says why.
        """
        if self._process is not None and self._process.wait() != 0:
            raise self._failure("could not be formatted")

    def launch(self) -> None:
        """Start the process; it is not ready yet."""
        self._process = self._run("kafka.Kafka", str(self.directory / "server.properties"))

    def wait_until_ready(self, nodes: set[int], deadline: float) -> None:
        """Return when it answers clients and counts the given nodes among the living.

        Args:
            nodes: Their ids.
            deadline: When to give up, on the monotonic clock.

        Raises:
            StoreUnavailableError: It ended or did not answer; says what it logged.
        """
        while not (self._listens() and nodes <= known_nodes(self.address, self._client)):
            if self.pid is None:
                raise self._failure("ended while it was starting")
            if time.monotonic() > deadline:
                raise self._failure("did not answer in time")
            time.sleep(_POLL_SECONDS)

    def end(self) -> None:
        """End it at once; a second call does nothing."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _terminate(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        # A process that is paused does not notice.
        self._process.send_signal(signal.SIGCONT)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired as cause:
            self.end()
            raise self._failure(f"did not shut down within {_STOP_SECONDS:.0f} s and was killed") from cause

    def _signal(self, which: signal.Signals) -> None:
        if self._process is None or self.pid is None:
            raise ConfigurationError(f"node {self.id} does not run: start it first")
        self._process.send_signal(which)

    def _run(self, main_class: str, *arguments: str) -> subprocess.Popen[bytes]:
        log_config = self.directory / "log4j2.properties"
        with (self.directory / "output").open("wb") as output:
            return subprocess.Popen(
                self._installation.command(main_class, *arguments, log_config=log_config),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.directory,
                # Ctrl-C in the terminal is for the tests, which then stop the broker.
                start_new_session=True,
            )

    def _listens(self) -> bool:
        with suppress(OSError), socket.create_connection((HOST, self.port), _ANSWER_SECONDS):
            return True
        return False

    def _failure(self, what: str) -> StoreUnavailableError:
        return StoreUnavailableError(f"Kafka node {self.id} {what}; it logged:\n{self.log_tail()}")


def known_nodes(address: str, client: Mapping[str, str]) -> set[int]:
    """Ask one node, and nobody else, which nodes live; none if it does not answer.

    Args:
        address: Its `host:port`.
        client: How to connect besides.
    """
    from confluent_kafka import KafkaException  # noqa: PLC0415 - optional, as all of this module's users are
    from confluent_kafka.admin import AdminClient  # noqa: PLC0415

    # A new client knows no other address that it could ask instead.
    admin = AdminClient({**client, "bootstrap.servers": address}, logger=_UNHEARD)
    with suppress(KafkaException):
        return set(admin.list_topics(timeout=_ANSWER_SECONDS).brokers)
    return set()
