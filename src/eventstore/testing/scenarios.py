"""Given, when, then: tests of aggregates, projections and process managers as pure functions, without any store."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

from eventstore.core.aggregates import Aggregate
from eventstore.core.commands import Command
from eventstore.core.envelope import Metadata, write_envelope
from eventstore.core.errors import CommandRejectedError
from eventstore.core.events import Event
from eventstore.core.ids import event_id, uuid7
from eventstore.core.processes import ProcessManager, Send
from eventstore.core.projections import EventAt, Projection, RowFold
from eventstore.core.reactions import ProcessFold
from eventstore.core.records import Recorded, StoredEvent, to_micros
from eventstore.core.rows import Key, Row

A = TypeVar("A", bound=Aggregate)
_START: Final = datetime(2026, 1, 1, tzinfo=UTC)


def given(aggregate: type[A], *events: Event) -> AggregateScenario[A]:
    """Begin a scenario: these events happened, then a command arrives.

    `given(Task, TaskCreated(title="a")).when(CompleteTask()).then(TaskCompleted())`

    Args:
        aggregate: The aggregate's class.
        events: Its history.
    """
    return AggregateScenario(aggregate, events)


class AggregateScenario(Generic[A]):
    """An aggregate with a history, and what a command led to."""

    def __init__(self, aggregate: type[A], events: Iterable[Event]) -> None:
        self.state: Final[A] = aggregate.initial("given")
        for event in events:
            self.state.evolve(event)
        self._events: tuple[Event, ...] | None = None
        self._refusal: CommandRejectedError | None = None

    def when(self, command: Command) -> AggregateScenario[A]:
        """Decide a command on the history."""
        before = self.state.copy_state()
        try:
            self._events = self.state.decide(command)
        except CommandRejectedError as refusal:
            self._refusal = refusal
        assert self.state == before, f"{type(command).__name__} changed the state: @decides must only read it"
        return self

    def then(self, *expected: Event) -> A:
        """Check that exactly these events were emitted; none for "nothing to do".

        Returns:
            The state after them.
        """
        assert self._refusal is None, f"the command was rejected: {self._refusal}"
        assert self._events is not None, "say what happens first: .when(Command(...))"
        assert self._events == expected, _difference(self._events, expected)
        after = self.state.copy_state()
        for event in self._events:
            after.evolve(event)
        return after

    def then_rejected(self, reason: str | None = None, *, code: str | None = None) -> None:
        """Check that the command was rejected.

        Args:
            reason: The exact reason; None for any.
            code: The exact code; None for any.
        """
        assert self._refusal is not None, f"the command was accepted and emitted {self._events}"
        assert reason in (None, self._refusal.reason), f"rejected because {self._refusal.reason!r}, not {reason!r}"
        assert code in (None, self._refusal.code), f"rejected with code {self._refusal.code!r}, not {code!r}"


def rows_of(projection: type[Projection[Any]], *events: tuple[str, Event]) -> dict[Key, Row]:
    """Fold events into rows.

    Args:
        projection: The projection's class.
        events: Stream names, such as `"task-1"`, with what happened in them, in order.

    Returns:
        The rows by key.

    Raises:
        HandlerFailedError: A handler raised.
    """
    fold = RowFold(projection())
    steps = fold.plan([found for found in recorded(*events) if type(found.event) in projection.subscriptions])
    return {key: row for key, row in fold.fold(steps, {}).items() if row is not None}


def sent_by(
    manager: type[ProcessManager[Any]], *events: tuple[str, Event], until: datetime | None = None
) -> list[Send]:
    """Give the commands that a process manager sends, in order.

    Args:
        manager: The process manager's class.
        events: Stream names, such as `"task-1"`, with what happened in them, in order, a second between any two from
            the beginning of 2026 on.
        until: Also react to the deadlines that are left after the events and have passed at this time.

    Raises:
        HandlerFailedError: A handler raised.
    """
    fold = ProcessFold(manager())
    batch = [found for found in recorded(*events) if type(found.event) in manager.subscriptions]
    reaction = fold.react(batch, fold.keys(batch), {})
    outgoing, states, deadlines = [*reaction.outgoing], {**reaction.states}, {**reaction.deadlines}
    while passed := [one for one in deadlines.values() if one and until and one.due <= until]:
        first = min(passed, key=lambda one: one.due)
        reaction = fold.expire([first], {key: state for key, state in states.items() if state is not None})
        states.update(reaction.states)
        deadlines.update(reaction.deadlines)
        outgoing += reaction.outgoing
    return [command.send for commands in outgoing for command in commands]


def recorded(*events: tuple[str, Event]) -> list[EventAt]:
    """Make events look as if they had been read from a log: versions, ids, and a second between any two."""
    versions: dict[str, int] = {}
    found: list[EventAt] = []
    for offset, (stream, event) in enumerate(events, 1):
        versions[stream] = versions.get(stream, 0) + 1
        command = uuid7(int(_START.timestamp()) * 1000 + offset, offset)
        found.append(EventAt(event, Recorded(_stored(stream, versions[stream], event, command, offset), "0")))
    return found


def _stored(stream: str, version: int, event: Event, command: UUID, offset: int) -> StoredEvent:
    moment = datetime.fromtimestamp(_START.timestamp() + offset, UTC)
    identity = event_id(command, 1)
    envelope = write_envelope(event, identity, moment, Metadata(command, command))
    kind = type(event)
    return StoredEvent(
        offset, stream, version, kind.event_type, kind.schema_version, identity.bytes, command.bytes, 1, 1,
        to_micros(moment), envelope,
    )  # fmt: skip


def _difference(found: tuple[Event, ...], expected: tuple[Event, ...]) -> str:
    lines = ["the command emitted other events:"]
    for index in range(max(len(found), len(expected))):
        one = repr(found[index]) if index < len(found) else "nothing"
        other = repr(expected[index]) if index < len(expected) else "nothing"
        lines.append(f"  {index + 1}. {one}" + ("" if one == other else f"\n     expected {other}"))
    return "\n".join(lines)
