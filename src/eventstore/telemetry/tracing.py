"""Traces: a command's span, and what follows from it in other tasks and processes, found by the ids of its events.

Nothing is stored for it. The correlation id of a traced command is the id of its trace, and the 64 bits of its command id
that are random otherwise are the id of its span: who has an event has the context it was made in, in every log and process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Final
from uuid import UUID

from eventstore.core.errors import CommandRejectedError, EventSchemaError
from eventstore.core.ids import uuid7
from eventstore.core.projections import EventAt
from eventstore.core.records import Partition
from eventstore.environment import Environment
from eventstore.ports import StreamCommit
from eventstore.write.origin import Origin

if TYPE_CHECKING:
    from opentelemetry.trace import Link, Span, SpanContext

_SPAN_BITS: Final = 64
_LOW_BITS: Final = 62
_MOST_LINKS: Final = 32
_YEARS: Final = range(1_577_836_800_000, 4_102_444_800_000)
"""Milliseconds since 1970 of 2020 to 2100: what ids of commands that are not traced begin with."""


class Tracing:
    """Makes spans by OpenTelemetry's API; its SDK, if the application has set one up, decides what becomes of them.

    Args:
        environment: The clock, and randomness for ids.
    """

    def __init__(self, environment: Environment) -> None:
        from opentelemetry import trace  # noqa: PLC0415 - optional

        self._trace: Final = trace
        self._current_span: Final = trace.get_current_span
        self._no_span: Final = trace.INVALID_SPAN
        self._environment: Final = environment
        self._tracer: Final = trace.get_tracer("eventstore")
        self._traced: Final[dict[bytes, SpanContext]] = {}

    @property
    def caller_is_traced(self) -> bool:
        """Whether the current span, if there is one, is sampled."""
        span = self._current_span()
        if span is self._no_span:  # of nearly all commands, so it has to be cheap
            return False
        context = span.get_span_context()
        return context.trace_flags.sampled and context.is_valid

    def command(self, name: str, stream: str, origin: Origin) -> CommandSpan | None:
        """Begin the span of a command whose caller is traced; None if a sampler drops it all the same.

        Args:
            name: The command's class.
            stream: Which aggregate it concerns.
            origin: Its ids; those that nobody chose are replaced by ids that tell the span.
        """
        span = self._tracer.start_span(f"execute {name}", attributes={"eventsourcing.stream": stream})
        context = span.get_span_context()
        if not _sampled(context):
            span.end()
            return None
        origin = self._tied(origin, context)
        span.set_attribute("messaging.message.conversation_id", str(origin.correlation_id))
        span.set_attribute("eventsourcing.command.id", str(origin.command_id))
        self._traced[origin.command_id.bytes] = context
        return CommandSpan(span, origin, self._trace.use_span, lambda: self._traced.pop(origin.command_id.bytes, None))

    def _tied(self, origin: Origin, context: SpanContext) -> Origin:
        command_id, correlation = origin.command_id, origin.correlation_id
        if not origin.chosen:
            now, entropy = self._environment.clock.now(), self._environment.entropy
            bits = entropy.bits(10) << _SPAN_BITS | context.span_id
            command_id = uuid7(int(now.timestamp() * 1000), bits)
        if correlation == origin.command_id:  # nothing led to it but the caller
            correlation = UUID(int=context.trace_id)
        return Origin(command_id, correlation, origin.chosen)

    def appended(self, partition: Partition, commits: Sequence[StreamCommit], seconds: float) -> None:
        """Note a group commit, in the traces of the commands in it that this process was asked for."""
        if not self._traced:
            return
        found = [self._traced[commit.command_id] for commit in commits if commit.command_id in self._traced]
        if found:
            attributes: dict[str, str | int] = {
                "messaging.destination.partition.id": partition,
                "messaging.batch.message_count": len(commits),
            }
            self._past(f"append {partition}", found, attributes, seconds)

    def projected(self, name: str, batch: Sequence[EventAt], seconds: float) -> None:
        """Note a batch that a read model has applied, in the traces of the commands that it came from."""
        contexts: dict[tuple[int, int], SpanContext] = {}
        for _, at in batch[:_MOST_LINKS]:
            try:
                metadata = at.metadata
            except EventSchemaError:  # pragma: no cover - what was applied can be decoded
                continue
            context = self._context(metadata.correlation_id, metadata.causation_id)
            if context is not None:
                contexts[context.trace_id, context.span_id] = context
        if contexts:
            attributes: dict[str, str | int] = {
                "messaging.batch.message_count": len(batch),
                "messaging.consumer.group.name": name,
            }
            self._past(f"project {name}", [*contexts.values()], attributes, seconds)

    def _context(self, correlation: UUID, causation: UUID) -> SpanContext | None:
        unix_ms = correlation.int >> 80
        if correlation.version == 7 and unix_ms in _YEARS:  # noqa: PLR2004 - of a command that was not traced
            return None
        context = self._trace.SpanContext(
            correlation.int, span_id_of(causation), is_remote=True, trace_flags=self._trace.TraceFlags(1)
        )
        return context if context.is_valid else None

    def _past(
        self, name: str, contexts: Sequence[SpanContext], attributes: dict[str, str | int], seconds: float
    ) -> None:
        """Make a span of what is over: a child if one context led to it, else one that is linked to all."""
        trace, end = self._trace, int(self._environment.clock.now().timestamp() * 1e9)
        parent = trace.set_span_in_context(trace.NonRecordingSpan(contexts[0])) if len(contexts) == 1 else None
        links: list[Link] = [] if parent is not None else [trace.Link(context) for context in contexts[:_MOST_LINKS]]
        span = self._tracer.start_span(
            name, parent, links=links, attributes=attributes, start_time=end - int(seconds * 1e9)
        )
        span.end(end)


class CommandSpan:
    """The span of a command while it is executed, the current one from the beginning, and the ids that lead back to it.

    Attributes:
        origin: The ids to execute the command under.
    """

    def __init__(
        self,
        span: Span,
        origin: Origin,
        use: Callable[..., AbstractContextManager[Span]],
        ended: Callable[[], object],
    ) -> None:
        self.origin: Final = origin
        self._span: Final = span
        self._ended: Final = ended
        self._current: Final = ExitStack()
        self._current.enter_context(use(span, record_exception=False, set_status_on_exception=False))

    def end(self, outcome: str, version: int | None, error: BaseException | None) -> None:
        """Note what became of the command; an error is named by its class, since its message may hold what a trace must not."""
        from opentelemetry.trace import StatusCode  # noqa: PLC0415

        self._span.set_attribute("eventsourcing.outcome", outcome)
        if version is not None:
            self._span.set_attribute("eventsourcing.version", version)
        if error is not None:
            self._span.set_attribute("error.type", type(error).__name__)
            if not isinstance(error, CommandRejectedError):
                self._span.set_status(StatusCode.ERROR, type(error).__name__)
        self._current.close()
        self._span.end()
        self._ended()


def span_id_of(command_id: UUID) -> int:
    """Give the span id that a traced command's id holds: its random bits but for the ten highest."""
    low = command_id.int & ((1 << _LOW_BITS) - 1)
    return (command_id.int >> _SPAN_BITS & 3) << _LOW_BITS | low


def traceparent(correlation: UUID, causation: UUID) -> str:
    """Give the W3C `traceparent` of the span that an event was made in, for those outside who follow it."""
    return f"00-{correlation.int:032x}-{span_id_of(causation):016x}-01"


def tracing(environment: Environment) -> Tracing | None:
    """Give what takes part in traces, if OpenTelemetry's API is installed."""
    try:
        return Tracing(environment)
    except ImportError:
        return None


def _sampled(context: SpanContext) -> bool:
    return context.is_valid and context.trace_flags.sampled
