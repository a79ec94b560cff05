"""Where a store reports what it does: one object per process, given to `Settings(telemetry=...)`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from eventstore.core.commands import Command
from eventstore.core.definitions import SubscriptionDefinition
from eventstore.core.errors import (
    AppendOutcomeUnknownError,
    CommandRejectedError,
    OwnershipLostError,
    StoreClosedError,
    StoreUnavailableError,
    WrongExpectedVersionError,
)
from eventstore.core.projections import EventAt
from eventstore.environment import Environment
from eventstore.ports import EventLog
from eventstore.telemetry import catalog
from eventstore.telemetry.measured_log import MeasuredLog
from eventstore.telemetry.measurements import Histogram, Measurements
from eventstore.telemetry.tracing import CommandSpan, Tracing, tracing
from eventstore.write.origin import Origin
from eventstore.write.pending import Committed

COMMANDS_LOGGER: Final = logging.getLogger("eventstore.commands")
_SHOWN: Final = 128
_OUTCOMES: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (CommandRejectedError, "rejected"),
    (WrongExpectedVersionError, "conflict"),
    (AppendOutcomeUnknownError, "unknown"),
    (StoreUnavailableError, "unavailable"),
    (OwnershipLostError, "unavailable"),
    (StoreClosedError, "unavailable"),
    (Exception, "failed"),
)


class Telemetry:
    """Counts and times everything, and traces commands whose callers are traced; never changes what happens.

    Metrics are kept as plain numbers: `eventstore.telemetry.prometheus` and `eventstore.telemetry.otlp` expose them.
    Traces go to OpenTelemetry's global tracer provider, if the package is installed and the application has set one. A
    command is traced if it is executed within a span that is sampled, such as one of an HTTP request.

    Args:
        refresh_seconds: How often lag, rebuilds and ownership are looked at.
        traces: Whether to take part in traces.
        environment: Clock and randomness.
    """

    def __init__(
        self, *, refresh_seconds: float = 10.0, traces: bool = True, environment: Environment | None = None
    ) -> None:
        self.measurements: Final = Measurements()
        self.refresh_seconds: Final = refresh_seconds
        self._environment: Final = environment or Environment()
        self._clock: Final = self._environment.clock
        self._tracing: Final[Tracing | None] = tracing(self._environment) if traces else None
        self._durations: Final = self.measurements.histogram(catalog.COMMAND_DURATION)
        self._projected: Final = self.measurements.number(catalog.PROJECTED_EVENTS)
        self._projecting: Final = self.measurements.histogram(catalog.PROJECTION_DURATION)
        self._delays: Final = self.measurements.histogram(catalog.VISIBILITY_DELAY)

    def measured(self, log: EventLog) -> EventLog:
        """Give a log that reports what it is asked to do."""
        return MeasuredLog(log, self.measurements, self._clock, self._tracing)

    def command(self, category: str, aggregate_id: str, command: Command, origin: Origin) -> MeasuredCommand:
        """Begin to measure a command; `with` it is executed.

        Args:
            category: The aggregate's.
            aggregate_id: The aggregate's.
            command: What is executed.
            origin: Its ids.
        """
        name = type(command).__name__
        span = None
        if self._tracing is not None:
            span = self._tracing.command(name, f"{category}-{aggregate_id}"[:_SHOWN], origin)
        return MeasuredCommand(name, f"{category}-{aggregate_id}", origin, span, self._environment, self._durations)

    def applied(self, definition: SubscriptionDefinition, batch: Sequence[EventAt], seconds: float) -> None:
        """Note a batch that a read model has applied; see `batches.Applied`."""
        labels = (definition.name,)
        self._projected.add(len(batch), labels)
        self._projecting.observe(labels, seconds)
        newest = batch[-1].at.occurred_at
        self._delays.observe(labels, max(0.0, (self._clock.now() - newest).total_seconds()))
        if self._tracing is not None:
            self._tracing.projected(definition.name, batch, seconds)


class MeasuredCommand:
    """A command while it is executed.

    Attributes:
        origin: The ids to execute it under.
    """

    __slots__ = ("_began", "_clock", "_done", "_durations", "_name", "_span", "_stream", "origin")

    def __init__(
        self,
        name: str,
        stream: str,
        origin: Origin,
        span: CommandSpan | None,
        environment: Environment,
        durations: Histogram,
    ) -> None:
        self.origin: Final = origin if span is None else span.origin
        self._name: Final = name
        self._stream: Final = stream
        self._span: Final = span
        self._clock: Final = environment.clock
        self._durations: Final = durations
        self._done: Committed | None = None
        self._began = 0.0

    def __enter__(self) -> Self:
        """Start the clock."""
        self._began = self._clock.monotonic()
        if self._span is not None:
            self._span.__enter__()
        return self

    def note(self, done: Committed) -> Committed:
        """Note the result and give it back."""
        self._done = done
        return done

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Record what became of it."""
        outcome = "executed" if error is None else _outcome(error)
        seconds = self._clock.monotonic() - self._began
        self._durations.observe((self._name, outcome), seconds)
        if COMMANDS_LOGGER.isEnabledFor(logging.INFO):
            self._log(outcome, seconds)
        if self._span is not None:
            self._span.outcome(outcome, None if self._done is None else self._done.version)
            self._span.__exit__(kind, error, trace)

    def _log(self, outcome: str, seconds: float) -> None:
        version = None if self._done is None else self._done.version
        COMMANDS_LOGGER.info(
            "%s on %s was %s",
            self._name,
            ascii(self._stream)[1 : _SHOWN + 1],
            outcome,
            extra={
                "stream": self._stream[:_SHOWN],
                "version": version,
                "command": self._name,
                "command_id": str(self.origin.command_id),
                "correlation_id": str(self.origin.correlation_id),
                "outcome": outcome,
                "seconds": round(seconds, 6),
            },
        )


def _outcome(error: BaseException) -> str:
    return next((outcome for kind, outcome in _OUTCOMES if isinstance(error, kind)), "cancelled")
