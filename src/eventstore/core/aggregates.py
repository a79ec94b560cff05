"""Aggregates: pure decisions over state that is folded from events."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeAlias, TypeVar, cast, get_args, get_origin
from uuid import UUID

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError

from eventstore.core.annotations import classes_in, handled_classes, hints_of, marked, parameters_of, union_members
from eventstore.core.commands import Command
from eventstore.core.errors import ConfigurationError, UnencodableEventError
from eventstore.core.events import Event
from eventstore.core.fingerprints import fingerprint
from eventstore.core.records import Snapshot
from eventstore.core.streams import StreamId, check_category

_DECIDES: Final = "__decides__"
_EVOLVES: Final = "__evolves__"
_RESERVED: Final = ("id", "version", "exists", "stream", "occurred_at")
_IMMUTABLE: Final = (str, int, float, bool, bytes, type(None), datetime, date, time, timedelta, Decimal, UUID, Enum)

F = TypeVar("F", bound=Callable[..., object])
Copier: TypeAlias = Callable[[Any], Any]  # any: the value of a state field, whatever its type


def decides(function: F) -> F:
    """Mark a method that turns a command into events; it is pure: it reads the state and changes nothing.

    The parameter's annotation selects the command, the return annotation lists the events. Return one event, a
    list or tuple of them, or `None` for "nothing to do"; raise `CommandRejectedError` to refuse.
    """
    setattr(function, _DECIDES, True)
    return function


def evolves(function: F) -> F:
    """Mark a method that applies an event to the state; it never fails and never decides.

    The parameter's annotation selects the event; a union selects several.
    """
    setattr(function, _EVOLVES, True)
    return function


class Aggregate(BaseModel):
    """A consistency boundary: its fields are the state, folded from its own events and nothing else.

    `class Task(Aggregate, category="task", snapshot_every=None)`. Every field needs a default: together they
    are the state of a stream without events. `self.id`, `self.version` and `self.exists` are given.

    Raises:
        ConfigurationError: At import, when the definition cannot work; the message says what to change.
    """

    model_config = ConfigDict(extra="forbid")

    category: ClassVar[str] = ""
    snapshot_every: ClassVar[int | None] = None
    deciders: ClassVar[Mapping[type[Command], Callable[..., object]]] = {}
    evolvers: ClassVar[Mapping[type[Event], Callable[..., object]]] = {}
    fingerprint: ClassVar[str] = ""
    _copiers: ClassVar[tuple[tuple[str, Copier], ...]] = ()

    # Plain slots, not pydantic's private attributes: those cost more to read than an event to apply.
    __slots__ = ("_id", "_occurred_at", "_version")
    if TYPE_CHECKING:
        _id: str = PrivateAttr()
        _version: int = PrivateAttr()
        _occurred_at: int = PrivateAttr()

    @property
    def id(self) -> str:
        """The aggregate's id."""
        return self._id

    @property
    def version(self) -> int:
        """How many events the state is folded from."""
        return self._version

    @property
    def exists(self) -> bool:
        """Whether the stream has any event."""
        return self._version > 0

    @property
    def occurred_at(self) -> int:
        """When the newest event occurred, in microseconds since 1970; 0 before the first."""
        return self._occurred_at

    @property
    def stream(self) -> StreamId:
        """The stream the state is folded from."""
        return StreamId(self.category, self._id)

    if not TYPE_CHECKING:

        def __setattr__(self, name: str, value: object) -> None:
            """Set a field: all of them have a value already, so this is half of what a replay costs made cheap."""
            values = self.__dict__
            if name in values:
                values[name] = value
            else:
                super().__setattr__(name, value)

    def __init_subclass__(
        cls, *, category: str | None = None, snapshot_every: int | None = None, **kwargs: Any
    ) -> None:
        """Accept the class arguments, which are read once the fields are known, and refuse reserved names."""
        super().__init_subclass__(**kwargs)
        for name in vars(cls).get("__annotations__", {}):
            if name in _RESERVED:
                message = f"{cls.__qualname__}.{name}: every aggregate has {name} already; rename the field"
                raise ConfigurationError(message)

    @classmethod
    def __pydantic_init_subclass__(
        cls, category: str | None = None, snapshot_every: int | None = None, **kwargs: Any
    ) -> None:
        """Read and check the definition."""
        super().__pydantic_init_subclass__(**kwargs)
        if category is None:
            message = f'{cls.__qualname__} needs a category: write class {cls.__name__}(Aggregate, category="...")'
            raise ConfigurationError(message)
        check_category(category)
        if snapshot_every is not None and snapshot_every < 1:
            message = (
                f"{cls.__qualname__}: snapshot_every={snapshot_every} must be at least 1, or None for no snapshots"
            )
            raise ConfigurationError(message)
        cls.category = category
        cls.snapshot_every = snapshot_every
        cls.evolvers = _read_evolvers(cls)
        cls.deciders = _read_deciders(cls)
        _check_fields(cls)
        cls._copiers = tuple(_copiers(cls))
        cls.fingerprint = fingerprint(
            repr(sorted((name, str(field.annotation)) for name, field in cls.model_fields.items())),
            *(function for _, function in marked(cls, _EVOLVES)),
        )

    @classmethod
    def initial(cls, aggregate_id: str) -> Self:
        """Give the state of a stream without events."""
        return place(cls(), aggregate_id, 0, 0)

    def copy_state(self) -> Self:
        """Give an independent copy: evolving one never changes the other."""
        twin = self.__copy__()
        values: dict[str, object] = twin.__dict__  # pyright: ignore[reportAssignmentType]
        for name, copier in self._copiers:
            values[name] = copier(values[name])
        return place(twin, self._id, self._version, self._occurred_at)

    def evolve(self, event: Event, occurred_at: int = 0) -> None:
        """Apply one event to this state and count it.

        Args:
            event: An event of this aggregate.
            occurred_at: When it occurred, in microseconds since 1970.

        Raises:
            UnencodableEventError: No `@evolves` method takes this event.
        """
        try:
            evolver = self.evolvers[type(event)]
        except KeyError:
            raise UnencodableEventError(missing_evolver(type(self), type(event))) from None
        evolver(self, event)
        _set_version(self, self._version + 1)
        _set_occurred_at(self, occurred_at)

    def pass_over(self, occurred_at: int) -> None:
        """Count one event that was erased; it changes nothing else.

        Args:
            occurred_at: When it occurred, in microseconds since 1970.
        """
        _set_version(self, self._version + 1)
        _set_occurred_at(self, occurred_at)

    def decide(self, command: Command) -> tuple[Event, ...]:
        """Ask the domain what a command leads to; the state stays as it is.

        Args:
            command: A command this aggregate handles.

        Returns:
            The events, none to several.

        Raises:
            CommandRejectedError: The domain refused.
            ConfigurationError: No `@decides` method takes this command, or it returned no events.
        """
        decider = self.deciders.get(type(command))
        if decider is None:
            raise ConfigurationError(missing_decider(type(self), type(command)))
        return _as_events(decider(self, command), decider)


AggregateT = TypeVar("AggregateT", bound="Aggregate")

_set_id: Final = Aggregate.__dict__["_id"].__set__
_set_version: Final = Aggregate.__dict__["_version"].__set__
_set_occurred_at: Final = Aggregate.__dict__["_occurred_at"].__set__


def place(state: AggregateT, aggregate_id: str, version: int, occurred_at: int) -> AggregateT:
    """Say of which aggregate a state is, and after which event; gives the state back."""
    _set_id(state, aggregate_id)
    _set_version(state, version)
    _set_occurred_at(state, occurred_at)
    return state


def write_snapshot(state: Aggregate) -> bytes:
    """Serialise a state's fields; `read_snapshot` gives an equal state back."""
    return state.__pydantic_serializer__.to_json(state)


def read_snapshot(cls: type[AggregateT], aggregate_id: str, snapshot: Snapshot) -> AggregateT | None:
    """Give the state a snapshot holds, or None when it does not fit the class: snapshots are disposable."""
    try:
        state = cls.model_validate_json(snapshot.state)
    except ValidationError:
        return None
    return place(state, aggregate_id, snapshot.version, snapshot.occurred_at)


def missing_decider(aggregate: type[Aggregate], command: type[Command]) -> str:
    """Word the mistake of sending a command to the wrong aggregate."""
    known = ", ".join(sorted(kind.__name__ for kind in aggregate.deciders)) or "none"
    return (
        f"{aggregate.__name__} has no @decides method for {command.__name__} "
        f"(it handles: {known}); add one, or send the command to another aggregate"
    )


def missing_evolver(aggregate: type[Aggregate], event: type[Event]) -> str:
    """Word the most common mistake: an event that nothing applies."""
    return (
        f"{aggregate.__qualname__} emits {event.__qualname__} but no @evolves method takes it: "
        f"add one, even if it does nothing (def {event.event_type.rpartition('.')[2]}(self, event: {event.__name__}))"
    )


def _read_evolvers(cls: type[Aggregate]) -> dict[type[Event], Callable[..., object]]:
    found: dict[type[Event], Callable[..., object]] = {}
    names: dict[str, type[Event]] = {}
    for name, function in marked(cls, _EVOLVES):
        for event in _handled(cls, name, function, Event):
            if event in found:
                message = (
                    f"{cls.__qualname__}: {found[event].__name__} and {name} both evolve {event.__name__}; keep one"
                )
                raise ConfigurationError(message)
            other = names.setdefault(event.event_type, event)
            if other is not event:
                message = (
                    f"{cls.__qualname__}: {other.__qualname__} and {event.__qualname__} share one name; rename one"
                )
                raise ConfigurationError(message)
            found[event] = function
    return found


def _read_deciders(cls: type[Aggregate]) -> dict[type[Command], Callable[..., object]]:
    found: dict[type[Command], Callable[..., object]] = {}
    names: dict[str, type[Command]] = {}
    for name, function in marked(cls, _DECIDES):
        for command in _handled(cls, name, function, Command):
            if command in found:
                message = (
                    f"{cls.__qualname__}: {found[command].__name__} and {name} both decide {command.__name__}; "
                    "a command has one handler, remove one"
                )
                raise ConfigurationError(message)
            namesake = names.setdefault(command.__name__, command)
            if namesake is not command:
                message = (
                    f"{cls.__qualname__}: {namesake.__module__}.{namesake.__qualname__} and "
                    f"{command.__module__}.{command.__qualname__} are both named {command.__name__}: "
                    "the name tells commands apart between processes; rename one"
                )
                raise ConfigurationError(message)
            found[command] = function
        where = f"{cls.__qualname__}.{name}"
        for event in _emitted(function, where):
            if event not in cls.evolvers:
                raise ConfigurationError(missing_evolver(cls, event))
    return found


M = TypeVar("M", bound=BaseModel)


def _handled(cls: type[Aggregate], name: str, function: Callable[..., object], base: type[M]) -> tuple[type[M], ...]:
    where = f"{cls.__qualname__}.{name}"
    parameters = parameters_of(function)
    if len(parameters) != 1:
        message = f"{where} must take exactly one parameter after self: the {base.__name__.lower()}"
        raise ConfigurationError(message)
    return handled_classes(hints_of(function, where).get(parameters[0]), base, where, parameters[0])


def _emitted(function: Callable[..., object], where: str) -> tuple[type[Event], ...]:
    annotation = hints_of(function, where).get("return", ...)
    events = classes_in(annotation, Event)
    if not events and annotation is not type(None):
        message = f"{where}: annotate what it returns with the events it may emit, for example -> TaskCreated | None"
        raise ConfigurationError(message)
    return events


def _check_fields(cls: type[Aggregate]) -> None:
    if cls.model_config.get("frozen") or cls.model_config.get("validate_assignment"):
        message = (
            f"{cls.__qualname__}: remove frozen and validate_assignment from its model_config: "
            "@evolves methods change the state, and an event that happened cannot be refused"
        )
        raise ConfigurationError(message)
    if cls.__private_attributes__:
        message = (
            f"{cls.__qualname__}: make {', '.join(cls.__private_attributes__)} a field without underscore: "
            "the fields are the state, and private attributes would be lost in snapshots"
        )
        raise ConfigurationError(message)
    required = [name for name, field in cls.model_fields.items() if field.is_required()]
    if required:
        message = (
            f"{cls.__qualname__}: give {', '.join(required)} a default: "
            "the defaults are the state of a stream without events"
        )
        raise ConfigurationError(message)


def _as_events(decided: object, decider: Callable[..., object]) -> tuple[Event, ...]:
    if decided is None:
        return ()
    if isinstance(decided, Event):
        return (decided,)
    if isinstance(decided, Iterable):
        events = tuple(cast("Iterable[object]", decided))
        found = tuple(event for event in events if isinstance(event, Event))
        if len(found) == len(events):
            return found
    message = f"{decider.__qualname__} returned {decided!r}: return an event, a list or tuple of events, or None"
    raise ConfigurationError(message)


def _copiers(cls: type[Aggregate]) -> Iterable[tuple[str, Copier]]:
    """Choose the cheapest safe copy for each field that can change in place."""
    for name, field in cls.model_fields.items():
        copier = _copier_for(field.annotation)
        if copier is not None:
            yield name, copier


def _copier_for(annotation: object) -> Copier | None:
    members = tuple(union_members(annotation))
    if all(_is_immutable(member) for member in members):
        return None
    origin = get_origin(annotation)
    if origin in (list, dict, set) and all(_is_immutable(part) for part in get_args(annotation)):
        return copy.copy
    return copy.deepcopy


def _is_immutable(annotation: object) -> bool:
    if get_origin(annotation) in (tuple, frozenset):
        return all(part is ... or _is_immutable(part) for part in get_args(annotation))
    return isinstance(annotation, type) and get_origin(annotation) is None and issubclass(annotation, _IMMUTABLE)
