"""Users of a secure cluster, and how they connect."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import uuid4

from eventstore.kafka import Connection
from eventstore.kafka.rights import Right
from eventstore.testing.kafka import KafkaCluster
from eventstore.testing.kafka_config import Permission


def connection_to(cluster: KafkaCluster, user: str, **changes: Any) -> Connection:
    settings = cluster.client_settings(user)
    given = {"bootstrap": settings["bootstrap.servers"], "authority": settings["ssl.ca.location"]}
    if "sasl.password" in settings:
        given |= {"user": user, "password": settings["sasl.password"]}
    else:
        given |= {"certificate": settings["ssl.certificate.location"], "key": settings["ssl.key.location"]}
    return Connection(**(given | changes))


def permissions_of(rights: Iterable[Right]) -> list[Permission]:
    return [
        Permission(right.resource, right.name, operation, right.pattern)
        for right in rights
        for operation in right.operations
    ]


async def new_user(cluster: KafkaCluster, rights: Iterable[Right], without: str = "") -> str:
    """Make a user with these rights, but for those on a kind of thing, or an operation."""
    user = f"u-{uuid4().hex[:8]}"
    await cluster.create_user(user)
    granted = [each for each in permissions_of(rights) if without not in {each.resource, each.operation}]
    if granted:
        await cluster.allow(user, granted)
    return user
