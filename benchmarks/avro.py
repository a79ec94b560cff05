"""What Avro costs above the Avro library: `python -m benchmarks.avro`. Ratios of one run, in turns.

The library gets ready dictionaries and the whole envelope's schema, as one would use it alone; the store starts from an
event and ends with one, checked by its class. Both write the same bytes.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from statistics import geometric_mean, median
from typing import Any

import fastavro

from eventstore import Event
from eventstore.core.envelope import Metadata, write_envelope
from eventstore.core.ids import uuid7
from eventstore.core.records import StreamEvent
from eventstore.core.registry import TypeRegistry
from eventstore.schema import AvroCodec
from eventstore.schema.envelope import derive
from examples.task_domain import events as tasks

DUE = date(2026, 1, 15)
EVENTS: tuple[Event, ...] = (
    tasks.TaskCreated(title="write the report", due=DUE),
    tasks.TaskAssigned(assignee="ann", previous="ben"),
    tasks.TaskUpdated(title="write the whole report"),
    tasks.TaskCompleted(assignee="ann", due=DUE),
    tasks.TaskReopened(assignee="ann", due=DUE),
    tasks.TaskEscalated(day=DUE),
    tasks.TaskDeleted(assignee="ann", due=None, was_done=False),
    tasks.DayEnded(day=DUE),
)
EVENT_ID, COMMAND_ID = uuid7(1_700_000_000_000, 1), uuid7(1_700_000_000_000, 2)
NOW, METADATA = datetime(2026, 1, 2, 3, 4, 5, 678, UTC), Metadata(COMMAND_ID, COMMAND_ID)


class Contest:
    """One event class, written and read by the library alone, by the codec, and as JSON."""

    def __init__(self, event: Event) -> None:
        cls, self.event = type(event), event
        self.derived = derive(cls)
        self.schema: Any = fastavro.parse_schema(self.derived.schema)
        self.codec = AvroCodec("http://localhost")
        self.codec.adopt(self.derived, 1)
        self.registry = TypeRegistry([cls], self.codec)
        self.plain = TypeRegistry([cls])
        self.ready: dict[str, Any] = {
            "event_id": EVENT_ID,
            "event_type": cls.event_type,
            "occurred_at": NOW,
            "data": dict(event),
            "metadata": {"correlation_id": COMMAND_ID, "causation_id": COMMAND_ID},
        }
        self.avro = self.stored(self.write_codec())
        self.json = self.stored(self.write_json())
        self.body = self.avro.envelope[5:]
        assert self.write_library() == self.body
        assert self.read_library() == self.ready
        assert self.read_codec() == self.read_json() == event

    def stored(self, envelope: bytes) -> StreamEvent:
        return StreamEvent(1, self.event.event_type, 1, 0, envelope)

    def write_library(self) -> bytes:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, self.schema, self.ready)
        return out.getvalue()

    def write_codec(self) -> bytes:
        return self.codec.encode(self.event, EVENT_ID, NOW, METADATA)

    def write_json(self) -> bytes:
        return write_envelope(self.event, EVENT_ID, NOW, METADATA)

    def read_library(self) -> object:
        return fastavro.schemaless_reader(io.BytesIO(self.body), self.schema, None)

    def read_codec(self) -> Event:
        return self.registry.decode(self.avro, "task-1")

    def read_json(self) -> Event:
        return self.plain.decode(self.json, "task-1")


def seconds(work: Callable[[], object], times: int) -> float:
    """Give the seconds of one call."""
    started = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - started) / times


def measure(contest: Contest, rounds: int, times: int) -> dict[str, Any]:
    """Give the median of the ratios of rounds in which everybody had a turn."""
    found: dict[str, list[float]] = {"encode": [], "decode": [], "encode_json": [], "decode_json": []}
    for _ in range(rounds):
        write, read = seconds(contest.write_library, times), seconds(contest.read_library, times)
        found["encode"].append(seconds(contest.write_codec, times) / write)
        found["decode"].append(seconds(contest.read_codec, times) / read)
        found["encode_json"].append(seconds(contest.write_json, times) / write)
        found["decode_json"].append(seconds(contest.read_json, times) / read)
    sizes = {"bytes": len(contest.avro.envelope), "bytes_json": len(contest.json.envelope)}
    return {
        "event": contest.event.event_type,
        **{name: round(median(all_), 2) for name, all_ in found.items()},
        **sizes,
    }


def main() -> None:
    """Print a line per event, and the mean."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--times", type=int, default=2_000)
    given = parser.parse_args()
    results = [measure(Contest(event), given.rounds, given.times) for event in EVENTS]
    for result in results:
        print(json.dumps(result))
    means = {name: round(geometric_mean(r[name] for r in results), 2) for name in ("encode", "decode")}
    print(json.dumps({"all events, as a multiple of fastavro alone": means, "limit": 1.5}))


if __name__ == "__main__":
    main()
