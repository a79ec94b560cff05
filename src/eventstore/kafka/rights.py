"""The least rights of everybody who uses a log, as data: for the guide, for manifests and for tests."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final, Literal, NamedTuple, TypeAlias

from eventstore.core.inventory import Inventory
from eventstore.kafka.names import Names

Role: TypeAlias = Literal["writer", "projection", "relay", "operator"]
Resource: TypeAlias = Literal["topic", "group", "transactional_id"]
Pattern: TypeAlias = Literal["literal", "prefixed"]

ROLES: Final[tuple[Role, ...]] = ("writer", "projection", "relay", "operator")
# Every role verifies the log's topics before it does anything; their names and settings are no secrets.
_LOOK: Final = ("Describe", "DescribeConfigs")
_READ: Final = (*_LOOK, "Read")
_WRITE: Final = (*_LOOK, "Write")
_BOTH: Final = (*_LOOK, "Read", "Write")
_KEEP: Final = ("AlterConfigs", "Create", *_LOOK)
_FENCE: Final = ("Describe", "Write")


class Right(NamedTuple):
    """Operations on one thing, or on everything of a kind whose name begins alike.

    Attributes:
        resource: The kind.
        name: Its name, or what the names begin with.
        pattern: Which of the two.
        operations: Kafka's names of the operations.
    """

    resource: Resource
    name: str
    pattern: Pattern
    operations: tuple[str, ...]


def rights_of(role: Role, names: Names, inventory: Inventory, *, sends: bool = False) -> list[Right]:
    """Give what a role needs and nothing more, each thing once, in order; one user may have several roles.

    Args:
        role: `writer` for every process that may own partitions, with the read models, process managers and inboxes it
            runs. `projection` for one that keeps read models only, or just looks: `eventstore worker --no-serve`,
            `Settings(serve=False)`. `relay` for `eventstore relay`. `operator` for `eventstore topics apply` and
            `check`, and for looking at positions; it reads no events.
        names: Of the log.
        inventory: What the application consists of.
        sends: A projection that also sends commands, as process managers do, and hears their answers.
    """
    given = {"writer": _writer, "relay": _relay, "operator": _operator}
    rights = given[role](names, inventory) if role in given else _projection(names, inventory, sends=sends)
    return _merged([*_looking(names, inventory), *rights])


def _looking(names: Names, inventory: Inventory) -> Iterable[Right]:
    yield Right("topic", names.replies, "literal", _LOOK)
    for category in inventory.categories:
        for topic in (names.events(category), names.commands(category)):
            yield Right("topic", topic, "literal", _LOOK)


def _writer(names: Names, inventory: Inventory) -> Iterable[Right]:
    yield Right("topic", names.replies, "literal", _BOTH)
    yield Right("group", names.owners_group, "literal", ("Read",))
    for category in inventory.categories:
        yield Right("topic", names.events(category), "literal", _BOTH)
        yield Right("topic", names.commands(category), "literal", _BOTH)
        yield Right("transactional_id", f"{names.events(category)}.", "prefixed", _FENCE)
    yield from _working(names, (*inventory.read_models, *inventory.processes))
    for inbox in inventory.inboxes:
        yield Right("topic", names.inbox_dead(inbox.name), "literal", _BOTH)
        yield Right("group", names.inbox_group(inbox.name), "literal", ("Read",))
        for topic in inbox.topics:
            yield Right("topic", topic, "literal", ("Describe", "Read"))


def _projection(names: Names, inventory: Inventory, *, sends: bool) -> Iterable[Right]:
    for category in inventory.categories:
        yield Right("topic", names.events(category), "literal", _READ)
    yield from _working(names, (*inventory.read_models, *(inventory.processes if sends else ())))
    if sends:
        yield Right("topic", names.replies, "literal", _READ)
        for category in inventory.categories:
            yield Right("topic", names.commands(category), "literal", _WRITE)


def _working(names: Names, works: Iterable[str]) -> Iterable[Right]:
    for work in works:
        # Of every version: a new one is built beside the old one, and needs no administrator.
        yield Right("group", names.workers_group(f"{work}.v"), "prefixed", ("Read",))


def _relay(names: Names, inventory: Inventory) -> Iterable[Right]:
    for publication in inventory.publications:
        group = names.relay_group(publication.name)
        yield Right("group", group, "literal", ("Read",))
        yield Right("transactional_id", f"{group}.", "prefixed", _FENCE)
        for category in publication.categories:
            yield Right("topic", names.events(category), "literal", _READ)
        for topic in publication.topics:
            yield Right("topic", topic, "literal", _WRITE)


def _operator(names: Names, inventory: Inventory) -> Iterable[Right]:
    yield Right("topic", names.replies, "literal", _KEEP)
    for category in inventory.categories:
        for topic in (names.events(category), names.commands(category)):
            yield Right("topic", topic, "literal", _KEEP)
    for topic in (*inventory.public_topics, *(names.inbox_dead(inbox.name) for inbox in inventory.inboxes)):
        yield Right("topic", topic, "literal", _KEEP)
    # To prove the fence on a topic of its own, which is deleted again.
    yield Right("topic", names.all_scratch, "prefixed", ("Create", "Delete", "Describe", "Write"))
    yield Right("transactional_id", names.all_scratch, "prefixed", _FENCE)
    yield Right("group", names.all_topics, "prefixed", ("Describe",))


def _merged(rights: Iterable[Right]) -> list[Right]:
    """Give every thing once, with all operations on it."""
    found: dict[tuple[Resource, str, Pattern], set[str]] = {}
    for resource, name, pattern, operations in rights:
        found.setdefault((resource, name, pattern), set()).update(operations)
    return [Right(*thing, tuple(sorted(operations))) for thing, operations in sorted(found.items())]


def grant_commands(rights: Sequence[Right], user: str, bootstrap: str) -> list[str]:
    """Write the commands of Kafka's own tools that grant rights, as few as there can be.

    Args:
        rights: What.
        user: To whom.
        bootstrap: The brokers.
    """

    def alike(right: Right) -> tuple[str, str, tuple[str, ...]]:
        return right.resource, right.pattern, right.operations

    commands: list[str] = []
    for (resource, pattern, operations), group in groupby(sorted(rights, key=alike), alike):
        words = ["kafka-acls.sh", "--bootstrap-server", bootstrap, "--add", "--allow-principal", f"User:{user}"]
        words += [word for operation in operations for word in ("--operation", operation)]
        words += ["--resource-pattern-type", pattern]
        words += [word for right in group for word in (f"--{resource.replace('_', '-')}", right.name)]
        commands.append(shlex.join(words))
    return commands
