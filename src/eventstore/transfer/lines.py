"""The format of an export, line by line.

The first line names the format and the log, each further line holds one event with its envelope verbatim, the last
line holds the count and the rolling hash of all event ids. Every line ends with a checksum over the rest of it. So a
damaged line, a missing line and a missing end are all found.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, BinaryIO, Final, TypeAlias, cast
from uuid import UUID

from pydantic_core import from_json

from eventstore.core.checkpoints import EMPTY_HASH, chain
from eventstore.core.errors import ConfigurationError, CorruptLogError, InvalidIdError
from eventstore.core.records import StoredEvent
from eventstore.core.streams import parse_stream

FORMAT: Final = "eventstore export 1"
Command: TypeAlias = list[StoredEvent]
"""All events of one command, in order."""

_LONGEST_LINE: Final = 64 * 1024 * 1024
_LARGEST_INTEGER: Final = 2**63 - 1
_VERBATIM: Final = b',"envelope":'
_ENCODED: Final = b',"envelope_base64":'
_CHECKSUM: Final = b',"checksum":"'


@dataclass(frozen=True, slots=True)
class TransferProgress:
    """How far an export or import has come.

    Attributes:
        phase: What it is doing: `exporting`, `checking` or `importing`.
        events: Events dealt with in this phase.
        fraction: How much of the phase is done, from 0 to 1.
    """

    phase: str
    events: int
    fraction: float


def first_line(log_id: str, categories: Sequence[str] | None) -> bytes:
    """Write the line that an export begins with."""
    return _sealed(_json({"format": FORMAT, "log": log_id, "categories": categories})[:-1])


def event_line(event: StoredEvent) -> bytes:
    """Write an event; its envelope stands there byte for byte, or in base64 if it is no JSON that fits into a line."""
    fields: dict[str, object] = event._asdict()
    del fields["envelope"]
    fields["event_id"], fields["command_id"] = _id_text(event.event_id), _id_text(event.command_id)
    start, envelope = _json(fields)[:-1], event.envelope
    if _is_one_json_object(envelope):
        return _sealed(start + _VERBATIM + envelope)
    return _sealed(start + _ENCODED + b'"' + b64encode(envelope) + b'"')


def last_line(count: int, event_hash: bytes) -> bytes:
    """Write the line that an export ends with."""
    return _sealed(_json({"events": count, "hash": event_hash.hex()})[:-1])


def read_commands(file: BinaryIO) -> Generator[Command]:
    """Read the events of an export from its start, as whole commands, checking every line and the end.

    Raises:
        ConfigurationError: The file is no export that this version can read.
        CorruptLogError: It is damaged or incomplete; the message names the line.
    """
    file.seek(0)
    count, event_hash, number = 0, EMPTY_HASH, 0
    command: Command = []
    end: dict[str, Any] | None = None
    for number, line in enumerate(_lines(file), 1):
        content = _unsealed(line, number)
        if number == 1:
            _check_first(content)
            continue
        if end is not None:
            raise _damaged(number, "stands behind the last line of an export: were two exports joined?")
        if content.startswith(b'{"events":'):
            end = cast("dict[str, Any]", json.loads(content + b"}"))
            continue
        event = _event(content, number)
        _check_order(command, event, number)
        count, event_hash = count + 1, chain(event_hash, (event.event_id,))
        command.append(event)
        if event.command_index == event.command_size:
            yield command
            command = []
    _check_end(end, number, count, event_hash)
    if command:
        raise _damaged(number - 1, f"leaves a command incomplete: {command[-1].place} is not its last event")


def _lines(file: BinaryIO) -> Generator[bytes]:
    number = 0
    while line := file.readline(_LONGEST_LINE):
        number += 1
        if len(line) == _LONGEST_LINE:
            raise _damaged(number, "is longer than any event")
        yield line.removesuffix(b"\n")


def _check_first(content: bytes) -> None:
    found = json.loads(content + b"}").get("format")
    if found != FORMAT:
        message = (
            f"line 1 says format {found!r}: this version reads {FORMAT!r}; import it with the version that wrote it"
        )
        raise ConfigurationError(message)


def _check_order(command: Command, event: StoredEvent, number: int) -> None:
    """Refuse a command whose events do not follow each other; only a damaged log exports such a thing."""
    if not command:
        if event.command_index != 1:
            raise _damaged(number, f"begins in the middle of a command: {event.place}")
        return
    before = command[-1]
    expected = (before.stream, before.command_id, before.version + 1, before.command_index + 1, before.command_size)
    if expected != (event.stream, event.command_id, event.version, event.command_index, event.command_size):
        raise _damaged(number, f"does not go on with the command of {before.place}")


def _check_end(end: dict[str, Any] | None, number: int, count: int, event_hash: bytes) -> None:
    if number == 0:
        message = "there is nothing in it: this is no export"
        raise ConfigurationError(message)
    if end is None:
        message = f"the export ends after line {number} without its last line: it is incomplete, export again"
        raise CorruptLogError(message)
    if (end.get("events"), end.get("hash")) != (count, event_hash.hex()):
        message = (
            f"line {number}: the count or hash of the events does not match ({count:,} events are there, "
            f"{end.get('events')!r} were exported): some are missing or moved, export again"
        )
        raise CorruptLogError(message)


def _sealed(start: bytes) -> bytes:
    return start + _CHECKSUM + blake2b(start, digest_size=8).hexdigest().encode() + b'"}\n'


def _unsealed(line: bytes, number: int) -> bytes:
    """Give a line without its checksum and closing brace, if the checksum is right."""
    content, _, rest = line.rpartition(_CHECKSUM)
    if rest == blake2b(content, digest_size=8).hexdigest().encode() + b'"}':
        return content
    if number == 1:
        message = "line 1 is no line of an export; nothing was written"
        raise ConfigurationError(message)
    raise _damaged(number, "is damaged: its checksum does not match")


def _event(content: bytes, number: int) -> StoredEvent:
    # The fields before it are numbers and JSON strings, which cannot contain the key with its bare quotes.
    head, verbatim, envelope = content.partition(_VERBATIM)
    try:
        if not verbatim:
            head, _, encoded = content.partition(_ENCODED)
            envelope = b64decode(encoded.strip(b'"'), validate=True)
        fields = cast("dict[str, Any]", json.loads(head + b"}"))
        fields["event_id"] = UUID(fields["event_id"]).bytes
        fields["command_id"] = UUID(fields["command_id"]).bytes
        event = StoredEvent(**fields, envelope=envelope)
        _check_fields(event)
    except (KeyError, TypeError, ValueError, AttributeError, InvalidIdError, ConfigurationError) as cause:
        raise _damaged(number, f"is no event ({cause})") from cause
    return event


def _check_fields(event: StoredEvent) -> None:
    parse_stream(event.stream)
    if not isinstance(event.event_type, str):  # pyright: ignore[reportUnnecessaryIsInstance] - it comes from a file
        message = "event_type is no text"
        raise TypeError(message)
    for name in ("offset", "version", "schema_version", "command_index", "command_size", "occurred_at"):
        value = getattr(event, name)
        least = 1 if name in {"version", "command_index", "command_size"} else -_LARGEST_INTEGER
        if type(value) is not int or not least <= value <= _LARGEST_INTEGER:
            message = f"{name} is {value!r}"
            raise ValueError(message)


def _damaged(number: int, what: str) -> CorruptLogError:
    return CorruptLogError(f"line {number} {what}")


def _json(content: dict[str, object]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


def _id_text(raw: bytes) -> str:
    return str(UUID(bytes=raw))


def _is_one_json_object(envelope: bytes) -> bool:
    if not envelope.startswith(b"{") or b"\n" in envelope or b"\r" in envelope:
        return False
    try:
        from_json(envelope, allow_inf_nan=False)
    except ValueError:
        return False
    return True
