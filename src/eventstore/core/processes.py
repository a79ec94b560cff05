"""Process managers: events in, commands out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Generic, NamedTuple, TypeVar, cast, overload
from uuid import UUID

from eventstore.core.aggregates import Aggregate
from eventstore.core.commands import Command
from eventstore.core.definitions import (
    KeyFunction,
    Subscription,
    SubscriptionDefinition,
    check_name,
    key_fields,
    read_subscriptions,
    row_shape,
    subscribe,
)
from eventstore.core.errors import ConfigurationError
from eventstore.core.events import Event
from eventstore.core.fingerprints import fingerprint
from eventstore.core.ids import derived_id
from eventstore.core.policies import OnError
from eventstore.core.projections import EventAt, HandlerFailedError, key_reader, row_class
from eventstore.core.records import Recorded
from eventstore.core.rows import Key, Row

F = TypeVar("F", bound=Callable[..., object])
S = TypeVar("S", bound="ProcessState | None")


@dataclass(frozen=True, slots=True)
class Send:
    """A command that a process manager wants executed.

    Attributes:
        aggregate: The aggregate's class.
        id: Its id.
        command: The command.
    """

    aggregate: type[Aggregate]
    id: str
    command: Command


class ProcessState(Row):
    """What a process manager remembers: one row per key; every other field needs a default.

    Set `finished` and the row is removed once the handler's commands are executed.
    """

    finished: bool = False


@overload
def reacts(function: F, /) -> F: ...
@overload
def reacts(*, key: str | KeyFunction) -> Callable[[F], F]: ...
def reacts(function: F | None = None, /, *, key: str | KeyFunction | None = None) -> F | Callable[[F], F]:
    """Mark a method that reacts to an event with commands.

    `(self, event, at)` without state, `(self, state, event, at)` with state, which it may change in place. It
    returns one `Send`, several, or None. It must be a function of its arguments: after a crash it runs again, and
    the same commands get the same ids.

    Args:
        function: The method, when the decorator is used bare: the state's key is then the stream's id.
        key: Where the state's key comes from otherwise: the name of an event field, or a function of (event, at).

    Returns:
        The method, marked.
    """
    mark = subscribe(key)
    if function is None:
        return mark  # type: ignore[return-value]
    return mark(function)  # type: ignore[return-value]


class ProcessManager(Generic[S]):
    """Turns events into commands exactly once in effect, through crashes and restarts.

    `class Escalation(ProcessManager[None], name="escalation")`, or with state
    `class Escalation(ProcessManager[Reminders], name="escalation", key="task_id")`.

    Args (of the class statement):
        name: Unique name; part of the command ids, so never reuse one for something else.
        version: Version of the state's shape.
        key: The state field that identifies a state.
        on_error: What to do when a handler raises.
        categories: Categories to read; by default those of the aggregates that emit the handled events.

    Raises:
        ConfigurationError: At import, when the definition cannot work.
    """

    definition: ClassVar[SubscriptionDefinition]
    subscriptions: ClassVar[Mapping[type[Event], tuple[Subscription, ...]]]

    def __init_subclass__(
        cls,
        *,
        name: str | None = None,
        version: int = 1,
        key: str | tuple[str, ...] | None = None,
        on_error: OnError | None = None,
        categories: Iterable[str] = (),
        **kwargs: Any,
    ) -> None:
        """Read and check the definition."""
        super().__init_subclass__(**kwargs)
        checked = check_name(cls, name, version)
        row = row_class(cls, ProcessManager)
        if row is not None and not issubclass(row, ProcessState):
            message = f"{cls.__qualname__}: {row.__name__} must be a ProcessState"
            raise ConfigurationError(message)
        fields = key_fields(cls, row, key) if row else ()
        cls.subscriptions = read_subscriptions(cls, ("state", "event", "at") if row else ("event", "at"))
        # A manager's past commands stand, so changed code is no reason to refuse it: only its state's shape counts.
        shape = row_shape(row, fields) if row else ""
        cls.definition = SubscriptionDefinition(
            name=checked,
            version=version,
            fingerprint=fingerprint(shape),
            events=frozenset(event.event_type for event in cls.subscriptions),
            categories=tuple(categories),
            on_error=on_error or OnError.halt(),
            row=row,
            key=fields,
        )


class Outgoing(NamedTuple):
    """A command with the id that every repetition of its event gives it, and the event that caused it."""

    send: Send
    command_id: UUID
    cause: Recorded


class ProcessFold:
    """Runs a manager's handlers over a batch: state changes and outgoing commands, no effects yet.

    Args:
        manager: An instance of the user's process manager.
    """

    def __init__(self, manager: ProcessManager[Any]) -> None:
        self._manager: Final = manager
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
    ) -> tuple[dict[Key, Row | None], list[list[Outgoing]]]:
        """Run the handlers in order.

        Args:
            batch: Decoded events.
            keys: What `keys` gave for them.
            rows: The states there are.

        Returns:
            The changed states, and per event the commands to execute.

        Raises:
            HandlerFailedError: A handler raised or returned something that is no command to send.
        """
        states: dict[Key, Row | None] = {}
        outgoing: list[list[Outgoing]] = []
        for index, ((event, at), event_keys) in enumerate(zip(batch, keys, strict=True)):
            commands: list[Outgoing] = []
            try:
                for (function, _), key in zip(self._handlers[type(event)], event_keys, strict=True):
                    sends = self._call(function, event, at, key, states, rows)
                    name = f"{self._definition.name}:{function.__name__}"
                    commands.extend(
                        Outgoing(send, derived_id(at.event_id, f"{name}:{n}"), at) for n, send in enumerate(sends)
                    )
            except Exception as cause:
                raise HandlerFailedError(index, cause) from cause
            outgoing.append(commands)
        return states, outgoing

    def _call(
        self,
        function: Callable[..., object],
        event: Event,
        at: Recorded,
        key: Key | None,
        states: dict[Key, Row | None],
        rows: Mapping[Key, Row],
    ) -> tuple[Send, ...]:
        row_type = self._definition.row
        if row_type is None:
            return _as_sends(function(self._manager, event, at), function)
        if key is None:
            return ()
        state = states[key] if key in states else rows.get(key)
        if state is None:
            state = row_type(**dict(zip(self._definition.key, key, strict=True)))
        sends = _as_sends(function(self._manager, state, event, at), function)
        states[key] = None if getattr(state, "finished", False) else state
        return sends


def _as_sends(returned: object, function: Callable[..., object]) -> tuple[Send, ...]:
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
