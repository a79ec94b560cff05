"""What an application is made of, checked as a whole before anything is opened."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias, TypeVar

from eventstore.core.aggregates import Aggregate
from eventstore.core.definitions import SubscriptionDefinition
from eventstore.core.errors import ConfigurationError
from eventstore.core.events import Event
from eventstore.core.inboxes import Inbox
from eventstore.core.inventory import Inventory
from eventstore.core.processes import ProcessManager
from eventstore.core.projections import Projection
from eventstore.core.publications import Publication, PublicationDefinition
from eventstore.core.registry import BinaryEvents, TypeRegistry
from eventstore.read.subscribers import (
    Execute,
    ProcessSubscriber,
    RowSubscriber,
    SqlHandlers,
    SqlSubscriber,
    Subscriber,
)

D = TypeVar("D", SubscriptionDefinition, PublicationDefinition)
ReadModelClass: TypeAlias = type[Projection[Any]] | type[SqlHandlers]
_Named: TypeAlias = ReadModelClass | type[ProcessManager[Any]] | type[Publication]


class Application:
    """The user's classes, free of contradictions.

    Args:
        aggregates: The aggregate classes.
        projections: Row and SQL projections.
        processes: Process managers.
        publications: What relays publish.
        binary: Decodes the events that are not JSON, if there may be any.
        inboxes: Inboxes; their events are other systems' and are no part of the registry.

    Raises:
        ConfigurationError: Two classes share a category, a name or an event's name, or something is no such class.
    """

    def __init__(
        self,
        aggregates: Sequence[type[Aggregate]],
        projections: Sequence[ReadModelClass],
        processes: Sequence[type[ProcessManager[Any]]],
        publications: Sequence[type[Publication]] = (),
        binary: BinaryEvents | None = None,
        inboxes: Sequence[type[Inbox]] = (),
    ) -> None:
        lists = {"aggregates": aggregates, "projections": projections, "processes": processes}
        for what, given in {**lists, "publications": publications, "inboxes": inboxes}.items():
            for cls in given:
                _check_class(cls, what)
        self.aggregates: Final[Mapping[str, type[Aggregate]]] = _by_category(aggregates)
        self.projections: Final = tuple(projections)
        self.processes: Final = tuple(processes)
        self.publications: Final = tuple(publications)
        self.inboxes: Final = tuple(inboxes)
        _check_names((*projections, *processes))
        _check_names(publications)
        _check_names(inboxes)
        subscribers: tuple[_Named, ...] = (*projections, *processes, *publications)
        self.registry: Final = TypeRegistry(
            [
                *self.emitted,
                *(event for subscriber in subscribers for event in events_of(subscriber)),
                *(contract.event for cls in publications for contract in cls.definition.contracts),
            ],
            binary,
        )

    @property
    def emitted(self) -> list[type[Event]]:
        """The events that the aggregates emit, each once."""
        return [*dict.fromkeys(event for aggregate in self.aggregates.values() for event in aggregate.evolvers)]

    @property
    def categories(self) -> list[str]:
        """The categories whose events are written or read, in order of their names."""
        subscribers: tuple[_Named, ...] = (*self.projections, *self.processes, *self.publications)
        return sorted({*self.aggregates, *(name for cls in subscribers for name in cls.definition.categories)})

    @property
    def has_read_models(self) -> bool:
        """Whether a query store is needed at all."""
        return bool(self.projections or self.processes)

    @property
    def definitions(self) -> list[SubscriptionDefinition]:
        """What its read models and process managers are, with the categories that they read."""
        return [self._with_categories(cls.definition) for cls in (*self.projections, *self.processes)]

    def subscribers(self, execute: Execute) -> list[Subscriber]:
        """Make what workers run.

        Args:
            execute: Executes the commands of process managers.
        """
        made: list[Subscriber] = []
        for cls in self.projections:
            projection = cls()
            definition = self._with_categories(projection.definition)
            if isinstance(projection, Projection):
                made.append(RowSubscriber(projection, definition))  # pyright: ignore[reportUnknownArgumentType]
            else:
                made.append(SqlSubscriber(projection, definition))
        made.extend(
            ProcessSubscriber(process(), self._with_categories(process.definition), execute)
            for process in self.processes
        )
        return made

    def inventory(self, *, inboxes: bool) -> Inventory:
        """Tell what a cluster has to be prepared for.

        Args:
            inboxes: Whether they read from that cluster.
        """
        return Inventory(
            tuple(self.categories),
            tuple(sorted(cls.definition.name for cls in self.projections)),
            tuple(sorted(cls.definition.name for cls in self.processes)),
            tuple(self.publication(cls.definition.name)[1] for cls in self.publications),
            tuple(cls.definition for cls in self.inboxes) if inboxes else (),
        )

    @property
    def public_topics(self) -> list[str]:
        """The topics that publications write to, in order of their names."""
        return self.inventory(inboxes=False).public_topics

    def publication(self, name: str) -> tuple[Publication, PublicationDefinition]:
        """Make what a relay runs, and give its definition with the categories to read.

        Args:
            name: The publication's.

        Raises:
            ConfigurationError: There is no such publication.
        """
        for cls in self.publications:
            if cls.definition.name == name:
                definition = self._with_categories(cls.definition)
                return cls(), replace(definition, categories=definition.categories or tuple(self.categories))
        known = ", ".join(cls.definition.name for cls in self.publications) or "none at all"
        message = f"there is no publication {name!r} in this application; there is {known}"
        raise ConfigurationError(message)

    def _with_categories(self, definition: D) -> D:
        """Read only the categories whose aggregates emit the handled events, unless the author named some."""
        if definition.categories:
            return definition
        emitters: dict[str, set[str]] = defaultdict(set)
        for category, aggregate in self.aggregates.items():
            for event in aggregate.evolvers:
                emitters[event.event_type].add(category)
        if any(event not in emitters for event in definition.events):
            return definition
        categories = {category for event in definition.events for category in emitters[event]}
        return replace(definition, categories=tuple(sorted(categories)))


def events_of(subscriber: _Named) -> Iterable[type[Event]]:
    """Give the event classes that a projection, process manager or publication handles."""
    handled: Mapping[type[Event], object] = subscriber.subscriptions
    return handled


def _check_class(cls: object, what: str) -> None:
    definition: object = getattr(cls, "definition", None)
    is_aggregate = isinstance(cls, type) and issubclass(cls, Aggregate)
    is_process = isinstance(cls, type) and issubclass(cls, ProcessManager)
    is_projection = not is_process and isinstance(definition, SubscriptionDefinition)
    fits = {
        "aggregates": is_aggregate,
        "projections": is_projection,
        "processes": is_process,
        "publications": isinstance(definition, PublicationDefinition),
        "inboxes": isinstance(cls, type) and issubclass(cls, Inbox),
    }
    if not fits[what]:
        message = f"{what}=[...] holds {cls!r}: list classes there, such as {what}=[{_EXAMPLES[what]}]"
        raise ConfigurationError(message)


_EXAMPLES: Final = {
    "aggregates": "Task",
    "projections": "TaskBoard",
    "processes": "Escalation",
    "publications": "TaskFeed",
    "inboxes": "Payments",
}


def _by_category(aggregates: Iterable[type[Aggregate]]) -> dict[str, type[Aggregate]]:
    found: dict[str, type[Aggregate]] = {}
    for cls in aggregates:
        other = found.setdefault(cls.category, cls)
        if other is not cls:
            message = f"{other.__qualname__} and {cls.__qualname__} share the category {cls.category!r}: rename one"
            raise ConfigurationError(message)
    return found


def _check_names(named: Iterable[_Named | type[Inbox]]) -> None:
    found: dict[str, _Named | type[Inbox]] = {}
    for cls in named:
        name = cls.definition.name
        other = found.setdefault(name, cls)
        if other is not cls:
            message = f"{other.__qualname__} and {cls.__qualname__} are both named {name!r}: rename one"
            raise ConfigurationError(message)
