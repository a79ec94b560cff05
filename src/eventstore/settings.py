"""The one place for settings that are no part of the domain."""

from __future__ import annotations

from dataclasses import dataclass, field

from eventstore.core.errors import ConfigurationError
from eventstore.environment import Environment
from eventstore.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Settings:
    """How a store works; the defaults suit a service with thousands of live aggregates.

    Attributes:
        timeout: Seconds until a command that waits for the log is given up.
        cache_size: How many aggregates are kept in memory.
        serve: Whether this process may own partitions of a log that gives each to one process, and execute the
            commands of others there. Tools that only look do not.
        workers: Whether opening the store also runs its projections and process managers.
        batch_size: Events that a worker applies per transaction.
        concurrency: How many batches of all workers of this process are written at the same time.
        lease: Seconds after which other workers take over from one that stopped without a word.
        environment: Clock and randomness.
        telemetry: Measures what the store does; None for nothing, at no cost.

    Raises:
        ConfigurationError: A value makes no sense.
    """

    timeout: float = 10.0
    cache_size: int = 10_000
    serve: bool = True
    workers: bool = True
    batch_size: int = 5_000
    concurrency: int = 8
    lease: float = 5.0
    environment: Environment = field(default_factory=Environment)
    telemetry: Telemetry | None = None

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        positive = ("timeout", "batch_size", "concurrency", "lease")
        for name, value in ((name, getattr(self, name)) for name in positive):
            if value <= 0:
                message = f"Settings({name}={value}): must be more than 0"
                raise ConfigurationError(message)
        if self.cache_size < 0:
            message = f"Settings(cache_size={self.cache_size}): must be 0 or more"
            raise ConfigurationError(message)
