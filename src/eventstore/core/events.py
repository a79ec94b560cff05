"""Events: immutable facts with a pinned name and a schema version."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias

from pydantic import BaseModel, ConfigDict, JsonValue

from eventstore.core.errors import ConfigurationError

JsonObject: TypeAlias = dict[str, JsonValue]
Upcaster: TypeAlias = Callable[[JsonObject], JsonObject]

_EVENT_TYPE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
_FROM_VERSION = "__upcasts_from__"


def upcasts(*, from_version: int) -> Callable[[Upcaster], Upcaster]:
    """Mark a function inside an event class that turns stored data of `from_version` into the next version's.

    The function takes the stored JSON object and returns the new one; it is pure and must not fail on data that
    was once valid. Write one for every released version below the class's own:

        class TaskCreated(Event, type="task.created", version=2):
            title: str
            priority: int

            @upcasts(from_version=1)
            def add_priority(data: JsonObject) -> JsonObject:
                return {**data, "priority": 0}

    Args:
        from_version: The schema version it reads; it returns version `from_version + 1`.

    Returns:
        The decorator.
    """

    def mark(function: Upcaster) -> Upcaster:
        setattr(function, _FROM_VERSION, from_version)
        return staticmethod(function)

    return mark


class Event(BaseModel):
    """An immutable fact; its stored name is pinned in the class statement and never derived from the class name.

    `class TaskCreated(Event, type="task.created", version=1)`. Fields are ordinary pydantic fields. Unknown
    fields are refused when code builds an event and ignored when an older process reads a newer one.

    Raises:
        ConfigurationError: At import, when the name is missing or malformed, or an upcaster is missing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="constants")

    event_type: ClassVar[str] = ""
    schema_version: ClassVar[int] = 1
    upcasters: ClassVar[tuple[Upcaster, ...]] = ()

    def __init_subclass__(cls, *, type: str | None = None, version: int = 1, **kwargs: Any) -> None:  # noqa: A002
        """Accept the name and version; they are read once the fields are known."""
        super().__init_subclass__(**kwargs)

    @classmethod
    def __pydantic_init_subclass__(cls, type: str | None = None, version: int = 1, **kwargs: Any) -> None:  # noqa: A002
        """Pin the name and collect the upcasters."""
        super().__pydantic_init_subclass__(**kwargs)
        if type is None or not _EVENT_TYPE.fullmatch(type):
            message = (
                f"{cls.__qualname__} needs a pinned name of dotted lower case words: "
                f'write class {cls.__name__}(Event, type="category.what_happened")'
                + (f" instead of type={type!r}" if type else "")
            )
            raise ConfigurationError(message)
        if version < 1:
            message = f"{cls.__qualname__}: version={version} is no schema version; they start at 1"
            raise ConfigurationError(message)
        cls.event_type = type
        cls.schema_version = version
        cls.upcasters = _upcaster_chain(cls, version)


def _upcaster_chain(cls: type[Event], version: int) -> tuple[Upcaster, ...]:
    """Order the class's upcasters so that index i reads version i + 1, and refuse holes."""
    found: dict[int, Upcaster] = {}
    for name, member in vars(cls).items():
        if not isinstance(member, staticmethod):
            continue
        source = getattr(member.__func__, _FROM_VERSION, None)
        if source is None:
            continue
        if source in found:
            message = f"{cls.__qualname__} has two upcasters from version {source}; remove {name}"
            raise ConfigurationError(message)
        found[source] = member.__func__
    needed = set(range(1, version))
    for source in sorted(needed - set(found)):
        message = (
            f"{cls.__qualname__} is version {version} but nothing turns version {source} into {source + 1}: "
            f"add a function with @upcasts(from_version={source}) to the class"
        )
        raise ConfigurationError(message)
    for source in sorted(set(found) - needed):
        message = (
            f"{cls.__qualname__} has an upcaster from version {source} but the class is version {version}: "
            f"write version={source + 1} in the class statement"
        )
        raise ConfigurationError(message)
    return tuple(found[source] for source in range(1, version))
