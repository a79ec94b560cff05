"""A real Kafka Connect with Debezium's PostgreSQL connector for tests, to be killed and started again.

It needs a broker's address, and Java; jars and plug-in come from Maven Central once.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Self
from uuid import uuid4

from eventstore.core.errors import ConfigurationError, StoreUnavailableError
from eventstore.testing.guard import DirectoryGuard
from eventstore.testing.kafka_config import HOST, free_ports, write_log_config, write_properties
from eventstore.testing.kafka_installation import KafkaInstallation, find_installation, find_jars
from eventstore.testing.maven import cache_directory, fetch

DEBEZIUM_VERSION: Final = "3.6.3.Final"
_START_SECONDS: Final = 90.0
_STOP_SECONDS: Final = 20.0
_POLL_SECONDS: Final = 0.1
_ANSWER_SECONDS: Final = 10.0


def find_connect() -> tuple[KafkaInstallation, Path]:
    """Find Java, Connect's jars and the directory of plug-ins, which are fetched if this is the first time.

    Raises:
        ConfigurationError: Java, Maven or the client is missing; says what to install.
        StoreUnavailableError: Maven could not fetch them; says what it printed.
    """
    java = find_installation().java
    jars = find_jars("connect", "Kafka Connect", "connect-runtime", "connect-json", "connect-transforms")
    plugins = cache_directory() / f"debezium-{DEBEZIUM_VERSION}"
    fetch(plugins, "Debezium", f"io.debezium:debezium-connector-postgres:{DEBEZIUM_VERSION}:tar.gz:plugin")
    return KafkaInstallation(java, jars), plugins


class ConnectWorker:
    """One distributed worker, of which nothing remains after the block but its topics; both calls and starts block.

    It keeps its group, port and connectors over `kill`, `stop` and `start`, and is also gone when the process that
    started it is. Connectors find values from its environment as `${env:NAME}`.
    """

    def __init__(
        self, bootstrap: str, *, environment: Mapping[str, str] | None = None, settings: Mapping[str, str] | None = None
    ) -> None:
        """Describe it; entering the block starts it.

        Args:
            bootstrap: The brokers.
            environment: Secrets and the like for its connectors.
            settings: Worker settings beyond the defaults, for example `{"offset.flush.interval.ms": "1000"}`.
        """
        self._bootstrap: Final = bootstrap
        self._environment: Final = dict(environment or {})
        self._settings: Final = dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None
        (self._port,) = free_ports(1)
        self.directory: Final = Path(tempfile.mkdtemp(prefix="eventstore-connect-")).resolve()
        self._guard: Final = DirectoryGuard(self.directory)
        self._installation: KafkaInstallation | None = None

    def __enter__(self) -> Self:
        """Start it; it takes connectors when this returns.

        Raises:
            ConfigurationError: Java, Maven or the client is missing.
            StoreUnavailableError: It did not come up; says what it logged.
        """
        try:
            self._installation, plugins = find_connect()
            write_properties(self.directory / "worker.properties", self._properties(plugins))
            write_log_config(self.directory / "log4j2.properties", self.directory / "connect.log")
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End it and remove its directory."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
        self._guard.release()

    @property
    def url(self) -> str:
        """Where its REST API is."""
        return f"http://{HOST}:{self._port}"

    def start(self) -> None:
        """Run, and take connectors when this returns.

        Raises:
            StoreUnavailableError: It did not come up; says what it logged.
        """
        self.launch()
        self._wait_until(self._is_ready, "did not come up")

    def launch(self) -> None:
        """Begin to start."""
        assert self._installation is not None
        command = self._installation.command(
            "org.apache.kafka.connect.cli.ConnectDistributed",
            str(self.directory / "worker.properties"),
            log_config=self.directory / "log4j2.properties",
        )
        with (self.directory / "output").open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - Java, with arguments of this package
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.directory,
                env={**os.environ, **self._environment},
                start_new_session=True,
            )

    def kill(self) -> None:
        """End it at once, as `kill -9` does; a second call does nothing."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """Shut down in order."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(_STOP_SECONDS)
            self._process = None

    def put(self, name: str, config: Mapping[str, str]) -> None:
        """Create or change a connector, and return when it and its tasks run.

        Args:
            name: The connector's.
            config: Its configuration.

        Raises:
            ConfigurationError: It is refused; says why.
            StoreUnavailableError: It does not run; says why.
        """
        self._ask("PUT", f"/connectors/{name}/config", config)
        self.wait_until_running(name)

    def wait_until_running(self, name: str) -> None:
        """Return when a connector and its tasks run.

        Raises:
            StoreUnavailableError: One of them failed, or does not run in time; says why.
        """
        self._wait_until(lambda: self._runs(name), f"does not run the connector {name}")

    def delete(self, name: str) -> None:
        """Remove a connector if there is one."""
        if self._ask("GET", f"/connectors/{name}") is not None:
            self._ask("DELETE", f"/connectors/{name}")

    def log_tail(self, lines: int = 40) -> str:
        """Give the end of what it printed and logged.

        Args:
            lines: How many at most.
        """
        texts = [self.directory / name for name in ("output", "connect.log")]
        found = [line for path in texts if path.exists() for line in path.read_text(errors="replace").splitlines()]
        return "\n".join(found[-lines:])

    def _properties(self, plugins: Path) -> dict[str, str]:
        group = f"connect-{uuid4().hex[:8]}"
        topics = {f"{what}.storage.topic": f"{group}.{what}" for what in ("config", "offset", "status")}
        copies = {f"{what}.storage.replication.factor": "1" for what in ("config", "offset", "status")}
        return {
            "bootstrap.servers": self._bootstrap,
            "group.id": group,
            **topics,
            **copies,
            "offset.storage.partitions": "1",
            "status.storage.partitions": "1",
            "key.converter": "org.apache.kafka.connect.json.JsonConverter",
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "listeners": self.url,
            "plugin.path": str(plugins),
            "plugin.discovery": "service_load",
            "config.providers": "env",
            "config.providers.env.class": "org.apache.kafka.common.config.provider.EnvVarConfigProvider",
            # A worker that was killed and comes back need not wait long for its former self.
            "session.timeout.ms": "3000",
            "heartbeat.interval.ms": "500",
            "scheduled.rebalance.max.delay.ms": "0",
            **self._settings,
        }

    def _is_ready(self) -> bool:
        return self._ask("GET", "/connectors") is not None

    def _runs(self, name: str) -> bool:
        status = self._ask("GET", f"/connectors/{name}/status")
        if status is None:
            return False
        parts: list[dict[str, str]] = [status["connector"], *status["tasks"]]
        for part in parts:
            if part["state"] == "FAILED":
                message = f"the connector {name} failed: {part.get('trace', '')[:3000]}"
                raise StoreUnavailableError(message)
        return len(parts) > 1 and all(part["state"] == "RUNNING" for part in parts)

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        """Ask the REST API; None while there is no answer, or no such thing yet."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 - http, to this machine
            self.url + path, data, {"Content-Type": "application/json"}, method=method
        )
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as answer:  # noqa: S310 - as above
                    return json.loads(answer.read() or b"{}")
            except urllib.error.HTTPError as error:
                said = error.read().decode(errors="replace")
                if error.code in {409, 500, 503} and method != "GET" and time.monotonic() < deadline:
                    time.sleep(_POLL_SECONDS)  # a rebalance is under way
                elif method == "GET":
                    return None
                else:
                    message = f"Kafka Connect refuses {method} {path}: {said[:3000]}"
                    raise ConfigurationError(message) from error
            except OSError as error:
                if method == "GET":
                    return None
                message = f"Kafka Connect does not answer: {error}; it logged:\n{self.log_tail()}"
                raise StoreUnavailableError(message) from error

    def _wait_until(self, holds: Callable[[], bool], complaint: str) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not holds():
            if self._process is None or self._process.poll() is not None:
                message = f"Kafka Connect ended while it was starting; it logged:\n{self.log_tail()}"
                raise StoreUnavailableError(message)
            if time.monotonic() > deadline:
                message = f"Kafka Connect {complaint} within {_START_SECONDS:.0f} s; it logged:\n{self.log_tail()}"
                raise StoreUnavailableError(message)
            time.sleep(_POLL_SECONDS)
