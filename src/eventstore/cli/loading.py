"""From `--app module:app` to an open store."""

from __future__ import annotations

import importlib
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from eventstore.cli.output import Output
from eventstore.core.errors import ConfigurationError, EventStoreError
from eventstore.prepared import unprepared
from eventstore.store import EventStore
from eventstore.telemetry import Telemetry

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Session:
    """What the options before the command say.

    Attributes:
        app: `module:app`.
        output: Where results go.
        debug: Show tracebacks.
    """

    app: str | None
    output: Output
    debug: bool

    def store(self) -> EventStore:
        """Give the application's store, not opened yet.

        Raises:
            ConfigurationError: `--app` does not lead to a store.
        """
        return load(self.app)

    @asynccontextmanager
    async def opened(
        self,
        *,
        serve: bool = False,
        workers: bool = False,
        create: bool = False,
        metered: bool = False,
        changes: Mapping[str, object] | None = None,
    ) -> AsyncGenerator[EventStore]:
        """Open the application's store.

        Args:
            serve: Own partitions and execute the commands of other processes there.
            workers: Run projections and process managers.
            create: Make a new log if there is none.
            metered: Measure what is done, even if the application's settings do not say so.
            changes: Other fields of `Settings`.

        Raises:
            ConfigurationError: `--app` does not lead to a store, or there is no log.
        """
        store = self.store()
        telemetry = store.settings.telemetry or (Telemetry() if metered else None)
        store = store.with_settings(serve=serve, workers=workers, telemetry=telemetry, **(changes or {}))
        if not create and not store.log.exists():
            log = unprepared(store.log)
            where = getattr(log, "path", type(log).__name__)
            message = f"there is no event log at {where}: check the path, or let the application write its first event"
            raise ConfigurationError(message)
        async with store:
            yield store


def load(app: str | None) -> EventStore:
    """Import the object that `module:app` names.

    Raises:
        ConfigurationError: It cannot be imported, or is no store.
    """
    if not app:
        message = "say which application: eventstore --app module:app ..., or set EVENTSTORE_APP=module:app"
        raise ConfigurationError(message)
    return load_object(app, EventStore, f"--app {app}")


def load_object(target: str, kind: type[T], shown: str | None = None) -> T:
    """Import the object of a kind that `module:name` names, or that a function of that name makes.

    Args:
        target: `module:name`.
        kind: Its class.
        shown: How the target is written, for messages.

    Raises:
        ConfigurationError: It cannot be imported, or is something else.
    """
    what, given = f"an {kind.__name__}, or a function that makes one", shown or target
    module_name, colon, attribute = target.partition(":")
    if not colon or not module_name or not attribute:
        message = f"{given}: write module:app, for example examples.task_domain.app:store"
        raise ConfigurationError(message)
    sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except EventStoreError:
        raise
    except Exception as cause:
        reason = f"{type(cause).__name__}: {cause}"
        message = f"{given}: the module {module_name} cannot be imported from here ({reason}): see --debug"
        raise ConfigurationError(message) from cause
    found: Any = getattr(module, attribute, None)
    if found is None:
        where = getattr(module, "__file__", None) or module_name
        message = f"{given}: {where} has no {attribute}: name {what}"
        raise ConfigurationError(message)
    if isinstance(found, kind):
        return found
    made = _made(given, kind, cast("Callable[[], object]", found)) if callable(found) else found
    if not isinstance(made, kind):
        message = f"{given} is a {type(made).__name__}: name {what}"
        raise ConfigurationError(message)
    return made


def _made(given: str, kind: type[object], factory: Callable[[], object]) -> object:
    try:
        return factory()
    except EventStoreError:
        raise
    except Exception as cause:
        thing = "a store" if kind is EventStore else f"an {kind.__name__}"
        message = f"{given}: the function could not make {thing} ({type(cause).__name__}: {cause}): see --debug"
        raise ConfigurationError(message) from cause
