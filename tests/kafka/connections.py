"""Connections of users to a secure cluster."""

from __future__ import annotations

from typing import Any

from eventstore.kafka import Connection
from eventstore.testing.kafka import KafkaCluster


def connection_to(cluster: KafkaCluster, user: str, **changes: Any) -> Connection:
    settings = cluster.client_settings(user)
    given = {
        "bootstrap": settings["bootstrap.servers"],
        "user": user,
        "password": settings["sasl.password"],
        "authority": settings["ssl.ca.location"],
    }
    return Connection(**(given | changes))
