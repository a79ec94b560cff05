"""The index file's tables: the event table of the embedded log, and how far each partition is in it."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from eventstore.core.errors import CorruptLogError
from eventstore.core.records import Partition
from eventstore.kafka.records import LeaseRule
from eventstore.sqlite.schema import INDEX_ID, create_or_check

_TABLE: Final = """
    CREATE TABLE IF NOT EXISTS partitions (
        slot           INTEGER PRIMARY KEY,
        name           TEXT    NOT NULL UNIQUE,
        next_offset    INTEGER NOT NULL DEFAULT 0,
        lease          TEXT    NOT NULL DEFAULT '',
        open_producers TEXT    NOT NULL DEFAULT '[]',
        skipped        INTEGER NOT NULL DEFAULT 0
    ) STRICT
"""


class Place(NamedTuple):
    """Where a partition's events are in the index, and up to which offset they are complete."""

    slot: int
    next_offset: int
    rule: LeaseRule


Places: TypeAlias = dict[Partition, Place]


def open_index(connection: sqlite3.Connection, path: Path, log_id: str) -> Places:
    """Make the file an index of a log if it is empty, or make sure it is one.

    Args:
        connection: In autocommit mode.
        path: The file, for messages.
        log_id: Which log.

    Returns:
        Where the partitions stand in it.

    Raises:
        CorruptLogError: It is damaged, or an index of another log.
        ConfigurationError: Another version of this package wrote it, or it is an embedded log.
        sqlite3.Error: It cannot be read or written.
    """
    found = create_or_check(connection, path, log_id, INDEX_ID)
    if found != log_id:
        message = f"{path} is the index of another log ({found} instead of {log_id})"
        raise CorruptLogError(message)
    connection.execute(_TABLE)
    rows = connection.execute("SELECT name, slot, next_offset, lease, open_producers, skipped FROM partitions")
    return {
        name: Place(slot, next_offset, LeaseRule(name.partition("/")[0], lease, set(json.loads(producers)), skipped))
        for name, slot, next_offset, lease, producers, skipped in rows
    }
