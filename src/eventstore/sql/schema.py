"""The bookkeeping tables: versions, positions, rebuilds, deadlines and dead letters; times are microseconds since 1970."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)

PREFIX: Final = "eventstore_"
metadata: Final = MetaData()
_Id: Final = BigInteger().with_variant(Integer(), "sqlite")

projections: Final = Table(
    f"{PREFIX}projections",
    metadata,
    Column("name", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("log_id", Text, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    # JSON: the names that readers query, each with a digest of its table's definition.
    Column("relations", Text, nullable=False),
    PrimaryKeyConstraint("name", "version"),
)

checkpoints: Final = Table(
    f"{PREFIX}checkpoints",
    metadata,
    Column("name", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("partition", Text, nullable=False),
    Column("next_offset", BigInteger, nullable=False),
    Column("event_count", BigInteger, nullable=False),
    Column("event_hash", LargeBinary, nullable=False),
    Column("owner", Text, nullable=False),
    Column("lease", Float, nullable=False),
    Column("lease_until", BigInteger),
    Column("moved_at", BigInteger),
    Column("failure_place", Text),
    Column("failure_cause", Text),
    Column("failure_remedy", Text),
    Column("failure_since", BigInteger),
    PrimaryKeyConstraint("name", "version", "partition"),
)

rebuilds: Final = Table(
    f"{PREFIX}rebuilds",
    metadata,
    Column("name", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("runner", Text, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("lease_until", BigInteger),
    Column("phase", Text, nullable=False),
    Column("shared", Boolean, nullable=False),
    Column("batch_size", Integer, nullable=False),
    Column("throttle", Float),
    Column("cpu_share", Float),
    Column("rate", Float, nullable=False),
    # JSON: by partition the offsets to begin at and to get to, and the number of events in between.
    Column("spans", Text, nullable=False),
    PrimaryKeyConstraint("name", "version"),
)

deadlines: Final = Table(
    f"{PREFIX}deadlines",
    metadata,
    Column("name", Text, nullable=False),
    Column("version", Integer, nullable=False),
    # JSON: the values of the key columns.
    Column("key", Text, nullable=False),
    Column("due", BigInteger, nullable=False),
    Column("partition", Text, nullable=False),
    Column("event_id", LargeBinary, nullable=False),
    Column("correlation_id", LargeBinary, nullable=False),
    PrimaryKeyConstraint("name", "version", "key"),
    Index(f"{PREFIX}deadlines_by_time", "name", "version", "partition", "due"),
)

dead_letters: Final = Table(
    f"{PREFIX}dead_letters",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("name", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("partition", Text, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("stream", Text, nullable=False),
    Column("event_version", BigInteger, nullable=False),
    Column("event_type", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("parked_at", BigInteger, nullable=False),
    UniqueConstraint("name", "version", "partition", "offset"),
)
