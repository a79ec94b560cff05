"""The embedded log: one SQLite file, several processes, group commit."""

from eventstore.sqlite.log import SqliteLog

__all__ = ["SqliteLog"]
