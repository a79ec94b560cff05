"""A Kafka broker in Docker, for tests that need no more than its address."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from eventstore.core.errors import StoreUnavailableError
from eventstore.testing.kafka_config import HOST, NodeAddress, addresses, server_properties
from eventstore.testing.kafka_installation import KAFKA_VERSION, require_client
from eventstore.testing.kafka_node import known_nodes

_IMAGE: Final = f"apache/kafka:{KAFKA_VERSION}"
_PORT_INSIDE: Final = 9092
_CONTROLLER_PORT_INSIDE: Final = 9093
_INTERNAL_PORT_INSIDE: Final = 9094
_DATA_INSIDE: Final = Path("/var/lib/kafka/data")
_ENGINE_SECONDS: Final = 10.0
_START_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.05


def docker_answers() -> bool:
    """Tell whether testcontainers is installed and a Docker engine runs."""
    docker = shutil.which("docker")
    if docker is None or find_spec("testcontainers") is None:
        return False
    try:
        asked = subprocess.run([docker, "version"], capture_output=True, check=False, timeout=_ENGINE_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return asked.returncode == 0


@contextmanager
def kafka_in_docker() -> Generator[str]:
    """Yield the bootstrap address of a broker in a container that is gone after the block.

    Raises:
        ConfigurationError: The client is missing; says what to install.
        StoreUnavailableError: It did not come up; says what it logged.
    """
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - optional

    require_client()
    container = DockerContainer(_IMAGE)
    outside = addresses(1, None)[0]
    address = f"{container.get_container_host_ip()}:{outside.port}"
    container.with_envs(**_environment(address)).with_bind_ports(_PORT_INSIDE, outside.port)
    with container:
        deadline = time.monotonic() + _START_SECONDS
        while known_nodes(address, {}) != {1}:
            if time.monotonic() > deadline:
                logged = b"\n".join(container.get_logs())[-2000:].decode(errors="replace")
                raise StoreUnavailableError(f"Kafka in Docker did not answer in time; it logged:\n{logged}")
            time.sleep(_POLL_SECONDS)
        yield address


def _environment(advertised: str) -> dict[str, str]:
    # The image's spelling of a setting.
    return {
        f"KAFKA_{name.upper().replace('.', '_')}": value for name, value in container_properties(advertised).items()
    }


def container_properties(advertised: str) -> dict[str, str]:
    """Give the settings of the broker in a container.

    Args:
        advertised: Where clients outside reach it: `host:port`.
    """
    inside = NodeAddress(1, _PORT_INSIDE, _CONTROLLER_PORT_INSIDE)
    # The broker is its own client too, for example to end transactions, and cannot reach itself by the address outside.
    itself = f"INTERNAL://{HOST}:{_INTERNAL_PORT_INSIDE}"
    return {
        **server_properties(inside, (inside,), _DATA_INSIDE),
        "listeners": f"CLIENT://0.0.0.0:{_PORT_INSIDE},{itself},CONTROLLER://{HOST}:{_CONTROLLER_PORT_INSIDE}",
        "advertised.listeners": f"CLIENT://{advertised},{itself}",
        "inter.broker.listener.name": "INTERNAL",
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
    }
