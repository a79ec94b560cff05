"""The least rights of everybody who uses a log, as data: for the guide, for scripts and for tests."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

from eventstore.kafka.names import Names

Role: TypeAlias = Literal["owner", "relay", "administrator"]
Resource: TypeAlias = Literal["topic", "group", "transactional_id"]


class Right(NamedTuple):
    """Operations on everything of a kind whose name begins with a prefix.

    Attributes:
        resource: The kind.
        prefix: What names begin with.
        operations: Kafka's names of the operations.
    """

    resource: Resource
    prefix: str
    operations: Sequence[str]


_OPERATIONS: Final[Mapping[Role, Mapping[Resource, Sequence[str]]]] = {
    # Read: events, commands and replies. Write: the same. The rest verifies topics and fences writers.
    "owner": {
        "topic": ("Describe", "DescribeConfigs", "Read", "Write"),
        "transactional_id": ("Describe", "Write"),
        "group": ("Read",),
    },
    # What it may write to is added: the public topics, and nothing that events are read from.
    "relay": {
        "topic": ("Describe", "DescribeConfigs", "Read"),
        "transactional_id": ("Describe", "Write"),
        "group": ("Read",),
    },
    # Write and the transactional ids only prove the fence on a topic of its own.
    "administrator": {
        "topic": ("Create", "Delete", "AlterConfigs", "Describe", "DescribeConfigs", "Write"),
        "transactional_id": ("Describe", "Write"),
    },
}


def rights_of(role: Role, names: Names, public: Sequence[str] = ()) -> list[Right]:
    """Give what a role needs, and nothing more.

    Args:
        role: `owner` for every process that opens the log, `relay` for `eventstore relay`, `administrator` for
            `eventstore topics apply` and `check`.
        names: Of the log.
        public: Topics that publications write to; those outside the prefix need rights of their own.
    """
    rights = [Right(resource, names.all_topics, operations) for resource, operations in _OPERATIONS[role].items()]
    if role == "relay":
        rights += [Right("topic", topic, ("Describe", "DescribeConfigs", "Write")) for topic in public]
    if role == "administrator":
        foreign = [topic for topic in public if not topic.startswith(names.all_topics)]
        rights += [Right("topic", topic, _OPERATIONS[role]["topic"]) for topic in foreign]
    return rights


def grant_command(right: Right, user: str, bootstrap: str) -> str:
    """Write the command of Kafka's own tools that grants a right.

    Args:
        right: What.
        user: To whom.
        bootstrap: The brokers.
    """
    words = ["kafka-acls.sh", "--bootstrap-server", bootstrap, "--add", "--allow-principal", f"User:{user}"]
    for operation in right.operations:
        words += ["--operation", operation]
    words += ["--resource-pattern-type", "prefixed", f"--{right.resource.replace('_', '-')}", right.prefix]
    return shlex.join(words)
