"""A registry with the schemas of the test's own application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias
from uuid import uuid4

import pytest

from eventstore.core.events import Event
from eventstore.schema import AvroCodec, SchemaRegistry
from eventstore.schema.codec import schema_text

# Of the clients' own deserializer, which otherwise first asks for associations of the topic: Apicurio does not know these,
# and does not always answer that.
BY_RECORD = {"subject.name.strategy.type": "TOPIC_RECORD"}

Register: TypeAlias = Callable[..., Awaitable[AvroCodec]]


@pytest.fixture
def namespace() -> str:
    """A name of the test's own in a registry that all tests share."""
    return f"n{uuid4().hex}"


@pytest.fixture
def register(schema_registry_url: str, namespace: str) -> Register:
    """Register events as `eventstore schemas register` does, and give a codec that is not opened yet."""

    async def registered(*events: type[Event], topic: str | None = None) -> AvroCodec:
        codec = AvroCodec(SchemaRegistry(schema_registry_url), namespace=namespace, topic=topic)
        codec.declare(events)
        async with codec.registry as registry:
            for subject, derived in codec.subjects.items():
                await registry.register(subject, schema_text(derived.schema))
        return codec

    return registered
