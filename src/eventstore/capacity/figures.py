"""The figures that capacity is planned with: each was measured, or is Kafka's own, and says where it comes from."""

from __future__ import annotations

from typing import Final, NamedTuple

_MEASURED: Final = "python -m benchmarks.capacity"


class Figure(NamedTuple):
    """One figure.

    Attributes:
        name: What it is.
        value: How much.
        unit: Of the value.
        source: Where it comes from.
    """

    name: str
    value: float
    unit: str
    source: str


RECORD_BYTES: Final = Figure("an event's record beside envelope and id", 216, "bytes", _MEASURED)
INDEX_ROW_BYTES: Final = Figure("an event in the index beside envelope and two ids", 166, "bytes", _MEASURED)
INDEX_TREE_BYTES: Final = Figure("an event in the trees of the index beside the id", 54, "bytes", _MEASURED)
PROCESS_BYTES: Final = Figure("memory of a process, at most, while it restores", 245e6, "bytes", _MEASURED)
START: Final = Figure("processor time of a start", 0.8, "s", _MEASURED)
RESTORED: Final = Figure("events restored with one core", 45_000, "events/s", _MEASURED)
BUILT: Final = Figure(
    "events built into a row each, in SQLite, with one core", 19_000, "events/s",
    f"{_MEASURED}; 60,000 where several events of a batch go into one row, python -m benchmarks.replay_kafka",
)  # fmt: skip
SECOND_BUILDER: Final = Figure(
    "what a second process adds to building", 0.64, "of the first", "python -m benchmarks.replay_kafka"
)
TAKE_OVER: Final = Figure("taking over after the session has expired", 0.2, "s", _MEASURED)
COMMANDS: Final = Figure(
    "commands of one process, 256 callers, 4 partitions", 9_300, "commands/s", "python -m benchmarks.kafka"
)
CLEANED: Final = Figure("bytes that a broker's cleaner rewrites", 55e6, "bytes/s", _MEASURED)
CLEANER_KEYS: Final = Figure(
    "keys in one pass of the cleaner", 5_033_164, "keys",
    "Kafka: log.cleaner.dedupe.buffer.size 128 MiB, load factor 0.9, 24 bytes a key",
)  # fmt: skip
COMPACTED_EVERY: Final = Figure(
    "days until everything is compacted again", 30, "days", "max.compaction.lag.ms, docs/kafka.md"
)
BROKER_HEAP: Final = Figure("a broker's heap", 5e9, "bytes", "Kafka: Hardware and OS")
BUFFERED: Final = Figure("seconds of writes that a broker should hold in memory", 30, "s", "Kafka: Hardware and OS")
FILLED: Final = Figure("of a disk or network that may be used", 0.6, "of 1", "a third is left for growth and repair")
FULL_PROCESS: Final = Figure(
    "of a process's commands that are planned for", 0.5, "of 1", "so that half may die at the peak"
)
FILTER_BITS: Final = Figure("bits of the filter of known streams", 2**25, "bits", "kafka/bloom.py")
FILTER_HASHES: Final = Figure("places of a stream in it", 3, "places", "kafka/bloom.py")
FILTER_CHECKS: Final = Figure(
    "of these as if independent: they overlap", 2.6, "places", "measured: tests/capacity/test_model.py"
)

FIGURES: Final = (
    RECORD_BYTES, INDEX_ROW_BYTES, INDEX_TREE_BYTES, PROCESS_BYTES, START, RESTORED, BUILT, SECOND_BUILDER, TAKE_OVER,
    COMMANDS, CLEANED, CLEANER_KEYS, COMPACTED_EVERY, BROKER_HEAP, BUFFERED, FILLED, FULL_PROCESS,
    FILTER_BITS, FILTER_HASHES, FILTER_CHECKS,
)  # fmt: skip
