"""A directory of index files: every process of a machine gets one of its own, the same again after a restart."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from eventstore.core.errors import ConfigurationError


@contextmanager
def claim_index_file(directory: Path, prefix: str) -> Generator[Path]:
    """Give the path of an index file that no other process uses until this context ends.

    Args:
        directory: Created if it is missing.
        prefix: The log's prefix.

    Raises:
        ConfigurationError: The directory cannot be used.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        path, lock = _first_free(directory, prefix)
    except OSError as cause:
        message = f"{directory} cannot hold the index ({cause}): name another one, KafkaOptions(directory=...)"
        raise ConfigurationError(message) from cause
    try:
        yield path
    finally:
        os.close(lock)


def _first_free(directory: Path, prefix: str) -> tuple[Path, int]:
    for number in count():
        path = directory / f"{prefix}.{number}.db"
        lock = os.open(path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        except BaseException:
            os.close(lock)
            raise
        else:
            return path, lock
    raise AssertionError
