"""Publications: which events leave for public topics, and as what."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Final, NamedTuple, TypeVar, cast

from eventstore.core.annotations import classes_in, hints_of
from eventstore.core.definitions import Handler, Subscription, check_name, read_subscriptions, subscribe
from eventstore.core.errors import ConfigurationError
from eventstore.core.events import Event
from eventstore.core.ids import derived_text
from eventstore.core.policies import OnError
from eventstore.core.records import Recorded

F = TypeVar("F", bound=Callable[..., object])

_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")
_MARK: Final = "__publishes__"
_PARAMETERS: Final = ("event", "at")


class Contract(NamedTuple):
    """What consumers of a topic have to expect in it.

    Attributes:
        topic: The topic.
        event: The class of an integration event.
    """

    topic: str
    event: type[Event]


@dataclass(frozen=True, slots=True)
class PublicationDefinition:
    """A publication as adapters see it: data, no behaviour.

    Attributes:
        name: Unique among publications; part of the ids of what is published, and names the position.
        events: Stored names of the events it handles.
        contracts: What it may publish, and where to.
        categories: Categories it reads; filled in from the aggregates when empty.
        on_error: What to do when a handler raises.
    """

    name: str
    events: frozenset[str]
    contracts: tuple[Contract, ...]
    categories: tuple[str, ...]
    on_error: OnError

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics, in order of their names."""
        return tuple(sorted({contract.topic for contract in self.contracts}))


@dataclass(frozen=True, slots=True)
class _Target:
    """What a handler's decorator and annotations say."""

    topics: tuple[str, ...]
    key: str | None
    events: tuple[type[Event], ...]


def publishes(*topics: str, key: str | None = None) -> Callable[[F], F]:
    """Mark a method that makes integration events of an event: `(self, event, at)` -> one, several, or None.

    All that is made of an event appears in its topics at once, or not at all. It must be a function of its arguments:
    after a crash it runs again, and the same integration events get the same ids.

    Args:
        topics: Where to, in full: no prefix is added. Each integration event goes to each of them.
        key: The field of the integration events that the records' key is taken from; by default the key is the id of
            the aggregate, whose events then stay in order.

    Returns:
        The decorator.

    Raises:
        ConfigurationError: There is no topic, or Kafka allows no such name.
    """
    for topic in topics:
        if not _TOPIC.fullmatch(topic) or topic in {".", ".."}:
            message = f"@publishes({topic!r}): a topic has 1 to 249 of A-Z a-z 0-9 . _ -"
            raise ConfigurationError(message)
    if not topics or len(set(topics)) < len(topics):
        message = f"@publishes{topics!r}: name each topic once, and at least one"
        raise ConfigurationError(message)

    def mark(function: F) -> F:
        setattr(function, _MARK, (topics, key))
        subscribe(None)(function)
        return function

    return mark


class Publication:
    """Publishes chosen events to public topics, each exactly once and in order per aggregate, when a relay runs it.

    `class TaskFeed(Publication, name="task_feed")`, with methods marked by `@publishes`.

    Args (of the class statement):
        name: Unique name; part of the ids of what is published, so never reuse one for something else.
        on_error: What to do when a handler raises: `OnError.halt()` or `OnError.skip()`.
        categories: Categories to read; by default those of the aggregates that emit the handled events.

    Raises:
        ConfigurationError: At import, when the definition cannot work.
    """

    definition: ClassVar[PublicationDefinition]
    subscriptions: ClassVar[Mapping[type[Event], tuple[Subscription, ...]]]

    def __init_subclass__(
        cls, *, name: str | None = None, on_error: OnError | None = None, categories: Iterable[str] = (), **kwargs: Any
    ) -> None:
        """Read and check the definition."""
        super().__init_subclass__(**kwargs)
        checked = check_name(cls, name)
        policy = on_error or OnError.halt()
        if policy.then == "dead_letter":
            message = f"{cls.__qualname__}: a publication has no dead letters: use OnError.halt() or OnError.skip()"
            raise ConfigurationError(message)
        cls.subscriptions = read_subscriptions(cls, _PARAMETERS)
        targets = [_target(cls, found.function) for handlers in cls.subscriptions.values() for found in handlers]
        contracts = {
            Contract(topic, event): None for target in targets for topic in target.topics for event in target.events
        }
        cls.definition = PublicationDefinition(
            name=checked,
            events=frozenset(event.event_type for event in cls.subscriptions),
            contracts=tuple(contracts),
            categories=tuple(categories),
            on_error=policy,
        )


def _target(cls: type, function: Handler) -> _Target:
    where = f"{cls.__qualname__}.{function.__name__}"
    marked: tuple[tuple[str, ...], str | None] | None = getattr(function, _MARK, None)
    if marked is None:
        message = f'{where}: say where to with @publishes("topic"); other decorators are for other classes'
        raise ConfigurationError(message)
    topics, key = marked
    events = classes_in(hints_of(function, where).get("return"), Event)
    if not events:
        message = f"{where}: annotate what it returns with the integration events, such as -> TaskAnnounced | None"
        raise ConfigurationError(message)
    for event in events:
        if key is not None and key not in event.model_fields:
            message = f"{where}: {event.__name__} has no field {key!r} to take the record's key from"
            raise ConfigurationError(message)
    return _Target(topics, key, events)


class Announcement(NamedTuple):
    """An integration event on its way.

    Attributes:
        topic: Where to.
        key: The record's key.
        event: The integration event.
        event_id: Derived from the event it comes from: every repetition gives it again.
    """

    topic: str
    key: str
    event: Event
    event_id: str


# The constructor without its Python frame: there is one call of it for each event published.
_announcement: Final[Callable[[tuple[str, str, Event, str]], Announcement]] = partial(tuple.__new__, Announcement)  # pyright: ignore[reportUnknownMemberType]


class Announcer:
    """Runs a publication's handlers: what an event leads to, with no effects yet.

    Args:
        publication: An instance of the user's publication.
    """

    def __init__(self, publication: Publication) -> None:
        self._publication: Final = publication
        self._handlers: Final = {
            event: tuple(
                (
                    found.function,
                    _target(type(publication), found.function),
                    f"{publication.definition.name}:{found.function.__name__}",
                )
                for found in handlers
            )
            for event, handlers in publication.subscriptions.items()
        }

    def announce(self, event: Event, at: Recorded) -> list[Announcement]:
        """Give what to publish of an event, in order.

        Args:
            event: The event.
            at: Where it stands.

        Raises:
            Exception: Whatever a handler raised, or `TypeError` if it returned what its annotation does not say.
        """
        found: list[Announcement] = []
        source, (_, _, own) = at.stored.event_id, at.stored.stream.partition("-")
        for function, target, name in self._handlers[type(event)]:
            returned = function(self._publication, event, at)
            if returned is None:
                continue
            # By its type: asking pydantic's classes whose instance it is takes longer than all the rest.
            events = (
                (cast("Event", returned),) if type(returned) in target.events else _several(returned, function, target)
            )
            for index, made in enumerate(events):
                key = own if target.key is None else str(getattr(made, target.key))
                identity = derived_text(source, f"{name}:{index}")
                for topic in target.topics:
                    found.append(_announcement((topic, key, made, identity)))  # noqa: PERF401 - one topic as a rule
        return found


def _several(returned: object, function: Handler, target: _Target) -> tuple[Event, ...]:
    if isinstance(returned, Iterable) and not isinstance(returned, Event):
        events = tuple(cast("Iterable[object]", returned))
        if all(type(event) in target.events for event in events):
            return cast("tuple[Event, ...]", events)
    names = ", ".join(event.__name__ for event in target.events)
    message = f"{function.__qualname__} returned {returned!r}: its annotation says {names}, several, or None"
    raise TypeError(message)
