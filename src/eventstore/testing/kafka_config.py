"""Configuration files of a broker for tests: quick to start, quick to notice a death, small."""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias

from eventstore.core.errors import ConfigurationError

HOST: Final = "127.0.0.1"
# The super user of a secure cluster, and what others can be allowed to use.
ADMIN: Final = "admin"
Resource: TypeAlias = Literal["topic", "group", "transactional_id", "cluster"]


class Permission(NamedTuple):
    """One thing that a user of a secure cluster may do.

    Attributes:
        resource: On what kind of thing.
        name: Which one, or what the names begin with; the cluster's is `kafka-cluster`.
        operation: What, under Kafka's name, for example `DescribeConfigs`.
        pattern: Whether the name is the whole of it.
    """

    resource: Resource
    name: str
    operation: str
    pattern: Literal["literal", "prefixed"] = "literal"


# Below the range from which systems take the ports of outgoing connections, so that nobody is given the port of a
# node while it is down, and no client that tries to reach it is connected to itself.
_PORTS: Final = range(12_000, 32_000)
_ATTEMPTS: Final = 1_000

# Log4j would otherwise stop before Kafka, whose way down is worth reading.
_LOG4J: Final = """\
shutdownHook = disable
rootLogger.level = INFO
rootLogger.appenderRef.file.ref = FILE
appender.file.type = File
appender.file.name = FILE
appender.file.fileName = {path}
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d %p %m (%c)%n
"""


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """Where one node listens.

    Attributes:
        id: Its number in the cluster, from 1.
        port: For clients and other brokers.
        controller_port: For the quorum of controllers.
        proxied_port: For clients that come over a proxy, or None.
        proxy_port: Where that proxy listens.
    """

    id: int
    port: int
    controller_port: int
    proxied_port: int | None = None
    proxy_port: int | None = None


def addresses(nodes: int, port: int | None, proxies: Sequence[int] = ()) -> tuple[NodeAddress, ...]:
    """Choose free ports for the nodes.

    Args:
        nodes: How many.
        port: The first node's, the others follow; None for any.
        proxies: The ports of the first nodes' proxies.

    Raises:
        ConfigurationError: A port that was asked for is taken.
    """
    if port is None:
        ports = free_ports(nodes)
    else:
        ports = list(range(port, port + nodes))
        for wanted in ports:
            if not _is_free(wanted):
                message = f"port {wanted} is taken: end what listens there, or choose another port"
                raise ConfigurationError(message)
    controllers = free_ports(nodes, without=[*ports, *proxies])
    proxied = free_ports(len(proxies), without=[*ports, *proxies, *controllers])
    behind = dict(enumerate(zip(proxied, proxies, strict=True)))
    return tuple(NodeAddress(i + 1, ports[i], controllers[i], *behind.get(i, ())) for i in range(nodes))


def free_ports(count: int, without: Sequence[int] = ()) -> list[int]:
    """Choose ports that nobody listens on, from a range that no outgoing connection takes one of.

    Args:
        count: How many.
        without: Ports that are promised to others.

    Raises:
        ConfigurationError: There are not so many.
    """
    found: list[int] = []
    for _ in range(_ATTEMPTS):
        if len(found) == count:
            return found
        candidate = random.choice(_PORTS)  # noqa: S311 - a secret is not wanted, only no collision with other tests
        if candidate not in found and candidate not in without and _is_free(candidate):
            found.append(candidate)
    message = f"there are no {count} free ports between {_PORTS.start} and {_PORTS.stop} on {HOST}"
    raise ConfigurationError(message)


def _is_free(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError):
        # As the broker does: connections of an ended one may linger without being in the way.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((HOST, port))
        return True
    return False


def broker_defaults(nodes: int) -> dict[str, str]:
    """Give the settings in which a broker for tests differs from Kafka's own defaults, whatever runs it.

    Args:
        nodes: How many there are in its cluster; replication follows from it.
    """
    replicas = min(nodes, 3)
    in_sync = max(replicas - 1, 1)
    return {
        "auto.create.topics.enable": "false",
        "unclean.leader.election.enable": "false",
        "default.replication.factor": f"{replicas}",
        "min.insync.replicas": f"{in_sync}",
        # A topic of the broker's own has 50 partitions by default, created when the first group appears.
        "offsets.topic.num.partitions": "4",
        "offsets.topic.replication.factor": f"{replicas}",
        "transaction.state.log.num.partitions": "4",
        "transaction.state.log.replication.factor": f"{replicas}",
        "transaction.state.log.min.isr": f"{in_sync}",
        "share.coordinator.state.topic.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": f"{replicas}",
        "share.coordinator.state.topic.min.isr": f"{in_sync}",
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        "group.consumer.min.session.timeout.ms": "1000",
        "group.consumer.min.heartbeat.interval.ms": "200",
        # A dead broker is noticed, and may come back, after 3 s; a busy machine must not look like a dead broker.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        "log.cleaner.dedupe.buffer.size": f"{16 * 1024 * 1024}",
        "num.network.threads": "2",
        "num.io.threads": "4",
    }


def server_properties(node: NodeAddress, cluster: Sequence[NodeAddress], data: Path) -> dict[str, str]:
    """Give the settings of one node that is broker and controller in one process.

    Args:
        node: Which one.
        cluster: All of them.
        data: Its data directory.
    """
    listeners, advertised = f"CLIENT://{HOST}:{node.port}", f"CLIENT://{HOST}:{node.port}"
    if node.proxied_port is not None:
        listeners += f",PROXIED://{HOST}:{node.proxied_port}"
        advertised += f",PROXIED://{HOST}:{node.proxy_port}"
    return {
        "process.roles": "broker,controller",
        "node.id": f"{node.id}",
        "controller.quorum.voters": ",".join(f"{each.id}@{HOST}:{each.controller_port}" for each in cluster),
        "listeners": f"{listeners},CONTROLLER://{HOST}:{node.controller_port}",
        "advertised.listeners": advertised,
        "inter.broker.listener.name": "CLIENT",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT",
        "log.dirs": str(data),
        **broker_defaults(len(cluster)),
    }


def write_properties(path: Path, properties: Mapping[str, str]) -> None:
    """Write a file as Java reads it, closed to other users because it may hold passwords."""
    path.touch(mode=0o600)
    lines = [f"{name}={value}".replace("\\", "\\\\") for name, value in properties.items()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_log_config(path: Path, log: Path) -> None:
    """Write a log4j2 configuration that sends everything to one file."""
    path.write_text(_LOG4J.format(path=log), encoding="utf-8")
