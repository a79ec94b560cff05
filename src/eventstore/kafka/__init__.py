"""The event log on Apache Kafka: fenced single writers, a local index, commands routed to their owners."""

from eventstore.kafka.connection import Connection
from eventstore.kafka.log import KafkaLog
from eventstore.kafka.options import KafkaOptions
from eventstore.kafka.source import KafkaSource

__all__ = ["Connection", "KafkaLog", "KafkaOptions", "KafkaSource"]
