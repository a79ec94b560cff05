"""The one place for settings of the Kafka log that are no part of the connection."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any, Final, Self

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
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read what differs from one place to the next, and leave the rest as it is by default.

        Args:
            environment: `EVENTSTORE_PARTITIONS`, `EVENTSTORE_PRODUCTION` (`true` or `false`), `EVENTSTORE_DIRECTORY` and
                `EVENTSTORE_MEMBER`; None for those of this process. An empty one counts as not set.

        Raises:
            ConfigurationError: One of them makes no sense.
        """
        variables = os.environ if environment is None else environment
        given: dict[str, Any] = {}
        for name, read in _VARIABLES.items():
            variable = f"EVENTSTORE_{name.upper()}"
            if text := variables.get(variable, "").strip():
                given[name] = read(variable, text)
        return cls(**given)


def _number(variable: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        message = f"{variable}={text!r}: write a positive number"
        raise ConfigurationError(message)
    return int(text)


def _flag(variable: str, text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        message = f"{variable}={text!r}: write true or false"
        raise ConfigurationError(message)
    return text.lower() == "true"


def _text(variable: str, text: str) -> str:
    del variable
    return text


_VARIABLES: Final[Mapping[str, Callable[[str, str], object]]] = {
    "partitions": _number,
    "production": _flag,
    "directory": _text,
    "member": _text,
}
