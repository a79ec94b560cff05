"""Measure both sides in turns and print figures with ratios: `python -m benchmarks.peer --help`.

Each measurement runs in a fresh process, the two sides alternate within every round and swap who goes first, and a
ratio is taken per round, so that a machine that slows down for a while slows both.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.peer import workload
from benchmarks.peer.isolation import isolated

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.peer.contract import Replay

OURS = "eventstore"
PEER = "eventsourcing"


@dataclass(frozen=True)
class Wanted:
    """What the command line asked for."""

    sides: tuple[str, ...]
    measures: tuple[str, ...]
    rounds: int
    replay_rounds: int
    commands: int
    callers: int
    stream_events: int
    loads: int
    history_events: int


@dataclass(frozen=True)
class Measure:
    """One figure: how it is taken in one round, and the ratio we promise to reach."""

    name: str
    unit: str
    higher_is_better: bool
    promised: float
    rounds: int
    take: Callable[[str, int], float]


class Measures:
    """Takes every figure in one directory and keeps what the replays said about memory.

    Args:
        directory: Where the databases go; it should be on the disk whose durability is meant.
        wanted: Sizes and rounds.
    """

    def __init__(self, directory: Path, wanted: Wanted) -> None:
        self.memory: dict[str, list[dict[str, float]]] = {}
        self._directory = directory
        self._wanted = wanted

    def chosen(self) -> list[Measure]:
        """List the figures that were asked for, in the order in which they are taken."""
        rounds = self._wanted.rounds
        known = [
            Measure("append", "commands/s", True, 5.0, rounds, self._append),
            Measure("rehydrate", "ms per load", False, 5.0, rounds, self._rehydrate),
            Measure("replay", "events/s", True, 15.0, self._wanted.replay_rounds, self._replay),
        ]
        return [measure for measure in known if measure.name in self._wanted.measures]

    def _append(self, name: str, round_number: int) -> float:
        path = self._directory / f"{name}-append-{round_number}.db"
        seconds = float(isolated(name, "append_concurrent", path, self._wanted.commands, self._wanted.callers))
        return self._wanted.commands / seconds

    def _rehydrate(self, name: str, _round_number: int) -> float:
        path, events = self._directory / f"{name}-stream.db", self._wanted.stream_events
        if not path.exists():
            isolated(name, "prepare_stream", path, events)
        return float(isolated(name, "rehydrate", path, events, self._wanted.loads)) * 1e3

    def _replay(self, name: str, _round_number: int) -> float:
        path, events = self._directory / f"{name}-history.db", self._wanted.history_events
        if not path.exists():
            say(f"  {name}: writing {events:,} events (not timed)")
            isolated(name, "prepare_history", path, events)
        outcome: Replay = isolated(name, "replay", path, events)
        expected = workload.digest(workload.expected_rows(events))
        if outcome.digest != expected:
            message = f"{name}: the {outcome.rows:,} rows are not the ones an independent fold gives"
            raise AssertionError(message)
        self.memory.setdefault(name, []).append(memory_figures(outcome.rss))
        return events / outcome.seconds


def memory_figures(rss: Sequence[int]) -> dict[str, float]:
    """Sum up a replay's memory: its peak, and how much the last quarter holds over the second one."""
    quarter = max(len(rss) // 4, 1)
    second, last = rss[quarter : 2 * quarter] or rss, rss[-quarter:]
    return {
        "peak_mib": round(max(rss) / 2**20, 1),
        "growth": round(statistics.mean(last) / statistics.mean(second), 3),
    }


def take_in_turns(measure: Measure, sides: Sequence[str]) -> dict[str, list[float]]:
    """Take one figure of every side, round by round, the sides swapping who goes first."""
    figures: dict[str, list[float]] = {name: [] for name in sides}
    for round_number in range(measure.rounds):
        for name in sides if round_number % 2 == 0 else tuple(reversed(sides)):
            figures[name].append(measure.take(name, round_number))
            say(f"  round {round_number + 1} {name}: {figures[name][-1]:,.1f} {measure.unit}")
    return figures


def summary(measure: Measure, figures: dict[str, list[float]]) -> dict[str, Any]:
    """Give medians and, with both sides present, how many times better ours is: per round, then the median."""
    found: dict[str, Any] = {
        "unit": measure.unit,
        "median": {name: round(statistics.median(values), 2) for name, values in figures.items()},
        "rounds": {name: [round(value, 2) for value in values] for name, values in figures.items()},
    }
    if OURS in figures and PEER in figures:
        pairs = zip(figures[OURS], figures[PEER], strict=True)
        ratios = [ours / peer if measure.higher_is_better else peer / ours for ours, peer in pairs]
        found |= {"ratio": round(statistics.median(ratios), 2), "ratio_min": round(min(ratios), 2)}
        found |= {"ratio_max": round(max(ratios), 2), "promised": measure.promised}
        found["kept"] = found["ratio"] >= measure.promised
    return found


def run(wanted: Wanted, directory: Path) -> dict[str, Any]:
    """Take everything that was asked for; the result is plain data."""
    measures = Measures(directory, wanted)
    report: dict[str, Any] = {"versions": {}, "durability": {}}
    for name in wanted.sides:
        report["versions"][name] = isolated(name, "version")
        report["durability"][name] = isolated(name, "durability", directory / f"{name}-durability.db")
        say(f"{report['versions'][name]}: {report['durability'][name]}")
    for measure in measures.chosen():
        say(f"{measure.name} ({measure.unit})")
        report[measure.name] = summary(measure, take_in_turns(measure, wanted.sides))
        say(f"  {report[measure.name]}")
    report["replay_memory"] = measures.memory
    return report


def say(line: str) -> None:
    """Show progress on standard error, so that standard output stays one JSON document."""
    print(line, file=sys.stderr, flush=True)


def parsed(arguments: Sequence[str] | None = None) -> tuple[Wanted, Path | None]:
    """Read the command line; its defaults are the sizes the project promises figures for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peer", description="Both sides, in turns.")
    parser.add_argument("--side", choices=[OURS, PEER], action="append", help="only this side (default: both)")
    parser.add_argument("--only", choices=["append", "rehydrate", "replay"], action="append", help="only this figure")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--replay-rounds", type=int, default=3)
    parser.add_argument("--commands", type=int, default=4096)
    parser.add_argument("--callers", type=int, default=256)
    parser.add_argument("--stream-events", type=int, default=1000)
    parser.add_argument("--loads", type=int, default=50)
    parser.add_argument("--history-events", type=int, default=1_000_000)
    parser.add_argument("--directory", type=Path, help="where the databases go (default: a temporary directory)")
    given = parser.parse_args(arguments)
    wanted = Wanted(
        sides=tuple(given.side or (PEER, OURS)),
        measures=tuple(given.only or ("append", "rehydrate", "replay")),
        rounds=given.rounds,
        replay_rounds=given.replay_rounds,
        commands=given.commands,
        callers=given.callers,
        stream_events=given.stream_events,
        loads=given.loads,
        history_events=given.history_events,
    )
    return wanted, given.directory


def main() -> int:
    """Run, print the report as JSON, and say with the exit code whether every promised ratio was reached."""
    wanted, parent = parsed()
    for name in wanted.sides:
        if find_spec(f"benchmarks.peer.{name}_side") is None:
            say(f"benchmarks/peer/{name}_side.py does not exist yet: measure the other side with --side")
            return 2
    with tempfile.TemporaryDirectory(dir=parent) as directory:
        report = run(wanted, Path(directory))
    print(json.dumps(report, indent=2))
    return 0 if all(report[name].get("kept", True) for name in wanted.measures) else 1


if __name__ == "__main__":
    sys.exit(main())
