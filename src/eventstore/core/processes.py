"""Process managers: events in, commands out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Generic, TypeVar, overload

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
from eventstore.core.policies import OnError
from eventstore.core.projections import row_class
from eventstore.core.rows import Row

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

    Set `finished` and the row is removed once the handler's commands are executed. Set `deadline`, and
    `ProcessManager.expired` is called if the state is still there then, and no handler has moved it.
    """

    finished: bool = False
    deadline: datetime | None = None


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

    def expired(self, state: S, due: datetime) -> Send | Iterable[Send] | None:  # noqa: ARG002 - for overriding
        """Do what is to be done when a state's deadline has passed; override it where states have deadlines.

        It is called once in effect, also after restarts, and only when every event from before the deadline has been
        reacted to. It may set a later deadline, or finish the state. If it raises, the partition is halted.

        Args:
            state: The state, which it may change; it has no deadline any more.
            due: What the deadline was.

        Returns:
            One `Send`, several, or None.
        """
        message = f"{type(self).__qualname__} sets a deadline, but has no method expired(self, state, due)"
        raise TypeError(message)

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
        if (
            row is not None
            and row.model_fields["deadline"].annotation != ProcessState.model_fields["deadline"].annotation
        ):
            message = f"{row.__qualname__}: deadline is the time of `expired`; name the field of your own otherwise"
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
