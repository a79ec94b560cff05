"""What must be true of the events topic after anything at all happened: read and judged without the product's code."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from confluent_kafka import Consumer, TopicPartition

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


@dataclass
class Written:
    """What the topic holds.

    Attributes:
        valid: Events whose lease was in force where they stand, by partition in order.
        void: Late writes.
        claims: Of each partition: offset and owner.
    """

    valid: list[Record] = field(default_factory=list)
    void: list[Record] = field(default_factory=list)
    claims: dict[int, list[tuple[int, str]]] = field(default_factory=lambda: defaultdict(list))


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
            case ["failed", _, _, kind]:
                self.errors[kind] += 1
            case ["broken", *_]:
                self.broken.append(line)
            case _:
                pass

    def last_ack(self) -> int:
        return max((at for acks in self.acks.values() for at, _, _ in acks), default=0)


def read_topic(bootstrap: str, topic: str) -> Written:
    """Read every partition from its beginning to its end."""
    consumer = Consumer({
        "bootstrap.servers": bootstrap, "group.id": "judge", "enable.auto.commit": False,
        "enable.partition.eof": True, "isolation.level": "read_uncommitted", "auto.offset.reset": "error",
    })  # fmt: skip
    written, lease = Written(), dict[int, str]()
    try:
        numbers = sorted(consumer.list_topics(topic, timeout=30).topics[topic].partitions)
        assert numbers, f"{topic} has no partitions"
        consumer.assign([TopicPartition(topic, number, 0) for number in numbers])
        unread = set(numbers)
        while unread:
            message = consumer.poll(30)
            assert message is not None, f"{topic} could not be read to its end"
            number = message.partition()
            if message.error() is not None:
                if message.error().name() == "_PARTITION_EOF":
                    unread.discard(number)
                continue
            key, headers = message.key(), dict(message.headers() or [])
            if key.startswith(CLAIM):
                lease[number] = key[len(CLAIM) :].decode()
                written.claims[number].append((message.offset(), json.loads(message.value())["owner"]))
            elif not key.startswith(b"\x00"):
                name, version, _ = key.decode().rsplit(":", 2)
                part, _, size = headers["part"].decode().partition("/")
                command = UUID(bytes=headers["command_id"])
                record = Record(number, message.offset(), key, name, int(version), command, int(part), int(size))
                counts = headers["lease"].decode() == lease.get(number)
                (written.valid if counts else written.void).append(record)
    finally:
        consumer.close()
    return written


def violations(written: Written, evidence: Evidence) -> list[str]:
    """Name every broken promise."""
    return [
        *_of_streams(written.valid),
        *_of_commands(written.valid, evidence),
        *_of_answers(written.valid, evidence),
        *_of_time(written.valid, evidence),
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
    streams: dict[str, list[tuple[int, UUID]]] = defaultdict(list)
    for command, records in _by_command(valid).items():
        streams[records[0].stream].append((records[0].version, command))
    for stream, commands in streams.items():
        acks = sorted((min(evidence.acks[key])[0], version) for version, key in commands if key in evidence.acks)
        highest = [0]
        for _, version in acks:
            highest.append(max(highest[-1], version))
        for version, key in commands:
            if sent := evidence.sent.get(key):
                before = highest[bisect_left(acks, (sent.at, 0))]
                if before > version:
                    yield f"{stream}: {key} became version {version} after version {before} had been acknowledged"


def _by_command(valid: Sequence[Record]) -> dict[UUID, list[Record]]:
    commands: dict[UUID, list[Record]] = defaultdict(list)
    for record in valid:
        commands[record.command].append(record)
    return commands
