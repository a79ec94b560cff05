"""What is rendered, on a real cluster: its topics and users there, its containers as processes of this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka.admin import AdminClient, NewTopic

from eventstore.testing.kafka import KafkaCluster
from eventstore.testing.kafka_config import Permission
from tests.deploy.applications import Document, of_kind

_RESOURCES = {"topic": "topic", "group": "group", "transactionalId": "transactional_id", "cluster": "cluster"}
_PATTERNS = {"literal": "literal", "prefix": "prefixed"}


def apply_topics(settings: Mapping[str, str], documents: Sequence[Document]) -> list[str]:
    """Create every topic as Strimzi's operator would, from the manifest alone."""
    wanted = [
        NewTopic(
            topic["spec"].get("topicName", topic["metadata"]["name"]),
            topic["spec"]["partitions"],
            topic["spec"]["replicas"],
            config=topic["spec"]["config"],
        )
        for topic in of_kind(documents, "KafkaTopic")
    ]
    admin = AdminClient(dict(settings))
    for created in admin.create_topics(wanted).values():
        created.result(30)
    return [topic.topic for topic in wanted]


def permissions_in(user: Document) -> list[Permission]:
    """Read what a user may do from its manifest."""
    acls: Iterable[Document] = user["spec"]["authorization"]["acls"]
    return [
        Permission(
            _RESOURCES[acl["resource"]["type"]],  # type: ignore[arg-type]
            acl["resource"]["name"],
            operation,
            _PATTERNS[acl["resource"]["patternType"]],  # type: ignore[arg-type]
        )
        for acl in acls
        for operation in acl["operations"]
    ]


async def apply_users(cluster: KafkaCluster, documents: Sequence[Document]) -> None:
    """Make every user with its rights, from the manifest alone."""
    for user in of_kind(documents, "KafkaUser"):
        name: str = user["metadata"]["name"]
        assert user["spec"]["authentication"] == {"type": "scram-sha-512"}
        await cluster.create_user(name)
        await cluster.allow(name, permissions_in(user))


@dataclass(frozen=True)
class Machine:
    """Stands in for what Kubernetes gives a container.

    Attributes:
        bootstrap: The brokers.
        directory: For its files.
        settings: What its user needs to connect, under the names of confluent-kafka; empty if nobody asks.
        query_store: The URL in the Secret.
    """

    bootstrap: str
    directory: Path
    settings: Mapping[str, str]
    query_store: str = "sqlite:///none.db"

    def command(self, pod: Document, ports: Mapping[str, int]) -> list[str]:
        """Give the container's command line; its ports are this machine's free ones."""
        (container,) = pod["spec"]["containers"]
        command: list[str] = container.get("command", ["python", "-m", "eventstore.cli"])
        words = [sys.executable, *command[1:], *container.get("args", ())]
        numbers = {str(port["containerPort"]): str(ports[port["name"]]) for port in container.get("ports", ())}
        for there, here in numbers.items():
            words = [f"{word.removesuffix(there)}{here}" if word.endswith(f"={there}") else word for word in words]
        words = [word.replace("0.0.0.0", "127.0.0.1") for word in words]
        return [*words, f"--port={ports['http']}"] if "http" in ports else words

    def environment(self, pod: Document) -> dict[str, str]:
        """Give the container's variables; files and addresses are this machine's."""
        (container,) = pod["spec"]["containers"]
        given: dict[str, Any] = {each["name"]: each.get("value", self.query_store) for each in container["env"]}
        self.directory.mkdir()
        password = self.directory / "password"
        password.write_text(self.settings.get("sasl.password", ""))
        given |= {"EVENTSTORE_BOOTSTRAP": self.bootstrap, "EVENTSTORE_DIRECTORY": str(self.directory / "index")}
        given |= {
            "EVENTSTORE_PASSWORD_FILE": str(password),
            "EVENTSTORE_AUTHORITY": self.settings.get("ssl.ca.location", ""),
        }
        if not self.settings:
            given |= {"EVENTSTORE_USER": "", "EVENTSTORE_PASSWORD_FILE": ""}
        own = {name: value for name, value in os.environ.items() if not name.startswith("EVENTSTORE_")}
        return own | given | {"PYTHONUNBUFFERED": "1", "NO_COLOR": "1", "COLUMNS": "200"}
