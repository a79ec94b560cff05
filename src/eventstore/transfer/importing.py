"""From lines to a log."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from eventstore.core.errors import ConfigurationError
from eventstore.core.records import Partition, StoredEvent
from eventstore.ports import Appended, Conflicted, EventLog, NewEvent, StreamCommit
from eventstore.transfer.lines import Command, TransferProgress, read_commands

_MOST_COMMANDS: Final = 1_000
_MOST_BYTES: Final = 8_000_000
_EXAMPLES: Final = 20


class Conflict(NamedTuple):
    """A stream that was left as it is, because the log's events are not those of the export."""

    stream: str
    version: int
    reason: str


class ImportResult(NamedTuple):
    """What an import did.

    Attributes:
        written: Events that were appended.
        present: Events that were in the log already, byte for byte.
        refused: Events of streams that are in conflict.
        conflicting_streams: How many streams are in conflict.
        conflicts: The first of them.
    """

    written: int
    present: int
    refused: int
    conflicting_streams: int
    conflicts: tuple[Conflict, ...]


@contextmanager
def seekable(source: BinaryIO | str) -> Generator[BinaryIO]:
    """Give a file that can be read twice: the source itself, or a temporary copy of what comes out of a pipe.

    Args:
        source: A stream of bytes, or a file.

    Raises:
        ConfigurationError: It cannot be read, or there is no room for the copy.
    """
    if not isinstance(source, str):
        with _spooled(source) as spool:
            yield spool
        return
    try:
        file = Path(source).open("rb")  # noqa: SIM115 - closed below; errors of the block are not ours
    except OSError as cause:
        message = f"{source} cannot be read: {cause.strerror}: check the path"
        raise ConfigurationError(message) from cause
    with file:
        if file.seekable():
            yield file
        else:
            with _spooled(file) as spool:
                yield spool


@contextmanager
def _spooled(source: BinaryIO) -> Generator[BinaryIO]:
    with tempfile.TemporaryFile() as spool:
        try:
            shutil.copyfileobj(source, spool)
        except OSError as cause:
            message = (
                f"the input cannot be copied to {tempfile.gettempdir()}: {cause.strerror}: free some space, "
                "set TMPDIR to a larger directory, or import from a file"
            )
            raise ConfigurationError(message) from cause
        yield spool


async def import_log(
    log: EventLog, file: BinaryIO, on_progress: Callable[[TransferProgress], None] = lambda _: None
) -> ImportResult:
    """Append exported events in their order, ids and times and bytes as they were; a repeated import changes nothing.

    The whole file is checked before anything is written. An interrupted import leaves whole commands; repeat it. A
    stream in which the log has other events is left as it is from that version on; all others are imported.

    Args:
        log: An open log.
        file: A seekable file, see `seekable`.
        on_progress: Is told as it goes on.

    Returns:
        What was done.

    Raises:
        ConfigurationError: The file is no export; nothing was written.
        CorruptLogError: The file is damaged or incomplete; nothing was written.
        LogUnavailableError: The log cannot be written now; repeat the import.
    """
    size = os.fstat(file.fileno()).st_size or 1
    total = 0
    async for commands in _chunks(file):
        total += sum(map(len, commands))
        on_progress(TransferProgress("checking", total, file.tell() / size))
    importing = _Importing(log)
    async for commands in _chunks(file):
        await importing.add(commands)
        on_progress(TransferProgress("importing", importing.done, importing.done / total))
    return importing.result


async def _chunks(file: BinaryIO) -> AsyncGenerator[list[Command]]:
    """Give the commands of an export in chunks that fit into memory, whatever their size."""
    chunk: list[Command] = []
    size = 0
    for command in read_commands(file):
        chunk.append(command)
        size += sum(len(event.envelope) for event in command)
        if len(chunk) >= _MOST_COMMANDS or size >= _MOST_BYTES:
            yield chunk
            chunk, size = [], 0
            await asyncio.sleep(0)  # lets an interruption in, however long the file is
    if chunk:
        yield chunk


class _Importing:
    """Appends chunks of commands and keeps count."""

    def __init__(self, log: EventLog) -> None:
        self._log: Final = log
        self._written = self._present = self._refused = 0
        self._conflicts: Final[list[Conflict]] = []
        self._conflicting: Final[set[str]] = set()

    @property
    def done(self) -> int:
        return self._written + self._present + self._refused

    @property
    def result(self) -> ImportResult:
        return ImportResult(self._written, self._present, self._refused, len(self._conflicting), tuple(self._conflicts))

    async def add(self, commands: Sequence[Command]) -> None:
        new: dict[Partition, list[Command]] = defaultdict(list)
        found = await self._log.find_commands([command[0].command_id for command in commands])
        for command in commands:
            stored = found.get(command[0].command_id)
            if command[0].stream in self._conflicting:
                self._refused += len(command)
            elif stored is None:
                new[self._log.partition_of(command[0].stream)].append(command)
            elif _same(command, stored):
                self._present += len(command)
            else:
                self._refuse(command, f"the log has other events of command {_name(stored[0])}")
        for partition, chosen in new.items():
            await self._commit(partition, chosen)

    async def _commit(self, partition: Partition, commands: Sequence[Command]) -> None:
        # A chunk's earlier conflict of a stream may have been found after its commands were chosen.
        wanted = [command for command in commands if command[0].stream not in self._conflicting]
        self._refused += sum(map(len, commands)) - sum(map(len, wanted))
        if not wanted:
            return
        outcomes = await self._log.commit(partition, [_as_commit(command) for command in wanted])
        for command, outcome in zip(wanted, outcomes, strict=True):
            if isinstance(outcome, Appended):
                self._written += len(command)
            elif isinstance(outcome, Conflicted):
                self._refuse(command, f"the log has it at version {outcome.actual_version}")
            else:
                self._refuse(command, "somebody else appended the same command meanwhile: repeat the import")

    def _refuse(self, command: Command, reason: str) -> None:
        self._refused += len(command)
        stream, version = command[0].stream, command[0].version
        if stream not in self._conflicting:
            self._conflicting.add(stream)
            if len(self._conflicts) < _EXAMPLES:
                self._conflicts.append(Conflict(stream, version, reason))


def _same(command: Command, stored: Sequence[StoredEvent]) -> bool:
    """Tell whether the log has the very events, wherever they stand in its order."""
    return [event[1:] for event in command] == [event[1:] for event in stored]


def _name(event: StoredEvent) -> str:
    return f"{event.command_id.hex()} (at {event.stream} version {event.version})"


def _as_commit(command: Command) -> StreamCommit:
    first = command[0]
    events = tuple(NewEvent(e.event_type, e.schema_version, e.event_id, e.occurred_at, e.envelope) for e in command)
    return StreamCommit(first.stream, first.version - 1, first.command_id, events)
