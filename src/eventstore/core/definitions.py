"""What every subscriber to the log has in common: a name, a version, the events it takes, a row type."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias, cast

from eventstore.core.annotations import handled_classes, hints_of, marked, parameters_of
from eventstore.core.errors import ConfigurationError
from eventstore.core.events import Event
from eventstore.core.policies import OnError
from eventstore.core.rows import Key, Row

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_MARK: Final = "__subscribes__"

Handler: TypeAlias = Callable[..., object]
KeyFunction: TypeAlias = Callable[..., Hashable]


@dataclass(frozen=True, slots=True)
class SubscriptionDefinition:
    """A subscriber as adapters see it: data, no behaviour.

    Attributes:
        name: Unique among projections and process managers; names the tables.
        version: Raised whenever the same events shall give other rows.
        fingerprint: Summary of its code and shape.
        events: Stored names of the events it handles.
        categories: Categories it reads; filled in from the aggregates when empty.
        on_error: What to do when a handler raises.
        row: The class of its rows, if it has rows.
        key: The row's key fields.
        tables: Table definitions of an SQL projection, opaque outside the adapter.
    """

    name: str
    version: int
    fingerprint: str
    events: frozenset[str]
    categories: tuple[str, ...] = ()
    on_error: OnError = field(default_factory=OnError.halt)
    row: type[Row] | None = None
    key: tuple[str, ...] = ()
    tables: tuple[object, ...] = ()

    @property
    def label(self) -> str:
        """Name and version, for messages."""
        return f"{self.name} v{self.version}"


@dataclass(frozen=True, slots=True)
class Subscription:
    """One handler for one event class: which function, and how the row's key comes out of the event.

    Attributes:
        event: The event class.
        function: The undecorated method.
        key: An attribute of the event or a function of (event, at); None for the stream's id.
    """

    event: type[Event]
    function: Handler
    key: str | KeyFunction | None


def subscribe(key: str | KeyFunction | None) -> Callable[[Handler], Handler]:
    """Mark a handler method; the class that holds it reads the mark."""

    def mark(function: Handler) -> Handler:
        setattr(function, _MARK, (key,))
        return function

    return mark


def read_subscriptions(cls: type, parameters: tuple[str, ...]) -> dict[type[Event], tuple[Subscription, ...]]:
    """Read a class's handlers.

    Args:
        cls: The projection or process manager.
        parameters: What handlers take after `self`; the one named `event` selects.

    Returns:
        Per event class its handlers, in order of definition.

    Raises:
        ConfigurationError: A handler's signature does not fit, or its key is no attribute of the event.
    """
    found: dict[type[Event], list[Subscription]] = {}
    for name, function in marked(cls, _MARK):
        where = f"{cls.__qualname__}.{name}"
        taken = parameters_of(function)
        if len(taken) != len(parameters):
            message = (
                f"{where} must take ({', '.join(('self', *parameters))}), it takes ({', '.join(('self', *taken))})"
            )
            raise ConfigurationError(message)
        parameter = taken[parameters.index("event")]
        (key,) = getattr(function, _MARK)
        for event in handled_classes(hints_of(function, where).get(parameter), Event, where, parameter):
            if isinstance(key, str) and key not in event.model_fields:
                message = f"{where}: {event.__name__} has no field {key!r} to take the row's key from"
                raise ConfigurationError(message)
            found.setdefault(event, []).append(Subscription(event, function, key))
    if not found:
        message = f"{cls.__qualname__} handles no event: mark at least one method"
        raise ConfigurationError(message)
    return {event: tuple(handlers) for event, handlers in found.items()}


def check_name(cls: type, name: str | None, version: int | None = None) -> str:
    """Accept the pinned name of a subscriber class, and its version if it has one.

    Raises:
        ConfigurationError: The name is missing or malformed, or the version is below 1.
    """
    if name is None or not _NAME.fullmatch(name):
        message = (
            f"{cls.__qualname__} needs a name of 1 to 40 lower case letters, digits and underscores: "
            f'write class {cls.__name__}(..., name="..."{"" if version is None else ", version=1"})'
            + (f" instead of name={name!r}" if name else "")
        )
        raise ConfigurationError(message)
    if version is not None and version < 1:
        message = f"{cls.__qualname__}: version={version} is no version; they start at 1"
        raise ConfigurationError(message)
    return name


def key_fields(cls: type, row: type[Row], key: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """Accept the key of a row class.

    Raises:
        ConfigurationError: It is missing or names no field.
    """
    fields = (key,) if isinstance(key, str) else key or ()
    unknown = [name for name in fields if name not in row.model_fields]
    if not fields or unknown:
        message = (
            f"{cls.__qualname__}: key={key!r} must name the field of {row.__name__} that identifies a row, "
            "or a tuple of several"
        )
        raise ConfigurationError(message)
    return fields


def row_shape(row: type[Row], key: tuple[str, ...]) -> str:
    """Describe a row class so that another shape gives another text."""
    return repr((key, [(name, str(info.annotation)) for name, info in row.model_fields.items()]))


def as_key(value: object) -> Key | None:
    """Make a key of what a handler's key function gave; None means "no row concerned"."""
    if value is None:
        return None
    return cast("Key", value) if isinstance(value, tuple) else cast("Key", (value,))


def handlers_of(subscriptions: Mapping[type[Event], Iterable[Subscription]]) -> list[Handler]:
    """List the handler functions, and functions that compute keys, once each and in a stable order."""
    functions: dict[str, Handler] = {}
    for handlers in subscriptions.values():
        for handler in handlers:
            functions[handler.function.__qualname__] = handler.function
            if callable(handler.key):
                functions[handler.key.__qualname__] = handler.key
    return [functions[name] for name in sorted(functions)]
