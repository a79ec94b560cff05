"""The index file's tables: the event table of the embedded log, and how far each partition is in it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from eventstore.core.errors import CorruptLogError
from eventstore.core.records import Partition
from eventstore.kafka.records import LeaseRule
from eventstore.kafka.topics import TopicIdentity
from eventstore.sqlite.schema import INDEX_ID, create_or_check

_TOPICS: Final = "topics"
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


Known: TypeAlias = Mapping[str, Mapping[str, TopicIdentity]]
"""By log id: from which topics its events were read."""

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


def read_known(path: Path) -> Known:
    """Tell what an index was read from, without opening it as one; a damaged file knows nothing and is built anew."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            rows: list[tuple[str, str]] = connection.execute("SELECT name, value FROM meta").fetchall()
    except sqlite3.Error:
        return {}
    meta = dict(rows)
    topics: dict[str, tuple[str, int]] = json.loads(meta.get(_TOPICS, "{}"))
    known = {name: TopicIdentity(*identity) for name, identity in topics.items()}
    return {meta["log_id"]: known} if "log_id" in meta else {}


def remember_topics(connection: sqlite3.Connection, topics: Mapping[str, TopicIdentity]) -> None:
    """Note from which topics the index is read, beside what is known of other categories.

    Raises:
        sqlite3.Error: It cannot be written.
    """
    connection.execute(
        "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = json_patch(value, excluded.value)",
        (_TOPICS, json.dumps(topics)),
    )
