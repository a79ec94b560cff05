"""What must be true of the events topic after anything at all happened: read and judged without the product's code."""

from __future__ import annotations

import json
import time
from bisect import bisect_left
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple
from uuid import UUID

from tests.topics import read_topic

RETRIED = {"LogUnavailableError", "AppendOutcomeUnknownError", "OwnershipLostError"}
CLAIM = b"\x00claim:"


class Record(NamedTuple):
    """An event that counts, or one that does not."""

    partition: int
    offset: int
    key: bytes
    stream: str
    version: int
    command: UUID
    part: int
    size: int
    by: int = 0


class Claim(NamedTuple):
    """Who claimed a partition; `at` in nanoseconds of the machine's monotonic clock, never too late."""

    offset: int
    owner: str
    at: int = 0

    @property
    def pid(self) -> str:
        return self.owner.split(":")[1]


class Load(NamedTuple):
    """What a process loaded between two moments."""

    pid: str
    since: int
    at: int
    stream: str
    version: int
    total: int
    how: str


@dataclass
class Written:
    """What the topic holds.

    Attributes:
        valid: Events whose lease was in force where they stand, by partition in order.
        void: Late writes.
        claims: Of each partition, in order.
    """

    valid: list[Record] = field(default_factory=list)
    void: list[Record] = field(default_factory=list)
    claims: dict[int, list[Claim]] = field(default_factory=lambda: defaultdict(list))


@dataclass
class Sent:
    """A command as its sender knew it."""

    at: int
    stream: str
    size: int
    expected: int | None


@dataclass
class Evidence:
    """What members said.

    Attributes:
        acks: By command: when, version, partition; repeats included.
    """

    sent: dict[UUID, Sent] = field(default_factory=dict)
    acks: dict[UUID, list[tuple[int, int, str]]] = field(default_factory=lambda: defaultdict(list))
    rejected: set[UUID] = field(default_factory=set)
    refused: set[UUID] = field(default_factory=set)
    loads: list[Load] = field(default_factory=list)
    errors: Tally[str] = field(default_factory=Tally)
    broken: list[str] = field(default_factory=list)

    def hear(self, line: str) -> None:
        """Take a member's line; the last of one that was killed may be cut off."""
        match line.split():
            case ["sent", key, at, stream, size, expected]:
                wanted = None if expected == "-" else int(expected)
                self.sent[UUID(key)] = Sent(int(at), stream, int(size), wanted)
            case ["done", key, at, version, partition]:
                self.acks[UUID(key)].append((int(at), int(version), partition))
            case ["rejected", key, _, _]:
                self.rejected.add(UUID(key))
            case ["refused", key, _]:
                self.refused.add(UUID(key))
            case ["loaded", pid, since, at, stream, version, total, how]:
                self.loads.append(Load(pid, int(since), int(at), stream, int(version), int(total), how))
            case ["failed", _, _, kind] | ["unread", _, kind]:
                self.errors[kind] += 1
            case ["broken", *_]:
                self.broken.append(line)
            case _:
                pass

    def last_ack(self) -> int:
        return max((at for acks in self.acks.values() for at, _, _ in acks), default=0)


def read_events(bootstrap: str, topic: str) -> Written:
    """Read every partition from its beginning to its end, and tell what counts."""
    written, lease = Written(), dict[int, str]()
    since_boot = time.time_ns() - time.monotonic_ns()
    for message in read_topic(bootstrap, topic):
        number, key, headers = message.partition(), message.key(), dict(message.headers() or [])
        if key.startswith(CLAIM):
            lease[number] = key[len(CLAIM) :].decode()
            at = message.timestamp()[1] * 1_000_000 - since_boot
            written.claims[number].append(Claim(message.offset(), json.loads(message.value())["owner"], at))
        elif not key.startswith(b"\x00"):
            name, version, _ = key.decode().rsplit(":", 2)
            part, _, size = headers["part"].decode().partition("/")
            command = UUID(bytes=headers["command_id"])
            by = json.loads(message.value())["data"]["by"]
            record = Record(number, message.offset(), key, name, int(version), command, int(part), int(size), by)
            counts = headers["lease"].decode() == lease.get(number)
            (written.valid if counts else written.void).append(record)
    return written


def violations(written: Written, evidence: Evidence) -> list[str]:
    """Name every broken promise."""
    return [
        *_of_streams(written.valid),
        *_of_commands(written.valid, evidence),
        *_of_answers(written.valid, evidence),
        *_of_time(written.valid, evidence),
        *_of_loads(written, evidence),
        *evidence.broken,
        *(f"{kind} reached a caller" for kind in evidence.errors.keys() - RETRIED),
    ]


def _of_streams(valid: Sequence[Record]) -> Iterator[str]:
    last: dict[str, Record] = {}
    keys: set[bytes] = set()
    for record in valid:
        before = last.get(record.stream)
        if record.version != (before.version if before else 0) + 1:
            yield f"versions are not 1..n: {record} after {before}"
        if before and (before.partition, before.offset) >= (record.partition, record.offset):
            yield f"out of order, or in two partitions: {record} after {before}"
        if before and before.partition != record.partition:
            yield f"a stream in two partitions: {record} after {before}"
        if record.key in keys:
            yield f"a key twice: {record}"
        keys.add(record.key)
        last[record.stream] = record


def _of_commands(valid: Sequence[Record], evidence: Evidence) -> Iterator[str]:
    for command, records in _by_command(valid).items():
        sent = evidence.sent.get(command)
        if sent is None:
            yield f"nobody sent {command}"
            continue
        first = records[0]
        whole = [(first.stream, first.offset + n, first.version + n, n + 1, sent.size) for n in range(sent.size)]
        if [(r.stream, r.offset, r.version, r.part, r.size) for r in records] != whole:
            yield f"{command} is there in part, twice, or torn: {records}"
        if first.stream != sent.stream:
            yield f"{command} was sent to {sent.stream}: {first}"
        if sent.expected is not None and first.version != sent.expected + 1:
            yield f"{command} expected version {sent.expected}: {first}"


def _of_answers(valid: Sequence[Record], evidence: Evidence) -> Iterator[str]:
    commands = _by_command(valid)
    for command, acks in evidence.acks.items():
        there = commands.get(command)
        if there is None:
            yield f"acknowledged and lost: {command}"
        elif {version for _, version, _ in acks} != {there[-1].version}:
            yield f"{command} was acknowledged with {acks}: {there}"
    for command in commands.keys() & evidence.rejected:
        yield f"rejected, and there: {commands[command]}"
    for command in commands.keys() & evidence.refused:
        yield f"'nothing was written', and there: {commands[command]}"


def _of_time(valid: Sequence[Record], evidence: Evidence) -> Iterator[str]:
    """What was acknowledged before a command was sent stands before it in the stream."""
    acks = _acknowledged(valid, evidence)
    for command, records in _by_command(valid).items():
        if sent := evidence.sent.get(command):
            stream, version = records[-1].stream, records[-1].version
            times, highest = acks.get(stream, ([], [0]))
            if (before := highest[bisect_left(times, sent.at)]) > version:
                yield f"{stream}: {command} became version {version} after version {before} had been acknowledged"


def _of_loads(written: Written, evidence: Evidence) -> Iterator[str]:
    """A load is the fold of a prefix that misses nothing: of what was acknowledged before it began if it is
    linearizable, else before its process was deposed, should that have been earlier."""
    totals: dict[str, list[int]] = defaultdict(lambda: [0])
    places: dict[str, int] = {}
    for record in written.valid:
        totals[record.stream].append(totals[record.stream][-1] + record.by)
        places[record.stream] = record.partition
    acks = _acknowledged(written.valid, evidence)
    for load in evidence.loads:
        known = totals[load.stream]
        if load.version >= len(known) or known[load.version] != load.total:
            yield f"no prefix of the stream: {load}"
        claims = written.claims.get(places.get(load.stream, -1), [])
        moment = load.since if load.how == "linearizable" else min(load.since, _deposed(claims, load))
        times, highest = acks.get(load.stream, ([], [0]))
        if load.version < (least := highest[bisect_left(times, moment)]):
            yield f"version {least} had been acknowledged: {load}"


def _deposed(claims: Sequence[Claim], load: Load) -> int:
    """Give when another process claimed what this one had claimed before a load."""
    deposed = load.since
    for claim in reversed([claim for claim in claims if claim.at <= load.since]):
        if claim.pid == load.pid:
            return deposed
        deposed = claim.at
    return load.since


def _acknowledged(valid: Sequence[Record], evidence: Evidence) -> dict[str, tuple[list[int], list[int]]]:
    """Give, of each stream, when something was acknowledged, and the highest version until each of these moments."""
    versions: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for command, records in _by_command(valid).items():
        if command in evidence.acks:
            versions[records[0].stream].append((min(evidence.acks[command])[0], records[-1].version))
    return {
        stream: ([at for at, _ in sorted(acks)], [0, *accumulate((version for _, version in sorted(acks)), max)])
        for stream, acks in versions.items()
    }


def _by_command(valid: Sequence[Record]) -> dict[UUID, list[Record]]:
    commands: dict[UUID, list[Record]] = defaultdict(list)
    for record in valid:
        commands[record.command].append(record)
    return commands
