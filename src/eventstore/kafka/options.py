"""The one place for settings of the Kafka log that are no part of the connection."""

from __future__ import annotations

import os
from dataclasses import dataclass
from os import PathLike
from typing import Any, Self

from eventstore.core.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class KafkaOptions:
    """How a Kafka log works; the defaults suit development and small clusters.

    Attributes:
        partitions: Of each category's topics when they are created; fixed for life.
        replication: Copies of each partition; None for 3, or as many as there are brokers.
        production: Verify topics instead of creating them, and refuse what is unsafe.
        directory: Where this machine's processes keep their indexes.
        member: A name that stays the same when this process restarts, so that a quick restart moves no partition.
        session_seconds: After this long without a sign of life other processes take over.
        drain_seconds: How long a hand-over may take.
        commit_seconds: How long a commit may take before its outcome is looked up or given up.

    Raises:
        ConfigurationError: A value makes no sense.
    """

    partitions: int = 12
    replication: int | None = None
    production: bool = False
    directory: str | PathLike[str] = ".eventstore"
    member: str | None = None
    session_seconds: float = 6.0
    drain_seconds: float = 5.0
    commit_seconds: float = 8.0

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        checks = {
            "partitions": self.partitions >= 1,
            "replication": self.replication is None or self.replication >= 1,
            "session_seconds": self.session_seconds > 0,
            "drain_seconds": self.drain_seconds >= 0,
            "commit_seconds": self.commit_seconds > 0,
        }
        for name, sound in checks.items():
            if not sound:
                message = f"KafkaOptions({name}={getattr(self, name)}) makes no sense: give a positive number"
                raise ConfigurationError(message)

    @classmethod
    def from_environment(cls) -> Self:
        """Take what differs from one place to the next from the environment, and the defaults for the rest.

        `EVENTSTORE_PARTITIONS`, `EVENTSTORE_PRODUCTION` (`true` or `false`), `EVENTSTORE_DIRECTORY`, `EVENTSTORE_MEMBER`.

        Raises:
            ConfigurationError: One of them makes no sense.
        """
        given: dict[str, Any] = {}
        for name in ("partitions", "production", "directory", "member"):
            variable = f"EVENTSTORE_{name.upper()}"
            if text := os.environ.get(variable):
                given[name] = _read(variable, text)
        return cls(**given)


def _read(variable: str, text: str) -> object:
    if variable == "EVENTSTORE_PARTITIONS":
        if not (text.isascii() and text.isdigit()):
            message = f"{variable}={text!r} makes no sense: give a positive number"
            raise ConfigurationError(message)
        return int(text)
    if variable == "EVENTSTORE_PRODUCTION":
        if text not in ("true", "false"):
            message = f"{variable}={text!r} makes no sense: give true or false"
            raise ConfigurationError(message)
        return text == "true"
    return text
