"""The reading half of `EventStore`: waiting for, rebuilding, checking and explaining read models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TypeVar

from eventstore.application import ReadModelClass
from eventstore.core.checkpoints import SubscriptionStatus
from eventstore.core.projections import EventAt, Projection
from eventstore.core.rebuilds import RebuildProgress
from eventstore.core.records import Token
from eventstore.core.rows import Key, Row
from eventstore.core.streams import StreamId
from eventstore.read.audit import AuditResult
from eventstore.read.dead_letters import DeadLetters
from eventstore.read.lag import STALLED_SECONDS, Lag
from eventstore.read.planning import RebuildPlan
from eventstore.read.query_side import QuerySide
from eventstore.read.rebuild import RebuildOptions, RebuildResult
from eventstore.read.waiting import Stale
from eventstore.read.why import OnRead

R = TypeVar("R", bound=Row)


class Queries(ABC):
    """What an open store does with read models; `EventStore` adds how it is opened, and commands."""

    @property
    @abstractmethod
    def query_side(self) -> QuerySide:
        """The query side, for tools."""

    async def wait_for(
        self,
        projection: ReadModelClass,
        token: Token,
        *,
        timeout: float = 5.0,  # noqa: ASYNC109
        stale: Stale = "raise",
    ) -> bool:
        """Return once a read model shows everything up to a token, whichever process keeps it: read your own writes.

        Args:
            projection: Which read model.
            token: From `Committed.token`; only its partitions are waited for.
            timeout: Seconds.
            stale: `"allow"` to go on with the rows there are when the time is up, or the read model is halted.

        Returns:
            Whether it shows everything; False only where stale rows are allowed.

        Raises:
            ReadModelStaleError: It is not there in time.
            ProjectionFailedError: It is halted before it.
            StoreUnavailableError: The query store is out of reach.
        """
        return await self.query_side.wait_for(projection.definition, token, timeout, stale)

    async def rebuild(
        self,
        projection: ReadModelClass,
        options: RebuildOptions | None = None,
        on_progress: Callable[[RebuildProgress], None] = lambda _: None,
    ) -> RebuildResult:
        """Build this code's version beside the live one, verify it row by row, and switch; see `Rebuild.run`."""
        return await self.query_side.rebuild(projection.definition.name).run(options or RebuildOptions(), on_progress)

    async def plan_rebuild(self, projection: ReadModelClass) -> RebuildPlan:
        """Tell what a rebuild will take; see `planning.plan`."""
        return await self.query_side.plan_rebuild(projection.definition.name)

    async def audit(self, projection: ReadModelClass | None = None) -> list[AuditResult]:
        """Prove that read models processed every event exactly once; see `QuerySide.audit`."""
        return await self.query_side.audit(projection.definition.name if projection else None)

    async def preview(
        self, projection: type[Projection[R]], *, at: int | datetime | None = None, stream: StreamId | None = None
    ) -> Mapping[Key, Row]:
        """Fold rows as of a time or of a stream's version, beside the query store; see `QuerySide.preview`."""
        return await self.query_side.preview(projection(), at, stream)

    async def why(
        self, projection: type[Projection[R]], *key: object, on_read: OnRead = lambda _done, _total: None
    ) -> list[EventAt]:
        """Find the events that made a row of a read model, up to its position, by its own key functions.

        If rows are keyed by the streams' ids, only the streams are read, otherwise everything it has processed. Parked
        events and erased ones are left out.

        Args:
            projection: Which read model.
            key: One value per key field.
            on_read: Is told how many offsets were read, of how many.

        Returns:
            The events with where they stand, by time; those of one partition in its order. Empty if there are none.

        Raises:
            ConfigurationError: The key has another number of values, or the read model is not the application's.
            StoreUnavailableError: Log or query store are out of reach.
        """
        return await self.query_side.why(projection(), key, on_read)

    async def statuses(self) -> list[SubscriptionStatus]:
        """Give every version of every read model: its state, positions, and why it stands still if it does."""
        return await self.query_side.statuses()

    async def lag(self, name: str | None = None, *, stalled_after: float = STALLED_SECONDS) -> list[Lag]:
        """Tell how far every read model is behind the log, per partition, and whether somebody is at work on it.

        Looking is enough: the store may be opened with `Settings(serve=False, workers=False)`.

        Args:
            name: Only of this read model or process manager; None for all.
            stalled_after: Seconds without a move after which one that is behind counts as stalled.

        Returns:
            By name, version and partition; versions that were retired are left out.

        Raises:
            StoreUnavailableError: Log or query store are out of reach.
        """
        return await self.query_side.lag(name, stalled_after)

    @property
    def dead_letters(self) -> DeadLetters:
        """Parked events, to list, retry and discard."""
        return self.query_side.dead_letters
