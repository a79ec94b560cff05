"""Export and import: a log as lines of JSON that prove their own completeness.

The first line names the format, each further line holds one event with its envelope verbatim, which is empty if the
event was erased and base64 if it is binary, and a checksum, the last line holds the count and the rolling hash of all event ids. So a damaged line
and a missing end are both found.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from base64 import b64decode, b64encode
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, cast

from eventstore.core.completeness import EMPTY_HASH, extend
from eventstore.core.envelope import BINARY
from eventstore.core.errors import ConfigurationError, CorruptLogError
from eventstore.core.records import Partition, StoredEvent
from eventstore.core.streams import parse_stream
from eventstore.ports import Appended, Duplicated, EventLog, NewEvent, StreamCommit

FORMAT: Final = "eventstore export 1"
_PAGE: Final = 5_000
_COMMITS: Final = 1_000
_ELECTION_SECONDS: Final = 30.0
"""Longer than the session of a process that was killed, whose partitions nobody has until it expires."""
_LOOK_SECONDS: Final = 0.1


class ImportResult(NamedTuple):
    """How many events an import wrote, and how many were in the log already."""

    written: int
    present: int


async def export_log(log: EventLog, target: BinaryIO | str, categories: Sequence[str] | None = None) -> int:
    """Write every event that is committed now; partitions one after the other, each in its order.

    Args:
        log: An open log.
        target: A stream of bytes, or a file, which appears under its name only when it is complete.
        categories: Only these; None for all.

    Returns:
        How many events were written.

    Raises:
        LogUnavailableError: The log cannot be read now.
        ConfigurationError: The file cannot be written.
    """
    if not isinstance(target, str):
        return await _export(log, target, categories)
    with _appearing_when_complete(Path(target)) as file:
        return await _export(log, file, categories)


@contextmanager
def _appearing_when_complete(target: Path) -> Generator[BinaryIO]:
    part = target.with_name(f"{target.name}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(target)
    except OSError as cause:
        message = f"{target} cannot be written: {cause.strerror}: choose another place"
        raise ConfigurationError(message) from cause
    finally:
        part.unlink(missing_ok=True)


async def _export(log: EventLog, file: BinaryIO, categories: Sequence[str] | None) -> int:
    count, event_hash = 0, EMPTY_HASH
    file.write(_line({"format": FORMAT, "log": log.log_id, "categories": categories}))
    for partition, end in (await log.ends()).items():
        offset = 0
        while offset < end:
            page = await log.read(partition, offset, _PAGE, categories)
            events = [event for event in page.events if event.offset < end]
            await asyncio.to_thread(file.writelines, [_line(_as_object(event)) for event in events])
            event_hash = extend(event_hash, (event.event_id for event in events))
            count += len(events)
            if page.next_offset == offset:
                break
            offset = page.next_offset
    file.write(_line({"events": count, "hash": event_hash.hex()}))
    return count


async def import_log(log: EventLog, source: BinaryIO | str) -> ImportResult:
    """Append exported events, ids and times as they were; a repeated import changes nothing.

    The whole source is checked before anything is written. On a log that gives each partition to one process, this one
    has to get all of them.

    Args:
        log: An open log, of a store that serves.
        source: A stream of bytes, or a file.

    Returns:
        How many events were written and how many were there.

    Raises:
        CorruptLogError: The source is damaged or incomplete; nothing was written.
        ConfigurationError: The source is no export, or other processes own partitions; nothing was written. Or the
            log has other events in one of its streams; commands before that one are written.
        LogUnavailableError: The log cannot be written now; repeat the import.
    """
    with _seekable(source) as file:
        for _ in _events(file):  # verifies all of it
            pass
        await _owning_all(log)
        written = present = 0
        async for partition, commits in _batches(log, file):
            outcomes = await log.commit(partition, commits)
            for commit, outcome in zip(commits, outcomes, strict=True):
                if isinstance(outcome, Appended):
                    written += len(commit.events)
                elif isinstance(outcome, Duplicated):
                    present += len(commit.events)
                else:
                    message = (
                        f"{commit.stream} has other events than the import, from version {commit.expected_version + 1} "
                        f"on: import into an empty log ({written:,} events were written before this one)"
                    )
                    raise ConfigurationError(message)
    return ImportResult(written, present)


async def _owning_all(log: EventLog) -> None:
    """Return when this process may write to every partition."""
    loop, count = asyncio.get_running_loop(), len(log.partitions)
    deadline = loop.time() + _ELECTION_SECONDS
    while (condition := log.condition) is not None and condition.owned.get("serving", 0) < count:
        owned = sum(condition.owned.values())
        if owned < count and loop.time() > deadline:
            message = (
                f"this process owns {owned} of {count} partitions, and only owners can write: end the other processes "
                "that use the log, the import needs it for itself. Nothing was written"
            )
            raise ConfigurationError(message)
        await asyncio.sleep(_LOOK_SECONDS)


async def _batches(log: EventLog, file: BinaryIO) -> AsyncGenerator[tuple[Partition, list[StreamCommit]]]:
    """Put events together to whole commands, and commands to batches of one partition each."""
    batches: dict[Partition, list[StreamCommit]] = {}
    command: list[StoredEvent] = []
    for event in _events(file):
        command.append(event)
        if event.command_index < event.command_size:
            continue
        partition = log.partition_of(event.stream)
        batch = batches.setdefault(partition, [])
        batch.append(_commit(command))
        command = []
        if len(batch) >= _COMMITS:
            yield partition, batches.pop(partition)
    for partition, batch in batches.items():
        yield partition, batch


def _commit(command: Sequence[StoredEvent]) -> StreamCommit:
    first = command[0]
    events = tuple(NewEvent(e.event_type, e.schema_version, e.event_id, e.occurred_at, e.envelope) for e in command)
    return StreamCommit(first.stream, first.version - 1, first.command_id, events)


@contextmanager
def _seekable(source: BinaryIO | str) -> Generator[BinaryIO]:
    if isinstance(source, str):
        try:
            with Path(source).open("rb") as file:
                yield file
        except OSError as cause:
            message = f"{source} cannot be read: {cause.strerror}: check the path"
            raise ConfigurationError(message) from cause
        return
    with tempfile.TemporaryFile() as spool:
        shutil.copyfileobj(source, spool)
        yield spool


def _events(file: BinaryIO) -> Generator[StoredEvent]:
    """Read the events of an export from its start, checking every line and the end."""
    file.seek(0)
    count, event_hash, ended, number = 0, EMPTY_HASH, False, 0
    for number, raw in enumerate(file, 1):
        found = _checked(raw, number)
        if number == 1:
            if found.get("format") != FORMAT:
                message = f"line 1 says {found.get('format')!r}: this is no export that this version can read"
                raise ConfigurationError(message)
        elif "events" in found:
            ended = (found["events"], found["hash"]) == (count, event_hash.hex())
            if not ended:
                message = f"line {number}: the count or hash of the events does not match: some are missing or moved"
                raise CorruptLogError(message)
        else:
            event = _as_event(found, number)
            count, event_hash = count + 1, extend(event_hash, (event.event_id,))
            yield event
    if not ended:
        message = f"the export ends after line {number} without its last line: it is incomplete, export again"
        raise CorruptLogError(message)


def _line(content: dict[str, Any]) -> bytes:
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    checksum = blake2b(text.encode(), digest_size=8).hexdigest()
    return f'{text[:-1]},"checksum":"{checksum}"}}\n'.encode()


def _checked(raw: bytes, number: int) -> dict[str, Any]:
    content, _, rest = raw.rpartition(b',"checksum":"')
    checksum = blake2b(content + b"}", digest_size=8).hexdigest()
    if rest != f'"{checksum}"}}\n'.encode()[1:]:
        what = "is no line of an export" if number == 1 else "is damaged: its checksum does not match"
        message = f"line {number} {what}; nothing was written"
        raise (ConfigurationError if number == 1 else CorruptLogError)(message)
    return cast("dict[str, Any]", json.loads(raw))


def _as_object(event: StoredEvent) -> dict[str, Any]:
    fields = event._asdict()
    fields["event_id"], fields["command_id"] = event.event_id.hex(), event.command_id.hex()
    if event.envelope[:1] == BINARY:
        fields["envelope"] = {"base64": b64encode(event.envelope).decode()}
    else:
        fields["envelope"] = event.envelope.decode()
    return fields


def _as_event(found: dict[str, Any], number: int) -> StoredEvent:
    try:
        fields = {name: found[name] for name in StoredEvent._fields}
        fields["event_id"], fields["command_id"] = bytes.fromhex(found["event_id"]), bytes.fromhex(found["command_id"])
        fields["envelope"] = _envelope(found["envelope"])
        parse_stream(found["stream"])
    except (KeyError, ValueError, AttributeError) as cause:
        message = f"line {number} lacks part of an event ({cause!r}); nothing was written"
        raise CorruptLogError(message) from cause
    return StoredEvent(**fields)


def _envelope(written: str | dict[str, str]) -> bytes:
    return b64decode(written["base64"], validate=True) if isinstance(written, dict) else written.encode()
