"""The least rights of everybody who uses a log, as data: for the guide, for scripts and for tests."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

from eventstore.kafka.names import Names

Role: TypeAlias = Literal["owner", "administrator"]
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
    # Write and the transactional ids only prove the fence on a topic of its own.
    "administrator": {
        "topic": ("Create", "Delete", "AlterConfigs", "Describe", "DescribeConfigs", "Write"),
        "transactional_id": ("Describe", "Write"),
    },
}


def rights_of(role: Role, names: Names) -> list[Right]:
    """Give what a role needs, and nothing more.

    Args:
        role: `owner` for every process that opens the log, `administrator` for `eventstore topics apply` and `check`.
        names: Of the log.
    """
    return [Right(resource, f"{names.prefix}.", operations) for resource, operations in _OPERATIONS[role].items()]


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
