"""What process managers' handlers lead to: changed states, deadlines, and commands, with no effects yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple, cast
from uuid import UUID

from eventstore.core.ids import derived_id
from eventstore.core.processes import ProcessManager, ProcessState, Send
from eventstore.core.projections import EventAt, HandlerFailedError, key_reader
from eventstore.core.records import Partition, Recorded, to_micros
from eventstore.core.rows import Key, Row


class Outgoing(NamedTuple):
    """A command, the id that every repetition gives it, and the event, or the correlation id, that it came from."""

    send: Send
    command_id: UUID
    cause: Recorded | UUID


class Deadline(NamedTuple):
    """When a state expires, and which event's handler said so.

    Attributes:
        key: The state's key.
        due: When.
        partition: The event's partition.
        event_id: The event's id.
        correlation_id: The event's correlation id.
    """

    key: Key
    due: datetime
    partition: Partition
    event_id: UUID
    correlation_id: UUID


@dataclass(slots=True)
class Reaction:
    """What a batch of events, or of deadlines, leads to.

    Attributes:
        states: The changed states; None for those that are finished.
        deadlines: The changed deadlines; None for those that are off.
        outgoing: The commands to execute, per event or deadline.
    """

    states: dict[Key, Row | None] = field(default_factory=dict[Key, Row | None])
    deadlines: dict[Key, Deadline | None] = field(default_factory=dict[Key, Deadline | None])
    outgoing: list[list[Outgoing]] = field(default_factory=list[list[Outgoing]])


class ProcessFold:
    """Runs a manager's handlers over a batch: state changes and outgoing commands, no effects yet.

    Args:
        manager: An instance of the user's process manager.
    """

    def __init__(self, manager: ProcessManager[Any]) -> None:
        self._manager: Final = manager
        self._expired: Final[Callable[..., object]] = manager.expired
        self._handlers: Final = {
            event: tuple((s.function, key_reader(s)) for s in handlers)
            for event, handlers in manager.subscriptions.items()
        }
        self._definition: Final = manager.definition

    def keys(self, batch: Sequence[EventAt]) -> list[list[Key | None]]:
        """Give, for every event, the state keys of its handlers; empty without state.

        Raises:
            HandlerFailedError: A key function raised.
        """
        if self._definition.row is None:
            return [[None] * len(self._handlers[type(event)]) for event, _ in batch]
        keys: list[list[Key | None]] = []
        for index, (event, at) in enumerate(batch):
            try:
                keys.append([key_of(event, at) for _, key_of in self._handlers[type(event)]])
            except Exception as cause:
                raise HandlerFailedError(index, cause) from cause
        return keys

    def react(
        self, batch: Sequence[EventAt], keys: Sequence[Sequence[Key | None]], rows: Mapping[Key, Row]
    ) -> Reaction:
        """Run the handlers in order.

        Args:
            batch: Decoded events.
            keys: What `keys` gave for them.
            rows: The states there are.

        Returns:
            What it leads to.

        Raises:
            HandlerFailedError: A handler raised or returned something that is no command to send.
        """
        reaction = Reaction()
        for index, ((event, at), event_keys) in enumerate(zip(batch, keys, strict=True)):
            commands: list[Outgoing] = []
            try:
                for (function, _), key in zip(self._handlers[type(event)], event_keys, strict=True):
                    sends = self._call(function, EventAt(event, at), key, reaction, rows)
                    name = f"{self._definition.name}:{function.__name__}"
                    commands.extend(
                        Outgoing(send, derived_id(at.event_id, f"{name}:{n}"), at) for n, send in enumerate(sends)
                    )
            except Exception as cause:
                raise HandlerFailedError(index, cause) from cause
            reaction.outgoing.append(commands)
        return reaction

    def _call(
        self,
        function: Callable[..., object],
        event_at: EventAt,
        key: Key | None,
        reaction: Reaction,
        rows: Mapping[Key, Row],
    ) -> tuple[Send, ...]:
        row_type, (event, at) = self._definition.row, event_at
        if row_type is None:
            return as_sends(function(self._manager, event, at), function)
        if key is None:
            return ()
        found = reaction.states[key] if key in reaction.states else rows.get(key)
        if found is None:
            found = row_type(**dict(zip(self._definition.key, key, strict=True)))
        state = cast("ProcessState", found)
        before = state.deadline
        sends = as_sends(function(self._manager, state, event, at), function)
        reaction.states[key] = None if state.finished else state
        due = None if state.finished else state.deadline
        if due != before:
            reaction.deadlines[key] = None if due is None else self._deadline(key, due, at)
        return sends

    def _deadline(self, key: Key, due: datetime, at: Recorded) -> Deadline:
        if not self.expires:
            self._manager.expired(None, due)  # says what is missing
        if due.tzinfo is None:
            message = f"the deadline {due} has no time zone: count from at.occurred_at, which has one"
            raise ValueError(message)
        return Deadline(key, due, at.partition, at.event_id, at.metadata.correlation_id)

    @property
    def expires(self) -> bool:
        """Whether states can have deadlines."""
        undefined: Any = ProcessManager
        return type(self._manager).expired is not undefined.expired

    @property
    def keyed_by_stream(self) -> bool:
        """Whether all events that concern a state are in one partition, since they are in one stream."""
        handlers = [handler for found in self._manager.subscriptions.values() for handler in found]
        return all(handler.key is None for handler in handlers)

    def expire(self, deadlines: Sequence[Deadline], rows: Mapping[Key, Row]) -> Reaction:
        """Run `expired` for the states that still have the deadline.

        Args:
            deadlines: Those that have passed.
            rows: The states there are.

        Returns:
            What it leads to.

        Raises:
            HandlerFailedError: `expired` raised, or set no later deadline; it tells at which deadline.
        """
        reaction = Reaction()
        for index, deadline in enumerate(deadlines):
            commands: list[Outgoing] = []
            state = rows.get(deadline.key)
            if isinstance(state, ProcessState) and state.deadline == deadline.due:
                try:
                    commands = self._expire(state, deadline, reaction)
                except Exception as cause:
                    raise HandlerFailedError(index, cause) from cause
            reaction.outgoing.append(commands)
        return reaction

    def _expire(self, state: ProcessState, deadline: Deadline, reaction: Reaction) -> list[Outgoing]:
        state.deadline = None
        sends = as_sends(self._expired(state, deadline.due), self._expired)
        due = None if state.finished else state.deadline
        if due is not None and due <= deadline.due:
            message = f"expired set the deadline {due} after that of {deadline.due}: it has to be a later one"
            raise ValueError(message)
        reaction.states[deadline.key] = None if state.finished else state
        reaction.deadlines[deadline.key] = None if due is None else deadline._replace(due=due)
        name = f"{self._definition.name}:expired:{to_micros(deadline.due)}"
        return [
            Outgoing(send, derived_id(deadline.event_id, f"{name}:{n}"), deadline.correlation_id)
            for n, send in enumerate(sends)
        ]


def as_sends(returned: object, function: Callable[..., object]) -> tuple[Send, ...]:
    """Give the commands that a method returned.

    Raises:
        TypeError: It returned something else.
    """
    if returned is None:
        return ()
    if isinstance(returned, Send):
        return (returned,)
    if isinstance(returned, Iterable):
        sends = tuple(cast("Iterable[object]", returned))
        found = tuple(send for send in sends if isinstance(send, Send))
        if len(found) == len(sends):
            return found
    message = f"{function.__qualname__} returned {returned!r}: return a Send, several, or None"
    raise TypeError(message)
