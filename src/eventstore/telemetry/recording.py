"""Where a store reports what it does: one object per process, given to `Settings(telemetry=...)`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

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
from eventstore.ports import Clock, EventLog
from eventstore.telemetry import catalog
from eventstore.telemetry.measured_log import MeasuredLog
from eventstore.telemetry.measurements import Histogram, Measurements
from eventstore.telemetry.tracing import CommandSpan, Tracing, tracing
from eventstore.write.origin import Origin
from eventstore.write.pending import Committed

COMMANDS_LOGGER: Final = logging.getLogger("eventstore.commands")
_SHOWN: Final = 128
_ALARMING: Final = ("failed", "unavailable", "unknown")
"""Counted from 0 on, for every command that was ever executed: Prometheus does not see the first of what was not there."""
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
        self._timers: Final[dict[type[Command], CommandTimer]] = {}
        self._projected: Final = self.measurements.number(catalog.PROJECTED_EVENTS)
        self._projecting: Final = self.measurements.histogram(catalog.PROJECTION_DURATION)
        self._delays: Final = self.measurements.histogram(catalog.VISIBILITY_DELAY)

    def measured(self, log: EventLog) -> EventLog:
        """Give a log that reports what it is asked to do."""
        return MeasuredLog(log, self.measurements, self._clock, self._tracing)

    def command(self, category: str, aggregate_id: str, command: Command, origin: Origin) -> TimedCommand:
        """Begin to measure a command: `executed` or `failed` is to be called when it ends.

        Args:
            category: The aggregate's.
            aggregate_id: The aggregate's.
            command: What is executed.
            origin: Its ids.
        """
        kind = type(command)
        timer = self._timers.get(kind) or self._timer(kind)
        traced = self._tracing is not None and self._tracing.caller_is_traced
        if not traced and not COMMANDS_LOGGER.isEnabledFor(logging.INFO):
            return TimedCommand(timer, origin)
        stream = f"{category}-{aggregate_id}"[:_SHOWN]
        span = self._tracing.command(timer.name, stream, origin) if traced and self._tracing is not None else None
        return ReportedCommand(timer, origin, stream, span)

    def _timer(self, kind: type[Command]) -> CommandTimer:
        durations = self.measurements.histogram(catalog.COMMAND_DURATION)
        return self._timers.setdefault(kind, CommandTimer(kind.__name__, durations, self._clock))

    def applied(self, definition: SubscriptionDefinition, batch: Sequence[EventAt], seconds: float) -> None:
        """Note a batch that a read model has applied; see `batches.Applied`."""
        labels = (definition.name,)
        self._projected.add(len(batch), labels)
        self._projecting.observe(labels, seconds)
        newest = batch[-1].at.occurred_at
        self._delays.observe(labels, max(0.0, (self._clock.now() - newest).total_seconds()))
        if self._tracing is not None:
            self._tracing.projected(definition.name, batch, seconds)


class CommandTimer:
    """Times the commands of one class.

    Attributes:
        name: The class's.
        now: The clock, in seconds.
        executed: The durations of those that were executed.
    """

    __slots__ = ("_durations", "executed", "name", "now")

    def __init__(self, name: str, durations: Histogram, clock: Clock) -> None:
        self.name: Final = name
        self.now: Final = clock.monotonic
        self.executed: Final = durations.series((name, "executed"))
        self._durations: Final = durations
        for outcome in _ALARMING:
            durations.series((name, outcome))

    def observe(self, outcome: str, seconds: float) -> None:
        """Count one."""
        self._durations.observe((self.name, outcome), seconds)


class TimedCommand:
    """A command while it is executed: all that every command costs.

    Attributes:
        origin: The ids to execute it under.
    """

    __slots__ = ("began", "origin", "timer")

    def __init__(self, timer: CommandTimer, origin: Origin) -> None:
        self.origin = origin
        self.timer: Final = timer
        self.began: Final = timer.now()

    def executed(self, done: Committed) -> Committed:
        """Record that it was executed, and give the result back."""
        timer = self.timer
        timer.executed.observe(timer.now() - self.began)
        return done

    def failed(self, error: BaseException) -> None:
        """Record that it was not."""
        self.timer.observe(_outcome(error), self.timer.now() - self.began)


class ReportedCommand(TimedCommand):
    """A command that is traced, or whose end is logged."""

    __slots__ = ("_span", "_stream")

    def __init__(self, timer: CommandTimer, origin: Origin, stream: str, span: CommandSpan | None) -> None:
        super().__init__(timer, origin if span is None else span.origin)
        self._stream: Final = stream
        self._span: Final = span

    def executed(self, done: Committed) -> Committed:
        """Record and report that it was executed, and give the result back."""
        self._report("executed", done.version, None)
        return super().executed(done)

    def failed(self, error: BaseException) -> None:
        """Record and report that it was not."""
        super().failed(error)
        self._report(_outcome(error), None, error)

    def _report(self, outcome: str, version: int | None, error: BaseException | None) -> None:
        if COMMANDS_LOGGER.isEnabledFor(logging.INFO):
            self._log(outcome, version)
        if self._span is not None:
            self._span.end(outcome, version, error)

    def _log(self, outcome: str, version: int | None) -> None:
        shown = {
            "stream": self._stream,
            "version": version,
            "command": self.timer.name,
            "command_id": str(self.origin.command_id),
            "correlation_id": str(self.origin.correlation_id),
            "outcome": outcome,
            "seconds": round(self.timer.now() - self.began, 6),
        }
        COMMANDS_LOGGER.info("%s on %s was %s", self.timer.name, ascii(self._stream)[1:-1], outcome, extra=shown)


def _outcome(error: BaseException) -> str:
    return next((outcome for kind, outcome in _OUTCOMES if isinstance(error, kind)), "cancelled")
