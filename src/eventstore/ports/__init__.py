"""The seams: what the command side, the query side and tools may rely on, whatever log or database is behind.

Adapters implement these protocols and prove it with the contract suites in `eventstore.testing`. Every method
may raise `StoreClosedError` outside `async with`. Cancellation is never wrapped: a cancelled read has no effect,
a cancelled write happens or does not happen as a whole.
"""

from eventstore.ports.channel import Answering, CommandChannel
from eventstore.ports.codec import EncodeEvent, EventCodec
from eventstore.ports.environment import Clock, Entropy
from eventstore.ports.log import (
    Appended,
    CommitOutcome,
    Conflicted,
    Duplicated,
    EventLog,
    LogCondition,
    NewEvent,
    Page,
    PartitionReader,
    SnapshotStore,
    StreamCommit,
    StreamQuery,
    StreamReader,
    StreamSummary,
    StreamWriter,
    Volume,
)
from eventstore.ports.query_store import Move, QueryStore, QueryTransaction, RowReader
from eventstore.ports.sharing import PartitionSharing, Sharer

__all__ = [
    "Answering",
    "Appended",
    "Clock",
    "CommandChannel",
    "CommitOutcome",
    "Conflicted",
    "Duplicated",
    "EncodeEvent",
    "Entropy",
    "EventCodec",
    "EventLog",
    "LogCondition",
    "Move",
    "NewEvent",
    "Page",
    "PartitionReader",
    "PartitionSharing",
    "QueryStore",
    "QueryTransaction",
    "RowReader",
    "Sharer",
    "SnapshotStore",
    "StreamCommit",
    "StreamQuery",
    "StreamReader",
    "StreamSummary",
    "StreamWriter",
    "Volume",
]
