"""Avro and schema registries: `pip install 'eventstore[avro]'`."""

from eventstore.schema.codec import AvroCodec, EventName
from eventstore.schema.registry import SchemaRegistry

__all__ = ["AvroCodec", "EventName", "SchemaRegistry"]
