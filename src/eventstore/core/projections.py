"""Projections that fold events into keyed rows: pure functions, run in batches by the query side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, ClassVar, Final, Generic, NamedTuple, TypeAlias, TypeVar, get_args, overload

from eventstore.core.definitions import (
    Handler,
    KeyFunction,
    Subscription,
    SubscriptionDefinition,
    as_key,
    check_name,
    handlers_of,
    key_fields,
    read_subscriptions,
    row_shape,
    subscribe,
)
from eventstore.core.errors import ConfigurationError, EventStoreError
from eventstore.core.events import Event
from eventstore.core.fingerprints import fingerprint
from eventstore.core.policies import OnError
from eventstore.core.records import Recorded
from eventstore.core.rows import Key, Row

F = TypeVar("F", bound=Callable[..., object])
R = TypeVar("R", bound=Row)


@overload
def projects(function: F, /) -> F: ...
@overload
def projects(*, key: str | KeyFunction) -> Callable[[F], F]: ...
def projects(function: F | None = None, /, *, key: str | KeyFunction | None = None) -> F | Callable[[F], F]:
    """Mark a method that folds an event into a row.

    `(self, row, event, at) -> row`: it gets the row as it stands or None, the event, and where the event stands,
    and returns the new row, or None to delete it. The event's annotation selects; a union selects several. In an
    `SqlProjection` it is `async (self, db, event, at) -> None`.

    Args:
        function: The method, when the decorator is used bare: the row's key is then the stream's id.
        key: Where the row's key comes from otherwise: the name of an event field, or a function of (event, at).
            None as the value means that the event concerns no row. Several methods may take the same event,
            each with its own key.

    Returns:
        The method, marked.
    """
    mark = subscribe(key)
    if function is None:
        return mark  # type: ignore[return-value]
    return mark(function)  # type: ignore[return-value]


class Projection(Generic[R]):
    """A read model of keyed rows: `class TaskBoard(Projection[TaskRow], name="task_board", version=1, key="task_id")`.

    Raise `version` whenever the same events shall give other rows; the new version is then built beside the old.

    Args (of the class statement):
        name: Name of the table that readers query.
        version: Version of the fold.
        key: The row field that identifies a row, or a tuple of several.
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
        row = row_class(cls, Projection)
        if row is None:
            message = f"{cls.__qualname__}: write class {cls.__name__}(Projection[YourRow], ...)"
            raise ConfigurationError(message)
        fields = key_fields(cls, row, key)
        cls.subscriptions = read_subscriptions(cls, ("row", "event", "at"))
        cls.definition = SubscriptionDefinition(
            name=checked,
            version=version,
            fingerprint=fingerprint(row_shape(row, fields), *handlers_of(cls.subscriptions)),
            events=frozenset(event.event_type for event in cls.subscriptions),
            categories=tuple(categories),
            on_error=on_error or OnError.halt(),
            row=row,
            key=fields,
        )

    @classmethod
    def is_keyed_by_stream(cls) -> bool:
        """Tell whether every row has the id of its streams as key, so that nothing else leads to it."""
        return all(handler.key is None for handlers in cls.subscriptions.values() for handler in handlers)


def row_class(cls: type, generic: type) -> type[Row] | None:
    """Find the row class in `Generic[...]` among the bases."""
    for base in getattr(cls, "__orig_bases__", ()):
        if getattr(base, "__origin__", None) is generic:
            (argument,) = get_args(base)
            if isinstance(argument, type) and issubclass(argument, Row):
                return argument
    return None


class EventAt(NamedTuple):
    """A decoded event and where it stands."""

    event: Event
    at: Recorded


class HandlerFailedError(EventStoreError):
    """A handler raised at one event of a batch; the cause is chained. Internal: policies turn it into an outcome.

    Args:
        index: Which event of the batch.
        cause: What was raised.
    """

    def __init__(self, index: int, cause: BaseException) -> None:
        super().__init__(f"event {index} of the batch: {cause!r}")
        self.index = index
        self.cause = cause


Step: TypeAlias = tuple[int, Handler, Key, Event, Recorded]
"""One call of a handler: the event's index in the batch, the handler, the row's key, the event and its place."""


class RowFold:
    """Folds batches of events into rows: first tells which keys a batch touches, then computes the changes.

    Args:
        projection: An instance of the user's projection.
    """

    def __init__(self, projection: Projection[Any]) -> None:
        self._projection: Final = projection
        self._handlers: Final = {
            event: tuple((s.function, key_reader(s)) for s in handlers)
            for event, handlers in projection.subscriptions.items()
        }
        definition = projection.definition
        self._row: Final = definition.row
        self._key_of_row: Final = _row_key(definition.key)

    def plan(self, batch: Sequence[EventAt]) -> list[Step]:
        """Find out which handlers run, in order, and on which rows; an event without a key concerns no row.

        Raises:
            HandlerFailedError: A key function raised.
        """
        steps: list[Step] = []
        handlers, index = self._handlers, 0
        try:
            for index, (event, at) in enumerate(batch):
                for function, key_of in handlers[type(event)]:
                    key = key_of(event, at)
                    if key is not None:
                        steps.append((index, function, key, event, at))
        except Exception as cause:
            raise HandlerFailedError(index, cause) from cause
        return steps

    def fold(self, steps: Sequence[Step], rows: Mapping[Key, Row]) -> dict[Key, Row | None]:
        """Run the handlers in order.

        Args:
            steps: What `plan` gave.
            rows: The rows there are, for all keys of the steps.

        Returns:
            The rows afterwards, by key; None where there is none.

        Raises:
            HandlerFailedError: A handler raised or returned something that is no row of that key.
        """
        current: dict[Key, Row | None] = {key: rows.get(key) for _, _, key, _, _ in steps}
        projection, row_type, key_of_row, index = self._projection, self._row, self._key_of_row, 0
        try:
            for index, function, key, event, at in steps:  # noqa: B007 - the handler below needs it
                row: Any = function(projection, current[key], event, at)
                if row is not None and (type(row) is not row_type or key_of_row(row) != key):
                    raise _wrong_row(function, row, key)  # noqa: TRY301 - the handler's own mistake
                current[key] = row
        except Exception as cause:
            raise HandlerFailedError(index, cause) from cause
        return current


def _wrong_row(function: Callable[..., object], row: object, key: Key) -> TypeError:
    return TypeError(f"{function.__qualname__} returned {row!r} for the row with key {key!r}: return that row or None")


def _row_key(fields: tuple[str, ...]) -> Callable[[Any], Key]:
    getter = attrgetter(*fields)
    if len(fields) == 1:
        return lambda row: (getter(row),)
    return getter


def key_reader(subscription: Subscription) -> Callable[[Event, Recorded], Key | None]:
    """Compile how a handler's row key comes out of an event and its place."""
    key = subscription.key
    if key is None:
        return lambda _, at: (at.stored.stream.partition("-")[2],)
    if isinstance(key, str):
        getter = attrgetter(key)
        return lambda event, _: as_key(getter(event))
    return lambda event, at: as_key(key(event, at))
