"""From a log to lines."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from eventstore.core.checkpoints import EMPTY_HASH, chain
from eventstore.core.errors import ConfigurationError, CorruptLogError
from eventstore.ports import EventLog
from eventstore.transfer.lines import TransferProgress, event_line, first_line, last_line

_PAGE: Final = 1_000


async def export_log(
    log: EventLog,
    file: BinaryIO,
    categories: Sequence[str] | None = None,
    on_progress: Callable[[TransferProgress], None] = lambda _: None,
) -> int:
    """Write every event that is committed now; partitions one after the other, each in its order.

    Args:
        log: An open log.
        file: Where to write.
        categories: Only these; None for all.
        on_progress: Is told after every page.

    Returns:
        How many events were written.

    Raises:
        LogUnavailableError: The log cannot be read now.
        CorruptLogError: An event's ids are damaged.
        OSError: The file cannot be written.
    """
    count, event_hash = 0, EMPTY_HASH
    file.write(first_line(log.log_id, categories))
    ends = await log.ends()
    everything, before = sum(ends.values()), 0
    for partition, end in ends.items():
        offset = 0
        while offset < end:
            page = await log.read(partition, offset, _PAGE, categories)
            for event in page.events:
                if event.offset >= end:
                    break
                try:
                    file.write(event_line(event))
                except ValueError as cause:
                    message = f"{event.place} cannot be exported, its ids are damaged ({cause}): restore a backup"
                    raise CorruptLogError(message) from cause
                count += 1
                event_hash = chain(event_hash, (event.event_id,))
            if page.next_offset <= offset:
                break
            offset = page.next_offset
            on_progress(TransferProgress("exporting", count, (before + min(offset, end)) / everything))
            await asyncio.sleep(0)  # lets an interruption in, however fast the log is
        before += end
    file.write(last_line(count, event_hash))
    file.flush()
    return count


@contextmanager
def written_when_complete(target: str) -> Generator[BinaryIO]:
    """Give a file to write that appears under its name only when the block ends well, and is on disk then.

    What is no ordinary file, such as a pipe, is written directly.

    Raises:
        ConfigurationError: The file cannot be written.
    """
    path = Path(target)
    direct = path.exists() and not path.is_file()
    part = path if direct else path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
            if not direct:
                file.flush()
                os.fsync(file.fileno())
        if not direct:
            part.replace(path)
    except BrokenPipeError:
        raise
    except OSError as cause:
        message = f"{path} cannot be written: {cause.strerror}: choose another place"
        raise ConfigurationError(message) from cause
    finally:
        if not direct:
            part.unlink(missing_ok=True)
