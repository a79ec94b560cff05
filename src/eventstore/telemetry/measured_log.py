"""The log as the command side sees it, measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from eventstore.core.errors import EventStoreError
from eventstore.core.records import Partition, StreamEvent
from eventstore.delegation import DelegatingLog
from eventstore.ports import Appended, Clock, CommitOutcome, Conflicted, EventLog, StreamCommit, StreamQuery
from eventstore.telemetry import catalog
from eventstore.telemetry.measurements import Measurements
from eventstore.telemetry.tracing import Tracing


class MeasuredLog(DelegatingLog):
    """Counts group commits, conflicts and replayed events on their way to the log behind.

    Args:
        log: The log behind.
        measurements: Where to count.
        clock: For durations.
        tracing: Where spans of traced commands go; None for nowhere.
    """

    def __init__(self, log: EventLog, measurements: Measurements, clock: Clock, tracing: Tracing | None) -> None:
        super().__init__(log)
        self._clock: Final = clock
        self._tracing: Final = tracing
        self._durations: Final = measurements.histogram(catalog.COMMIT_DURATION)
        self._sizes: Final = measurements.histogram(catalog.COMMIT_BATCH_SIZE)
        self._appended: Final = measurements.number(catalog.APPENDED_EVENTS)
        self._conflicts: Final = measurements.number(catalog.APPEND_CONFLICTS)
        self._failures: Final = measurements.number(catalog.APPEND_FAILURES)
        self._replayed: Final = measurements.number(catalog.REPLAYED_EVENTS)

    async def commit(self, partition: Partition, commits: Sequence[StreamCommit]) -> Sequence[CommitOutcome]:
        """Commit, and count what came of it."""
        began = self._clock.monotonic()
        try:
            outcomes = await self.behind.commit(partition, commits)
        except EventStoreError as error:
            self._failures.add(1, (type(error).__name__,))
            raise
        seconds = self._clock.monotonic() - began
        self._durations.observe((), seconds)
        self._sizes.observe((), len(commits))
        events = conflicts = 0
        for commit, outcome in zip(commits, outcomes, strict=True):
            if isinstance(outcome, Appended):
                events += len(commit.events)
            else:
                conflicts += isinstance(outcome, Conflicted)
        self._appended.add(events)
        if conflicts:
            self._conflicts.add(conflicts)
        if self._tracing is not None:
            self._tracing.appended(partition, commits, seconds)
        return outcomes

    async def read_to_fold(self, queries: Sequence[StreamQuery]) -> Sequence[Sequence[StreamEvent]]:
        """Read, and count the events."""
        events = await self.behind.read_to_fold(queries)
        self._replayed.add(sum(map(len, events)))
        return events
