"""What millions of events take: `python -m benchmarks.capacity --events 10000000`; figures go to `capacity.json`.

One node of Apache Kafka, four partitions, ten events of the task domain per stream, each a command of its own. The
lives of 20,000 tasks overlap at any time. Every phase is a process of its own, so that its memory is its own. With
`--keep` the phases can be run one after the other, as the machine is free.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from benchmarks.capacity_history import EVENTS_PER_STREAM, commits
from benchmarks.capacity_member import PARTITIONS, PREFIX
from eventstore.testing.kafka import KafkaCluster

RESULTS: Final = Path(__file__).with_name("capacity.json")
_TOPIC: Final = f"{PREFIX}.task.events"
_CLEANER: Final = {"log.cleaner.dedupe.buffer.size": f"{128 * 1024 * 1024}", "log.cleaner.backoff.ms": "1000"}
"""The buffer is Kafka's default, of which brokers for tests have an eighth."""
_COMPACT_NOW: Final = {
    "segment.ms": "1000", "min.compaction.lag.ms": "0", "min.cleanable.dirty.ratio": "0", "max.compaction.lag.ms": "1000",
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """A broker, its data, and where indexes are."""

    bootstrap: str
    data: Path
    indexes: Path

    @contextmanager
    def process(self, phase: str, index: str, number: int = 0) -> Generator[Process]:
        """Run a phase in a process."""
        command = [sys.executable, "-m", "benchmarks.capacity_member", phase, self.bootstrap]
        with subprocess.Popen(
            [*command, str(self.indexes / index), str(number)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as running:  # fmt: skip
            yield Process(running)

    def done(self, phase: str, index: str, number: int = 0) -> dict[str, Any]:
        """Run a phase to its end and give what it says."""
        with self.process(phase, index, number) as process:
            return process.hear()

    def topic_bytes(self) -> int:
        """Give the size of the events topic's segments."""
        return sum(path.stat().st_size for path in self.data.glob(f"{_TOPIC}-*/*.log"))

    def index_file(self, index: str) -> Path:
        """Give the file of an index."""
        return self.indexes / index / f"{PREFIX}.0.db"


@dataclass(frozen=True)
class Process:
    """One that runs."""

    running: subprocess.Popen[str]

    def hear(self) -> dict[str, Any]:
        """Give its next line."""
        assert self.running.stdout is not None
        line = self.running.stdout.readline()
        assert line, f"the process ended with {self.running.wait()}"
        found: dict[str, Any] = json.loads(line)
        return found

    def ask(self) -> float:
        """Let it execute a command in every partition; gives the seconds."""
        assert self.running.stdin is not None
        started = time.perf_counter()
        self.running.stdin.write("\n")
        self.running.stdin.flush()
        self.hear()
        return time.perf_counter() - started


def write(place: Place, events: int) -> dict[str, Any]:
    """Write the history; what it takes on the broker."""
    said = place.done("write", "none", events)
    return {"appended_per_second": round(events / said["seconds"]), "topic_bytes": place.topic_bytes()}


def index_parts(path: Path) -> dict[str, int]:
    """Give the bytes of the index file's trees, which every command looks into."""
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT name, SUM(pgsize) FROM dbstat WHERE name LIKE 'events%' GROUP BY name"
        sizes: dict[str, int] = dict(connection.execute(query).fetchall())
    return {"tree_bytes": sizes["events_by_stream"] + sizes["events_by_command"]}


def restore(place: Place, events: int) -> dict[str, Any]:
    """Make an index from nothing, and see that everything is in it."""
    shutil.rmtree(place.indexes / "second", ignore_errors=True)
    said = place.done("restore", "second")
    with closing(sqlite3.connect(place.index_file("second"))) as connection:
        found, streams = connection.execute(
            "SELECT COUNT(*), COUNT(*) FILTER (WHERE version = 1) FROM events WHERE stream NOT LIKE '%-%-%-%-%-%-%'"
        ).fetchone()
    assert found >= events, f"{found} of {events} events were restored"
    assert streams >= events // EVENTS_PER_STREAM
    return {
        "restore_seconds": round(said["seconds"], 2),
        "restored_per_second": round(events / said["seconds"]),
        "restore_processor_seconds": round(said["processor_seconds"], 2),
        "index_bytes": place.index_file("second").stat().st_size,
        **index_parts(place.index_file("second")),
        "restore_peak_bytes": said["peak_bytes"],
    }


def take_over(place: Place, _: int) -> dict[str, Any]:
    """Kill owners with -9, until a command was executed in every partition: by one that stood by, by a restarted one."""
    shutil.rmtree(place.indexes / "first", ignore_errors=True)
    shutil.copytree(place.indexes / "second", place.indexes / "first")
    with place.process("own", "first", PARTITIONS) as first:
        first.hear()
        with place.process("own", "second", PARTITIONS // 2) as second:
            said = second.hear()
            second.ask()
            first.running.kill()
            standby = second.ask()
            second.running.kill()
    shutil.rmtree(place.indexes / "first")
    started = time.perf_counter()
    with place.process("own", "second", PARTITIONS) as third:
        third.hear()
        third.ask()
        restarted = time.perf_counter() - started
        third.running.kill()
    return {
        "takeover_standby_seconds": round(standby, 2),
        "takeover_restarted_seconds": round(restarted, 2),
        "owner_resident_bytes": said["resident_bytes"],
    }


def take_over_cold(place: Place, _: int) -> dict[str, Any]:
    """Kill the only owner, and begin with a process that has no index."""
    shutil.rmtree(place.indexes / "third", ignore_errors=True)
    with place.process("own", "second", PARTITIONS) as only:
        only.hear()
        only.running.kill()
    started = time.perf_counter()
    with place.process("own", "third", PARTITIONS) as process:
        said = process.hear()
        process.ask()
        seconds = time.perf_counter() - started
        process.running.kill()
    shutil.rmtree(place.indexes / "third")
    return {
        "takeover_without_index_seconds": round(seconds, 2),
        "takeover_without_index_processor_seconds": round(said["processor_seconds"], 2),
    }


def build(place: Place, events: int) -> dict[str, Any]:
    """Build a read model with a row per task."""
    for path in (place.indexes / "second").glob("rows.db*"):
        path.unlink()
    said = place.done("build", "second")
    return {
        "build_seconds": round(said["seconds"], 2),
        "built_per_second": round(events / said["seconds"]),
        "build_processor_seconds": round(said["processor_seconds"], 2),
        "build_peak_bytes": said["peak_bytes"],
        "read_model_bytes": (place.indexes / "second" / "rows.db").stat().st_size,
    }


def rebuild(place: Place, events: int) -> dict[str, Any]:
    """Build its next version beside it, and compare both row by row before the switch."""
    said = place.done("rebuild", "second")
    return {
        "rebuild_seconds": round(said["seconds"], 2),
        "rebuilt_and_compared_per_second": round(events / said["seconds"]),
        "rebuild_processor_seconds": round(said["processor_seconds"], 2),
        "rebuild_peak_bytes": said["peak_bytes"],
    }


def back_up(place: Place, _: int) -> dict[str, Any]:
    """Export everything, and import it into another log."""
    said = place.done("back_up", "second")
    for path in (place.indexes / "second").glob(f"{PREFIX}-again*"):
        path.unlink()
    (place.indexes / "second" / "backup.jsonl").unlink()
    return {
        "exported_per_second": round(said["count"] / said["exported"]),
        "imported_per_second": round(said["count"] / said["imported"]),
        "export_bytes": said["bytes"],
        "back_up_peak_bytes": said["peak_bytes"],
    }


def compact(place: Place, _: int) -> dict[str, Any]:
    """Make the broker compact everything."""
    before = place.topic_bytes()
    alter(place.bootstrap, _COMPACT_NOW)
    started = time.perf_counter()
    with place.process("own", "second", PARTITIONS) as process:
        process.hear()
        ends = {path.parent.name: int(path.stem) for path in newest_segments(place.data)}
        while any(int(path.stem) <= ends[path.parent.name] for path in newest_segments(place.data)):
            time.sleep(1.1)  # the next append after a second begins a segment; only older ones are compacted
            process.ask()
        targets = {path.parent.name: int(path.stem) for path in newest_segments(place.data)}
        while any(cleaned(place.data).get(name, 0) < target for name, target in targets.items()):
            time.sleep(0.2)
        process.running.kill()
    return {
        "bytes_before_compaction": before,
        "compacted_bytes": place.topic_bytes(),
        "compaction_seconds": round(time.perf_counter() - started, 1),
        "cleaner_bytes_per_second": cleaner_rate(place.data.parent / "server.log"),
    }


def prove(place: Place, events: int) -> dict[str, Any]:
    """See that nothing is gone after the compaction."""
    return {"restored_after_compaction_per_second": restore(place, events)["restored_per_second"]}


def newest_segments(data: Path) -> list[Path]:
    """Give the segment of each partition that is written to."""
    return [max(directory.glob("*.log")) for directory in data.glob(f"{_TOPIC}-*")]


def cleaned(data: Path) -> dict[str, int]:
    """Tell up to where each partition was compacted, from the broker's own note."""
    try:
        lines = (data / "cleaner-offset-checkpoint").read_text().splitlines()[2:]
    except FileNotFoundError:
        return {}
    rows = (line.split() for line in lines)
    return {f"{topic}-{number}": int(offset) for topic, number, offset in rows}


def cleaner_rate(log: Path) -> int:
    """Give the bytes that the cleaner rewrote per second, from what it logged about its largest pass."""
    passes = re.findall(r"Cleaned ([\d,.]+) MB in ([\d,.]+) seconds", log.read_text())
    megabytes, seconds = max((float(mb.replace(",", "")), float(s.replace(",", ""))) for mb, s in passes)
    return round(megabytes * 2**20 / seconds)


def alter(bootstrap: str, settings: dict[str, str]) -> None:
    """Change the events topic's settings."""
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in settings.items()
    ]
    resource = ConfigResource("topic", _TOPIC, incremental_configs=entries)
    client = AdminClient({"bootstrap.servers": bootstrap})
    client.incremental_alter_configs([resource])[resource].result()


PHASES: Final[dict[str, Callable[[Place, int], dict[str, Any]]]] = {
    "write": write,
    "restore": restore,
    "takeover": take_over,
    "cold": take_over_cold,
    "build": build,
    "rebuild": rebuild,
    "backup": back_up,
    "compact": compact,
    "prove": prove,
}


def sample(events: int) -> dict[str, float]:
    """Give how large envelopes and ids are."""
    history = [*islice(commits(min(events, 200_000)), 0, None, 97)]
    envelopes = [len(commit.events[0].envelope) for commit in history]
    return {
        "envelope_bytes": round(sum(envelopes) / len(envelopes), 1),
        "id_bytes": len(history[0].stream.partition("-")[2]),
    }


def record(events: int, found: dict[str, Any]) -> None:
    """Add figures to those of the same size."""
    known: dict[str, dict[str, Any]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    common = {"events": events, "streams": events // EVENTS_PER_STREAM, "partitions": PARTITIONS, **sample(events)}
    known[f"{events}"] = {**common, **known.get(f"{events}", {}), **found}
    ordered = dict(sorted(known.items(), key=lambda item: int(item[0])))
    RESULTS.write_text(json.dumps(ordered, indent=2) + "\n")


def main() -> int:
    """Run phases, print and record their figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity", description=__doc__)
    parser.add_argument("--events", type=int, default=100_000, help="ten to a stream")
    parser.add_argument("--phase", action="append", choices=PHASES, help="only this one; can be repeated")
    parser.add_argument("--keep", type=Path, help="where the broker's data and the indexes stay between phases")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        directory: Path = arguments.keep or Path(temporary)
        with KafkaCluster(settings=_CLEANER, directory=directory / "kafka") as cluster:
            place = Place(cluster.bootstrap, directory / "kafka" / "node-1" / "data", directory)
            for phase in arguments.phase or PHASES:
                found = PHASES[phase](place, arguments.events)
                print(json.dumps({phase: found}, indent=2), flush=True)
                record(arguments.events, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
