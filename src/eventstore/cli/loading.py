"""From `--app module:app` to an open store."""

from __future__ import annotations

import importlib
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from eventstore.cli.output import Output
from eventstore.core.errors import ConfigurationError, EventStoreError
from eventstore.prepared import unprepared
from eventstore.store import EventStore
from eventstore.telemetry import Telemetry


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
    module_name, colon, attribute = app.partition(":")
    if not colon or not module_name or not attribute:
        message = f"--app {app}: write module:app, for example examples.task_domain.app:store"
        raise ConfigurationError(message)
    sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except EventStoreError:
        raise
    except Exception as cause:
        what = f"{type(cause).__name__}: {cause}"
        message = f"--app {app}: the module {module_name} cannot be imported from here ({what}): see --debug"
        raise ConfigurationError(message) from cause
    found: Any = getattr(module, attribute, None)
    if found is None:
        where = getattr(module, "__file__", None) or module_name
        message = f"--app {app}: {where} has no {attribute}: name an EventStore, or a function that makes one"
        raise ConfigurationError(message)
    if isinstance(found, EventStore):
        return found
    made = _made(app, cast("Callable[[], object]", found)) if callable(found) else found
    if not isinstance(made, EventStore):
        message = f"--app {app} is a {type(made).__name__}: name an EventStore, or a function that makes one"
        raise ConfigurationError(message)
    return made


def _made(app: str, factory: Callable[[], object]) -> object:
    try:
        return factory()
    except EventStoreError:
        raise
    except Exception as cause:
        message = f"--app {app}: the function could not make a store ({type(cause).__name__}: {cause}): see --debug"
        raise ConfigurationError(message) from cause
