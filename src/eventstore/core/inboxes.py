"""Inboxes: other systems' events in, commands out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, NamedTuple, TypeVar
from uuid import NAMESPACE_URL, UUID

from eventstore.core.annotations import hints_of, marked, marker, parameters_of
from eventstore.core.definitions import check_name
from eventstore.core.errors import ConfigurationError, UnknownEventTypeError
from eventstore.core.events import Event
from eventstore.core.ids import derived_id
from eventstore.core.messages import Arrival, Envelopes, Message, MessageFormat
from eventstore.core.policies import OnError
from eventstore.core.processes import Send
from eventstore.core.reactions import as_sends
from eventstore.core.registry import BinaryEvents, TypeRegistry

F = TypeVar("F", bound=Callable[..., object])
_MARK: Final = "__receives__"
_PARAMETERS: Final = 2
_INBOXES: Final = derived_id(NAMESPACE_URL, "eventstore:inbox")


class Receiver(NamedTuple):
    """What handles a type: the class it is read into, and the method."""

    kind: type[Any]
    function: Callable[..., object]


@dataclass(frozen=True, slots=True)
class InboxDefinition:
    """An inbox as the consumer sees it: data, no behaviour.

    Attributes:
        name: Unique; part of the consumer group's name and of the command ids.
        topics: What it reads.
        receivers: By type.
        format: How messages are read.
        strict: Whether a type without a method is an error.
        on_error: What to do with a message that cannot be read or executed.
        on_rejection: What to do when the domain rejects a command; None takes it for a normal outcome.
    """

    name: str
    topics: tuple[str, ...]
    receivers: Mapping[str, Receiver]
    format: MessageFormat = field(default_factory=Envelopes)
    strict: bool = False
    on_error: OnError = field(default_factory=OnError.halt)
    on_rejection: OnError | None = None


def receives(function: F, /) -> F:
    """Mark a method that turns an event of another system into commands.

    `(self, event, at)`; the event's annotation selects, a union selects several. It returns one `Send`, several, or
    None. It must be a function of its arguments: the same event may come again, and the same commands get the same ids.

    Returns:
        The method, marked.
    """
    marker(_MARK)(function)
    return function


class Inbox:
    """Turns events of other systems into commands, each exactly once in effect, through crashes and repeated deliveries.

    `class Payments(Inbox, name="payments", topics=["billing.public.payments"])`. The log recognises the ids of the
    commands, which are made of the events' ids, for ever; a position is given up only when its commands are
    acknowledged.

    Args (of the class statement):
        name: Unique name; part of the command ids, so never reuse one for something else, and never change it.
        topics: The topics to read.
        format: How messages are read: `Envelopes()` by default, `PlainMessages(...)`, `DebeziumRows()`, or your own.
        strict: Halt at a type that no method receives, instead of passing over it.
        on_error: What to do with a message that cannot be read, or whose method or command fails.
        on_rejection: What to do when the domain rejects a command; by default that is a normal outcome.

    Raises:
        ConfigurationError: At import, when the definition cannot work.
    """

    definition: ClassVar[InboxDefinition]

    def __init_subclass__(
        cls,
        *,
        name: str | None = None,
        topics: Iterable[str] = (),
        format: MessageFormat | None = None,  # noqa: A002
        strict: bool = False,
        on_error: OnError | None = None,
        on_rejection: OnError | None = None,
        **kwargs: Any,
    ) -> None:
        """Read and check the definition."""
        super().__init_subclass__(**kwargs)
        checked = check_name(cls, name, 1)
        named = (topics,) if isinstance(topics, str) else tuple(topics)
        if not named or not all(named):
            message = f'{cls.__qualname__} reads no topic: write class {cls.__name__}(Inbox, ..., topics=["..."])'
            raise ConfigurationError(message)
        chosen = format or Envelopes()
        cls.definition = InboxDefinition(
            checked, named, _receivers(cls, chosen), chosen, strict, on_error or OnError.halt(), on_rejection
        )


def _receivers(cls: type, format: MessageFormat) -> dict[str, Receiver]:  # noqa: A002
    found: dict[str, Receiver] = {}
    for name, function in marked(cls, _MARK):
        where, taken = f"{cls.__qualname__}.{name}", parameters_of(function)
        if len(taken) != _PARAMETERS:
            message = f"{where} must take (self, event, at), it takes ({', '.join(('self', *taken))})"
            raise ConfigurationError(message)
        for handled, kind in format.handled(hints_of(function, where).get(taken[0]), where, taken[0]).items():
            if handled in found:
                message = (
                    f"{where} and {found[handled].function.__name__} both receive {handled}: the ids of its commands "
                    "count through one method; have that return all commands"
                )
                raise ConfigurationError(message)
            found[handled] = Receiver(kind, function)
    if not found:
        message = f"{cls.__qualname__} receives nothing: mark at least one method with @receives"
        raise ConfigurationError(message)
    return found


class Incoming(NamedTuple):
    """A command that a message led to, and the id that every delivery gives it."""

    send: Send
    command_id: UUID
    correlation_id: UUID


class InboxFold:
    """Reads messages and runs an inbox's methods: no effects.

    Args:
        inbox: An instance of the user's inbox.
        binary: Decodes values that are not JSON, if there may be any.
    """

    def __init__(self, inbox: Inbox, binary: BinaryEvents | None = None) -> None:
        self._inbox: Final = inbox
        self._definition: Final = inbox.definition
        self._source: Final = derived_id(_INBOXES, inbox.definition.name)
        kinds = [receiver.kind for receiver in inbox.definition.receivers.values()]
        self._registry: Final = TypeRegistry((kind for kind in kinds if issubclass(kind, Event)), binary)

    def commands(self, message: Message) -> list[Incoming]:
        """Give what a message leads to; nothing if it is of a type that is not received.

        Raises:
            EventSchemaError: It cannot be read, or its type is unknown to a strict inbox.
            Exception: Whatever the method raised.
        """
        if message.value is None:
            return []
        name = self._definition.format.type_of(message, self._registry)
        receiver = self._definition.receivers.get(name)
        if receiver is None:
            if self._definition.strict:
                text = f"{message.place}: no method of the inbox {self._definition.name} receives {name!r}: add one"
                raise UnknownEventTypeError(text)
            return []
        arrival: Arrival = self._definition.format.read(message, receiver.kind, self._registry)
        sends = as_sends(receiver.function(self._inbox, arrival.event, arrival.at), receiver.function)
        return [
            Incoming(send, derived_id(self._source, f"{arrival.at.event_id}:{index}"), arrival.at.correlation_id)
            for index, send in enumerate(sends)
        ]
