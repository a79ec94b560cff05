"""Where an inbox's topics are, when that is not the log's own cluster."""

from __future__ import annotations

from typing import Final

from eventstore.kafka.connection import Connection
from eventstore.kafka.names import Names
from eventstore.kafka.options import KafkaOptions
from eventstore.ports import EventCodec


class KafkaSource:
    """The brokers that inboxes read from, and under which names: an inbox on a `KafkaLog` needs none, it uses the log's.

    Args:
        connection: The brokers, `"localhost:9092"` for this machine's, else a `Connection`.
        prefix: Names the consumer groups, `<prefix>.inbox.<name>`, and the dead letter topics.
        options: Of these `member`, `session_seconds` and `drain_seconds` are those of the groups, `production` and
            `replication` those of the dead letter topics.
        codec: Decodes values that are not JSON, for example `AvroCodec`.

    Raises:
        ConfigurationError: The prefix or the connection is not allowed.
    """

    def __init__(
        self,
        connection: str | Connection,
        *,
        prefix: str,
        options: KafkaOptions | None = None,
        codec: EventCodec | None = None,
    ) -> None:
        self.connection: Final = Connection(connection) if isinstance(connection, str) else connection
        self.names: Final = Names(prefix)
        self.options: Final = options or KafkaOptions()
        self.codec: Final = codec
