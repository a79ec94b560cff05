"""The query side as a whole: registers read models, runs their workers, and offers what operators do with them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final

from eventstore.background import Background
from eventstore.core.checkpoints import SubscriptionStatus
from eventstore.core.definitions import SubscriptionDefinition
from eventstore.core.errors import ConfigurationError, ProjectionFailedError, ReadModelStaleError
from eventstore.core.projections import EventAt, Projection
from eventstore.core.records import Token
from eventstore.core.registry import TypeRegistry
from eventstore.core.rows import Key, Row
from eventstore.core.streams import StreamId
from eventstore.environment import Environment
from eventstore.ports import EventLog, QueryStore
from eventstore.read.audit import AuditResult, audit
from eventstore.read.batches import Surroundings
from eventstore.read.crew import Crew
from eventstore.read.dead_letters import DeadLetters
from eventstore.read.lag import Lag, Lags
from eventstore.read.pacing import Pace
from eventstore.read.planning import RebuildPlan, plan
from eventstore.read.preview import Preview
from eventstore.read.progress import Progress
from eventstore.read.rebuild import Rebuild
from eventstore.read.subscribers import Subscriber
from eventstore.read.unbuilt import UnbuiltRows
from eventstore.read.waiting import Stale, wait_for
from eventstore.read.watching import Watcher
from eventstore.read.why import OnRead, Why
from eventstore.read.worker import WorkerSettings


class QuerySide:
    """Keeps read models and process managers moving, and shows and changes what stands.

    Args:
        log: An open log.
        query: An open query store.
        registry: Decodes events.
        environment: Clock and randomness.
        settings: Batch size and times of workers.
        owner: Names this process to others.

    Attributes:
        owner: The same.
    """

    def __init__(
        self,
        log: EventLog,
        query: QueryStore,
        registry: TypeRegistry,
        environment: Environment,
        settings: WorkerSettings,
        owner: str,
    ) -> None:
        self._log: Final = log
        self._query: Final = query
        self._registry: Final = registry
        self._settings: Final = settings
        self.owner: Final = owner
        self._clock: Final = environment.clock
        self._progress: Final = Progress()
        self._watcher: Final = Watcher(query, self._progress, environment.clock)
        turns = asyncio.Semaphore(settings.concurrency)
        self._surroundings: Final = Surroundings(
            query, registry, environment.clock, self._progress, turns, Pace(environment.clock), settings.applied
        )
        self._subscribers: Final[dict[str, Subscriber]] = {}
        self._unbuilt: Final = UnbuiltRows(log, registry, query)
        self._working: Final[set[str]] = set()
        self._background: Final = Background()

    @property
    def definitions(self) -> tuple[SubscriptionDefinition, ...]:
        """What this application's code defines."""
        return tuple(subscriber.definition for subscriber in self._subscribers.values())

    @property
    def dead_letters(self) -> DeadLetters:
        """Give access to parked events."""
        return DeadLetters(self._surroundings, self._log, self._known, self.owner, self._settings.lease)

    async def register(self, subscribers: Iterable[Subscriber]) -> None:
        """Make read models known to the query store; their tables exist afterwards.

        Raises:
            ConfigurationError: A version's code changed, or the query store belongs to another log.
            StoreUnavailableError: The query store is out of reach.
        """
        for subscriber in subscribers:
            await self._query.register(subscriber.definition, self._log.log_id)
            self._subscribers[subscriber.definition.name] = subscriber

    def start_workers(self, names: Iterable[str] | None = None) -> list[asyncio.Task[None]]:
        """Run the workers of all or of some read models until `close`.

        Returns:
            A task for each; one that ends before `close` has failed for good, and `close` raises why.

        Raises:
            ConfigurationError: There is no such read model.
        """
        chosen = [*self._subscribers] if names is None else [*names]
        crews = [self._crew(name) for name in chosen]
        self._working.update(chosen)
        return [self._background.start(crew.run(), crew.name) for crew in crews]

    def _crew(self, name: str) -> Crew:
        return Crew(self._surroundings, self._log, self._known(name), self.owner, self._settings)

    def wake_workers(self) -> None:
        """Let halted workers try again at once, for example after their database was repaired."""
        self._progress.intervene()

    async def close(self) -> None:
        """Stop the workers; what they had not committed is not done, and done by the next ones."""
        try:
            await self._background.close()
        finally:
            await self._watcher.close()

    async def wait_for(
        self,
        definition: SubscriptionDefinition,
        token: Token,
        timeout: float,  # noqa: ASYNC109
        stale: Stale = "raise",
    ) -> bool:
        """Wait until a read model shows a token; see `EventStore.wait_for`."""
        try:
            await wait_for(self._query, self._watcher, definition, token, timeout)
        except (ReadModelStaleError, ProjectionFailedError):
            if stale == "raise":
                raise
            return False
        return True

    async def statuses(self, name: str | None = None) -> list[SubscriptionStatus]:
        """Give every version known to the query store."""
        return [*await self._query.statuses(name)]

    async def why(self, projection: Projection[Any], key: Key, on_read: OnRead) -> list[EventAt]:
        """Find the events that made a row; see `EventStore.why`."""
        categories = self._known(projection.definition.name).definition.categories
        return await Why(self._log, self._query, self._registry, projection, categories).events(key, on_read)

    async def lag(self, name: str | None, stalled_after: float) -> list[Lag]:
        """Tell how far read models are behind; see `EventStore.lag`."""
        lags = Lags(self._log, self._query, self._clock, stalled_after)
        return await lags.all({definition.name: definition for definition in self.definitions}, name)

    def rebuild(self, name: str) -> Rebuild:
        """Prepare the rebuild of the version that this code defines.

        Raises:
            ConfigurationError: There is no such read model.
        """
        crew = None if name in self._working else self._crew(name)
        return Rebuild(self._surroundings, self._log, self._known(name), self.owner, self._settings.lease, crew)

    async def plan_rebuild(self, name: str) -> RebuildPlan:
        """Tell what a rebuild of the version that this code defines will take; see `planning.plan`.

        Raises:
            ConfigurationError: There is no such read model, or the version is live already.
        """
        return await plan(self._surroundings, self._log, self._known(name))

    async def roll_back(self, name: str) -> int:
        """Make the version that was live before live again; it must have been kept up to date to be of use.

        Returns:
            The version that is live now.

        Raises:
            ConfigurationError: No version was retired.
        """
        retired = [status for status in await self._query.statuses(name) if status.state == "retired"]
        if not retired:
            message = f"{name} has no earlier version to roll back to"
            raise ConfigurationError(message)
        newest = max(retired, key=lambda status: status.changed_at)
        definition = SubscriptionDefinition(name, newest.version, newest.fingerprint, frozenset())
        await self._query.switch(definition, None)
        self._progress.intervene()
        return newest.version

    async def drop(self, name: str, version: int) -> None:
        """Remove a version that is not live, with its tables.

        Raises:
            ConfigurationError: It is live or unknown.
        """
        await self._query.drop(name, version)

    async def audit(
        self, name: str | None = None, on_progress: Callable[[int], None] = lambda _: None
    ) -> list[AuditResult]:
        """Prove for the versions this code defines that no event was skipped or doubled.

        Args:
            name: Which read model; None for all.
            on_progress: Is told how many events were read.

        Raises:
            ConfigurationError: There is no such read model.
        """
        results: list[AuditResult] = []
        chosen = [*self._subscribers] if name is None else [name]
        for one in chosen:
            definition = self._known(one).definition
            for status in await self._query.statuses(one):
                if status.version == definition.version:
                    results.extend(await audit(self._log, definition, status, on_progress))
        return results

    async def preview(
        self, projection: Projection[Any], at: int | datetime | None, stream: StreamId | None
    ) -> dict[Key, Row]:
        """Fold rows as of a time or a stream's version, beside the query store.

        Raises:
            ConfigurationError: A version was given without a stream.
        """
        preview = Preview(self._log, self._registry, projection)
        if stream is not None:
            return await preview.of_streams([stream], at)
        if isinstance(at, int):
            message = f"at={at} is a version, which only a single stream has: name the stream, or give a time"
            raise ConfigurationError(message)
        return await preview.of_log(at)

    async def unbuilt_row(self, projection: type[Projection[Any]], key: Key) -> tuple[bool, Row | None]:
        """Fold a row from the log if its version is being built and its streams are known; see `UnbuiltRows.row`.

        Returns:
            Whether that was so, and the row.
        """
        definition = self._known(projection.definition.name).definition
        knows_streams = projection.is_keyed_by_stream() and definition.categories
        if not knows_streams or not await self._unbuilt.is_needed(definition):
            return False, None
        return True, await self._unbuilt.row(projection(), definition, key)

    def _known(self, name: str) -> Subscriber:
        found = self._subscribers.get(name)
        if found is None:
            known = ", ".join(sorted(self._subscribers)) or "none"
            message = f"there is no read model or process manager {name!r} in this application (known: {known})"
            raise ConfigurationError(message)
        return found
