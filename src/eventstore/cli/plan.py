"""`plan`: what a category on Kafka takes, before anything is bought."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Annotated, Final

import typer

from eventstore.capacity import Demand, Plan, warnings
from eventstore.capacity import plan as plan_for
from eventstore.capacity.figures import FIGURES
from eventstore.cli.running import session_of
from eventstore.core.errors import ConfigurationError

_FOREVER: Final = "forever"
_FOREVER_DAYS: Final = 3650.0
_STEP: Final = 1_000
_TWO_DIGITS: Final = 10
_UNITS: Final = ("B", "KB", "MB", "GB", "TB", "PB")
_TIMES: Final = (("days", 86_400), ("h", 3_600), ("min", 60), ("s", 1), ("ms", 0.001))
_GIGA: Final = 1e9
_MEGABIT: Final = 1e6 / 8
_WHAT: Final = {
    "events": "events in the log",
    "partitions": "partitions, for life",
    "processes": "processes that have the log open",
    "brokers": "brokers",
    "log_bytes": "the events topic, one copy",
    "broker_disk_bytes": "disk of each broker",
    "broker_in_bytes": "network into each broker, at the peak",
    "broker_out_bytes": "network out of each broker, at the peak",
    "broker_memory_bytes": "memory of each broker",
    "index_bytes": "disk of each process, for its index",
    "index_per_stream_bytes": "of that for each stream",
    "process_memory_bytes": "memory of each process",
    "index_cache_bytes": "memory beside it, for the index's trees",
    "absent_on_disk": "new streams that are looked up on disk",
    "restore_seconds": "restoring an index",
    "takeover_seconds": "takeover after a kill",
    "cold_takeover_seconds": "takeover if no process has an index",
    "rebuild_seconds": "rebuilding a read model, one process",
    "rebuild_by_two_seconds": "rebuilding a read model, two processes",
    "rewritten_bytes_per_day": "rewritten by each broker's compaction, a day",
    "compaction_seconds": "compaction of everything, every 30 days",
}


def plan(  # noqa: PLR0913 - one parameter per option of the command
    context: typer.Context,
    events_per_second: Annotated[float, typer.Option(help="On average.")],
    event_bytes: Annotated[
        float, typer.Option(help="Of an event with its envelope; 'eventstore rebuild NAME --plan' tells yours.")
    ] = 350,
    peak: Annotated[float, typer.Option(help="The busiest time is so many times the average.")] = 5,
    streams: Annotated[int, typer.Option(help="How many there will be in the end.")] = 1_000_000,
    retention: Annotated[
        str, typer.Option(help="Plan for so many days of events, or 'forever', ten years; none is ever deleted.")
    ] = "365",
    replication: Annotated[int, typer.Option(help="Copies of each partition.")] = 3,
    id_bytes: Annotated[int, typer.Option(help="Of an aggregate's id.")] = 36,
    processes: Annotated[int | None, typer.Option(help="That have the log open; by default as the peak needs.")] = None,
    disk: Annotated[float, typer.Option(help="Gigabytes of each broker's disk.")] = 1_000,
    network: Annotated[float, typer.Option(help="Megabits per second of each broker's network.")] = 1_000,
    session_seconds: Annotated[float, typer.Option(help="KafkaOptions.session_seconds.")] = 6,
    figures: Annotated[bool, typer.Option("--figures", help="Show where the figures come from, too.")] = False,
) -> None:
    """Tell what one category on Kafka takes: partitions, brokers, disks, memory, network and times.

    The figures were measured on two cores; yours differ, and 'python -m benchmarks.capacity' measures them.
    """
    output = session_of(context).output
    demand = Demand(
        events_per_second=events_per_second,
        peak=events_per_second * peak,
        event_bytes=event_bytes,
        streams=streams,
        days=_days(retention),
        id_bytes=id_bytes,
        replication=replication,
        disk_bytes=disk * _GIGA,
        network_bytes=network * _MEGABIT,
        processes=processes,
        session_seconds=session_seconds,
    )
    found = plan_for(demand)
    if output.as_json:
        sources = {"figures": [figure._asdict() for figure in FIGURES]} if figures else {}
        document = {"demand": asdict(demand), "plan": asdict(found), "warnings": warnings(found)}
        output.document({**document, **sources})
        return
    output.rows(
        "plan", ("what", "takes"), [{"what": what, "takes": _shown(found, name)} for name, what in _WHAT.items()]
    )
    output.note(*(f"beware: {line}" for line in warnings(found)))
    if figures:
        output.note("")
        output.note(*(f"{figure.name}: {_count(figure.value)} {figure.unit} ({figure.source})" for figure in FIGURES))


def _days(retention: str) -> float:
    if retention == _FOREVER:
        return _FOREVER_DAYS
    try:
        return float(retention)
    except ValueError:
        message = f"--retention {retention}: give a number of days, or forever"
        raise ConfigurationError(message) from None


def _shown(found: Plan, name: str) -> str:
    value: float = getattr(found, name)
    if name.endswith("_seconds"):
        return _time(value)
    if "bytes" in name:
        return _bytes(value) + ("/s" if name in {"broker_in_bytes", "broker_out_bytes"} else "")
    return f"{value:.2%}" if name == "absent_on_disk" else _count(value)


def _bytes(value: float) -> str:
    power = next((power for power in reversed(range(len(_UNITS))) if value >= _STEP**power), 0)
    scaled = value / _STEP**power
    return f"{scaled:,.0f} {_UNITS[power]}" if scaled >= _TWO_DIGITS or not power else f"{scaled:,.1f} {_UNITS[power]}"


def _time(seconds: float) -> str:
    unit, size = next(((unit, size) for unit, size in _TIMES if seconds >= size), _TIMES[-1])
    return f"{seconds / size:,.1f} {unit}"


def _count(value: float) -> str:
    return f"{value:,.0f}" if value >= _TWO_DIGITS else f"{value:g}"


assert {field.name for field in fields(Plan)} == _WHAT.keys()  # noqa: S101 - a new field needs words
