"""Reading handler signatures: which command, event or row a decorated method is for."""

from __future__ import annotations

import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias, TypeVar, Union, get_args, get_origin

from eventstore.core.errors import ConfigurationError

C = TypeVar("C")
Function: TypeAlias = Callable[..., object]


def marker(attribute: str) -> Callable[[Function], Function]:
    """Make a decorator that only marks a function; the class that holds it reads the mark."""

    def mark(function: Function) -> Function:
        setattr(function, attribute, True)
        return function

    return mark


def marked(cls: type, attribute: str) -> Iterator[tuple[str, Function]]:
    """Yield a class's marked functions by name, base classes first, overridden ones once."""
    seen: dict[str, object] = {}
    for base in reversed(cls.__mro__):
        seen.update(vars(base))
    for name, member in seen.items():
        if inspect.isfunction(member) and getattr(member, attribute, False):
            yield name, member


def hints_of(function: Function, where: str) -> dict[str, object]:
    """Resolve a function's annotations, also those that name classes local to a function.

    Raises:
        ConfigurationError: A name in the annotations cannot be found.
    """
    scope: dict[str, object] = {}
    while True:
        try:
            return typing.get_type_hints(function, localns=scope)
        except NameError as missing:
            value = _in_calling_frames(missing.name or "")
            if value is None or missing.name is None:
                message = (
                    f"{where}: the annotation {missing.name!r} cannot be found. "
                    "Import it at module level (not under TYPE_CHECKING): the annotations select what is handled"
                )
                raise ConfigurationError(message) from missing
            scope[missing.name] = value


def _in_calling_frames(name: str) -> object | None:
    frame = sys._getframe(2)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - as pydantic does, for classes defined inside functions
    walker: types.FrameType | None = frame
    while walker is not None:
        if name in walker.f_locals:
            found: object = walker.f_locals[name]
            return found
        walker = walker.f_back
    return None


def parameters_of(function: Function) -> list[str]:
    """Give the names of a method's positional parameters after `self`."""
    return [p.name for p in inspect.signature(function).parameters.values()][1:]


def classes_in(annotation: object, base: type[C]) -> tuple[type[C], ...]:
    """Collect the subclasses of `base` that an annotation mentions, inside unions, optionals and containers."""
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return (annotation,) if issubclass(annotation, base) and annotation is not base else ()
    found: list[type[C]] = []
    for part in get_args(annotation):
        found.extend(kind for kind in classes_in(part, base) if kind not in found)
    return tuple(found)


def union_members(annotation: object) -> Iterable[object]:
    """Give the members of a union, or the annotation itself."""
    if get_origin(annotation) in (Union, types.UnionType):
        return get_args(annotation)
    return (annotation,)


def handled_classes(annotation: object, base: type[C], where: str, parameter: str) -> tuple[type[C], ...]:
    """Read which classes a parameter selects: one, or a union of several.

    Raises:
        ConfigurationError: It is not annotated with subclasses of `base`.
    """
    kinds: list[type[C]] = []
    for member in union_members(annotation):
        if not (isinstance(member, type) and issubclass(member, base) and member is not base):
            shown = getattr(annotation, "__name__", annotation)
            message = (
                f"{where}: annotate `{parameter}` with the {base.__name__.lower()} class it handles "
                f"(found {'nothing' if annotation is None else shown})"
            )
            raise ConfigurationError(message)
        kinds.append(member)
    return tuple(kinds)
