"""What is on the Kafka cluster: topics and users as Strimzi's resources, from the very code that verifies them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from eventstore.core.errors import ConfigurationError
from eventstore.deploy.blueprint import Blueprint, Component, Document
from eventstore.kafka.rights import Right
from eventstore.kafka.topics import WantedTopic

_API: Final = "kafka.strimzi.io/v1"
_RESOURCES: Final[Mapping[str, str]] = {"topic": "topic", "group": "group", "transactional_id": "transactionalId"}
_PATTERNS: Final[Mapping[str, str]] = {"literal": "literal", "prefixed": "prefix"}


def topics(blueprint: Blueprint) -> list[Document]:
    """Give every topic, with the settings that opening the log insists on.

    Args:
        blueprint: The application in its environment.

    Raises:
        ConfigurationError: Two topics would be one resource.
    """
    resources: dict[str, str] = {}
    for topic in blueprint.topics:
        other = resources.setdefault(_resource_name(topic.name), topic.name)
        if other != topic.name:
            message = f"{other} and {topic.name} would both be the KafkaTopic {_resource_name(other)}: rename one"
            raise ConfigurationError(message)
    return [_topic(blueprint, topic) for topic in sorted(blueprint.topics, key=lambda topic: topic.name)]


def users(blueprint: Blueprint) -> list[Document]:
    """Give a user for every role that a component has, with its least rights.

    Args:
        blueprint: The application in its environment.
    """
    first = {blueprint.user(component): component for component in reversed(blueprint.components)}
    return [_user(blueprint, component) for component in blueprint.components if component in first.values()]


def _topic(blueprint: Blueprint, topic: WantedTopic) -> Document:
    resource = _resource_name(topic.name)
    spec: Document = {
        **({"topicName": topic.name} if resource != topic.name else {}),
        "partitions": topic.partitions,
        "replicas": topic.replication,
        "config": dict(sorted(topic.settings.items())),
    }
    metadata = blueprint.metadata(resource, None, **{"strimzi.io/cluster": blueprint.environment.cluster})
    return {"apiVersion": _API, "kind": "KafkaTopic", "metadata": metadata, "spec": spec}


def _resource_name(topic: str) -> str:
    return re.sub(r"[^a-z0-9.-]", "-", topic.lower())


def _user(blueprint: Blueprint, component: Component) -> Document:
    labels = {"strimzi.io/cluster": blueprint.environment.cluster}
    return {
        "apiVersion": _API,
        "kind": "KafkaUser",
        "metadata": blueprint.metadata(blueprint.user(component), component, **labels),
        "spec": {
            "authentication": {"type": "scram-sha-512"},
            "authorization": {"type": "simple", "acls": [_acl(right) for right in blueprint.rights(component)]},
        },
    }


def _acl(right: Right) -> Document:
    resource = {
        "type": _RESOURCES[right.resource],
        "name": right.name,
        "patternType": _PATTERNS[right.pattern],
    }
    return {"resource": resource, "operations": list(right.operations), "host": "*"}
