"""Every metric there is: the one list that instruments, documentation, dashboards and alerts are made from."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, TypeAlias

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]

_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SIZES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)


class Metric(NamedTuple):
    """What is measured.

    Attributes:
        name: As OpenTelemetry writes it, with dots.
        kind: How it behaves: a counter only grows, a gauge is a present value, a histogram counts values by size.
        unit: In UCUM: `s`, or a thing that is counted, in braces.
        description: One sentence.
        labels: What it is told apart by.
        buckets: The upper bounds of a histogram's buckets.
    """

    name: str
    kind: Kind
    unit: str
    description: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def exposed_name(self) -> str:
        """The name as Prometheus has it: with underscores, the unit, and `_total` behind a counter."""
        name = self.name.replace(".", "_")
        if self.unit == "s":
            name += "_seconds"
        return f"{name}_total" if self.kind == "counter" else name


COMMAND_DURATION: Final = Metric(
    "eventsourcing.command.duration",
    "histogram",
    "s",
    "How long a command took in the process that was asked, by what became of it.",
    ("command", "outcome"),
    _SECONDS,
)
COMMIT_DURATION: Final = Metric(
    "eventsourcing.commit.duration", "histogram", "s", "How long the log took to write a group commit.", (), _SECONDS
)
COMMIT_BATCH_SIZE: Final = Metric(
    "eventsourcing.commit.batch.size", "histogram", "{command}", "Commands in one group commit.", (), _SIZES
)
APPENDED_EVENTS: Final = Metric("eventsourcing.append.events", "counter", "{event}", "Events that were committed.")
APPEND_CONFLICTS: Final = Metric(
    "eventsourcing.append.conflicts",
    "counter",
    "{command}",
    "Commands that were decided again because another process had written to their stream.",
)
APPEND_FAILURES: Final = Metric(
    "eventsourcing.append.failures",
    "counter",
    "{commit}",
    "Group commits that the log did not take, or of which it is not known, by the error.",
    ("error",),
)
REPLAYED_EVENTS: Final = Metric(
    "eventsourcing.replayed.events", "counter", "{event}", "Events that were folded to rehydrate aggregates."
)
PROJECTED_EVENTS: Final = Metric(
    "eventsourcing.projection.events", "counter", "{event}", "Events that a read model has applied.", ("projection",)
)
PROJECTION_DURATION: Final = Metric(
    "eventsourcing.projection.duration",
    "histogram",
    "s",
    "How long a read model took to apply one batch.",
    ("projection",),
    _SECONDS,
)
VISIBILITY_DELAY: Final = Metric(
    "eventsourcing.projection.visibility.delay",
    "histogram",
    "s",
    "From when the newest event of a batch was decided to when a read model had applied it.",
    ("projection",),
    (*_SECONDS, 60.0, 600.0),
)
LAG_EVENTS: Final = Metric(
    "eventsourcing.projection.lag.events",
    "gauge",
    "{event}",
    "Events that a read model has not applied yet.",
    ("projection", "partition"),
)
LAG_SECONDS: Final = Metric(
    "eventsourcing.projection.lag.time",
    "gauge",
    "s",
    "Age of the oldest event that a read model has not applied yet.",
    ("projection", "partition"),
)
PROJECTION_STATE: Final = Metric(
    "eventsourcing.projection.partitions",
    "gauge",
    "{partition}",
    "Partitions of a read model by state: idle, running, building, stalled, blocked.",
    ("projection", "state"),
)
REBUILD_PROGRESS: Final = Metric(
    "eventsourcing.rebuild.progress",
    "gauge",
    "1",
    "How much of the log the version that is being built has applied, from 0 to 1.",
    ("projection",),
)
DEAD_LETTERS: Final = Metric(
    "eventsourcing.dead.letters", "gauge", "{event}", "Events that are parked and wait for somebody.", ("projection",)
)
OWNER_STATE: Final = Metric(
    "eventsourcing.owner.partitions",
    "gauge",
    "{partition}",
    "Partitions that this process owns, by how far it is: assigned, claiming, restoring, serving, draining.",
    ("state",),
)
OWNER_FENCES: Final = Metric(
    "eventsourcing.owner.fences",
    "counter",
    "{fence}",
    "How often this process found that another one had taken a partition over.",
)
INDEX_LAG: Final = Metric(
    "eventsourcing.index.lag", "gauge", "{event}", "Events that are committed but not in this process's index yet."
)
VOID_RECORDS: Final = Metric(
    "eventsourcing.log.void.records",
    "gauge",
    "{record}",
    "Records that every reader passes over: late writes of former owners, or somebody else's.",
)
METRICS: Final = (
    COMMAND_DURATION,
    COMMIT_DURATION,
    COMMIT_BATCH_SIZE,
    APPENDED_EVENTS,
    APPEND_CONFLICTS,
    APPEND_FAILURES,
    REPLAYED_EVENTS,
    PROJECTED_EVENTS,
    PROJECTION_DURATION,
    VISIBILITY_DELAY,
    LAG_EVENTS,
    LAG_SECONDS,
    PROJECTION_STATE,
    REBUILD_PROGRESS,
    DEAD_LETTERS,
    OWNER_STATE,
    OWNER_FENCES,
    INDEX_LAG,
    VOID_RECORDS,
)
