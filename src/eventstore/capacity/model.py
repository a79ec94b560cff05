"""What a log on Kafka takes: a model without clock, network or driver, held to what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, exp, pow  # noqa: A004 - the built-in one may give complex numbers
from typing import Final

from eventstore.capacity import figures
from eventstore.core.errors import ConfigurationError

_DAY_SECONDS: Final = 86_400
_PARTITIONS_PER_PROCESS: Final = 4
"""The number of partitions is for life: so many times as many processes can share them one day."""
_PARTITIONS_STEP: Final = 12
"""Twelve are dealt out evenly to 2, 3, 4, 6 and 12 processes."""
_LEAST_PROCESSES: Final = 2
_LONG_RESTORE_SECONDS: Final = 3_600
_LONG_COMPACTION_SECONDS: Final = 86_400
_MANY_ON_DISK: Final = 0.1


@dataclass(frozen=True, slots=True)
class Demand:
    """What is asked of one category.

    Attributes:
        events_per_second: On average.
        peak: At the busiest time.
        event_bytes: Of an envelope; `eventstore rebuild NAME --plan` tells events and bytes.
        streams: How many there are in the end.
        days: How long events are written until then; none is ever deleted.
        id_bytes: Of an aggregate's id; 36 for a UUID.
        replication: Copies of each partition.
        disk_bytes: Of each broker.
        network_bytes: That each broker's network carries, per second and direction.
        processes: That have the log open; None for as many as the peak takes, and one more.
        session_seconds: `KafkaOptions.session_seconds`.

    Raises:
        ConfigurationError: A value makes no sense.
    """

    events_per_second: float
    peak: float
    event_bytes: float
    streams: int
    days: float
    id_bytes: int = 36
    replication: int = 3
    disk_bytes: float = 1e12
    network_bytes: float = 125e6
    processes: int | None = None
    session_seconds: float = 6.0

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        for name in self.__slots__:
            value = getattr(self, name)
            if value is not None and value <= 0:
                message = f"{name} is {value:g}: give a number above 0"
                raise ConfigurationError(message)
        if self.peak < self.events_per_second:
            message = f"the peak, {self.peak:g} events/s, is below the average, {self.events_per_second:g}: raise it"
            raise ConfigurationError(message)

    @property
    def events(self) -> float:
        """How many events there are in the end."""
        return self.events_per_second * _DAY_SECONDS * self.days


@dataclass(frozen=True, slots=True)
class Plan:
    """What it takes; bytes and seconds, at the end of the planned time.

    Attributes:
        events: In the log.
        partitions: Of the category's topics, fixed for life.
        processes: That have the log open.
        brokers: At least as many as copies.
        log_bytes: Of the events topic, one copy.
        broker_disk_bytes: Of each broker, filled as far as is sound.
        broker_in_bytes: Over each broker's network per second at the peak.
        broker_out_bytes: Likewise: to replicas, and to every process's index.
        broker_memory_bytes: Heap, and cache for half a minute of writes.
        index_bytes: On the disk of each process.
        index_per_stream_bytes: Of that, per stream.
        process_memory_bytes: Of each process, at most, while it restores.
        index_cache_bytes: That the operating system should have left beside it: the index's trees.
        absent_on_disk: Share of look-ups of new streams that memory does not answer.
        restore_seconds: To make an index from the topic, with a core of its own.
        takeover_seconds: From a kill until others serve, with an index that is up to date, as each process has.
        cold_takeover_seconds: With no process left that has an index.
        rebuild_seconds: To build a read model in which each event of a batch changes another row, by one process with
            a core of its own.
        rebuild_by_two_seconds: By two.
        rewritten_bytes_per_day: By each broker's cleaner, on average.
        compaction_seconds: That a cleaner works whenever everything is compacted again.
    """

    events: float
    partitions: int
    processes: int
    brokers: int
    log_bytes: float
    broker_disk_bytes: float
    broker_in_bytes: float
    broker_out_bytes: float
    broker_memory_bytes: float
    index_bytes: float
    index_per_stream_bytes: float
    process_memory_bytes: float
    index_cache_bytes: float
    absent_on_disk: float
    restore_seconds: float
    takeover_seconds: float
    cold_takeover_seconds: float
    rebuild_seconds: float
    rebuild_by_two_seconds: float
    rewritten_bytes_per_day: float
    compaction_seconds: float


def plan(demand: Demand) -> Plan:
    """Tell what a demand takes; more of anything never takes less of the whole.

    Args:
        demand: What is asked.

    Returns:
        What it takes.
    """
    events, record = demand.events, record_bytes(demand.event_bytes, demand.id_bytes)
    processes = demand.processes or processes_for(demand.peak)
    log = events * record
    copies = log * demand.replication
    written = demand.peak * record
    traffic_in, traffic_out = written * demand.replication, written * (demand.replication - 1 + processes)
    brokers = max(
        demand.replication,
        ceil(copies / (demand.disk_bytes * figures.FILLED.value)),
        ceil(max(traffic_in, traffic_out) / (demand.network_bytes * figures.FILLED.value)),
    )
    partitions = partitions_for(processes)
    index = index_bytes(events, demand.event_bytes, demand.id_bytes)
    takeover = demand.session_seconds + figures.TAKE_OVER.value
    restore = figures.START.value + events / figures.RESTORED.value
    rebuild = figures.START.value + events / figures.BUILT.value
    rewritten = rewritten_bytes(log, events_per_cycle(demand), partitions) * demand.replication / brokers
    return Plan(
        events=events,
        partitions=partitions,
        processes=processes,
        brokers=brokers,
        log_bytes=log,
        broker_disk_bytes=copies / brokers / figures.FILLED.value,
        broker_in_bytes=traffic_in / brokers,
        broker_out_bytes=traffic_out / brokers,
        broker_memory_bytes=figures.BROKER_HEAP.value + traffic_in / brokers * figures.BUFFERED.value,
        index_bytes=index,
        index_per_stream_bytes=index / demand.streams,
        process_memory_bytes=figures.PROCESS_BYTES.value,
        index_cache_bytes=events * (figures.INDEX_TREE_BYTES.value + demand.id_bytes),
        absent_on_disk=absent_on_disk(demand.streams),
        restore_seconds=restore,
        takeover_seconds=takeover,
        cold_takeover_seconds=takeover + restore,
        rebuild_seconds=rebuild,
        rebuild_by_two_seconds=rebuild / (1 + figures.SECOND_BUILDER.value),
        rewritten_bytes_per_day=rewritten / figures.COMPACTED_EVERY.value,
        compaction_seconds=rewritten / figures.CLEANED.value,
    )


def warnings(found: Plan) -> list[str]:
    """Tell what of a plan makes operations hard, and what to do about it.

    Args:
        found: The plan.
    """
    told: list[str] = []
    if found.restore_seconds > _LONG_RESTORE_SECONDS:
        told.append(
            "a process without an index is not ready for more than an hour: keep KafkaOptions.directory on disks that "
            "outlive processes, or split the application by category, since each process holds all events of its own"
        )
    if found.compaction_seconds > _LONG_COMPACTION_SECONDS:
        told.append("compaction takes more than a day: give the brokers more log.cleaner.threads and a larger buffer")
    if found.absent_on_disk > _MANY_ON_DISK:
        told.append("one in ten new streams or more is looked up on disk: creating them takes longer")
    return told


def record_bytes(event_bytes: float, id_bytes: int) -> float:
    """Give the bytes of an event in its topic.

    Args:
        event_bytes: Of the envelope.
        id_bytes: Of the aggregate's id.
    """
    return event_bytes + id_bytes + figures.RECORD_BYTES.value


def index_bytes(events: float, event_bytes: float, id_bytes: int) -> float:
    """Give the bytes of an index; a stream's name is in the row and in the tree of streams.

    Args:
        events: In the log.
        event_bytes: Of an envelope.
        id_bytes: Of an aggregate's id.
    """
    return events * (event_bytes + 2 * id_bytes + figures.INDEX_ROW_BYTES.value)


def absent_on_disk(streams: float) -> float:
    """Give the share of look-ups of streams that do not exist which the filter in memory does not answer.

    Args:
        streams: How many exist.
    """
    filled = 1 - exp(-figures.FILTER_HASHES.value * streams / figures.FILTER_BITS.value)
    return pow(filled, figures.FILTER_CHECKS.value)


def processes_for(peak: float) -> int:
    """Give how many processes execute so many commands with room to spare, and one more.

    Args:
        peak: Events per second, one to a command.
    """
    return max(_LEAST_PROCESSES, ceil(peak / (figures.COMMANDS.value * figures.FULL_PROCESS.value)) + 1)


def partitions_for(processes: int) -> int:
    """Give a number of partitions that lasts and is dealt out evenly.

    Args:
        processes: That share them to begin with.
    """
    return _PARTITIONS_STEP * ceil(processes * _PARTITIONS_PER_PROCESS / _PARTITIONS_STEP)


def events_per_cycle(demand: Demand) -> float:
    """Give the events that are new whenever everything is compacted again.

    Args:
        demand: What is asked.
    """
    return demand.events_per_second * _DAY_SECONDS * min(demand.days, figures.COMPACTED_EVERY.value)


def rewritten_bytes(log_bytes: float, new_events: float, partitions: int) -> float:
    """Give what compacting all of a topic once rewrites at most: each pass copies what is before its keys as well.

    Args:
        log_bytes: Of the topic, one copy.
        new_events: Since the last time.
        partitions: Among which they are spread.
    """
    passes = ceil(new_events / partitions / figures.CLEANER_KEYS.value)
    return log_bytes * passes
