"""Answers of a registry, and what they become."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from eventstore.core.errors import ConfigurationError, EventStoreError, StoreClosedError, StoreUnavailableError
from eventstore.schema import SchemaRegistry
from eventstore.schema.registry import FULL_TRANSITIVE
from tests.listening import listening


@asynccontextmanager
async def answering(status: str, body: str) -> AsyncGenerator[str]:
    """A server that gives every request the same answer."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = (
            f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close"
        )
        writer.write(f"{head}\r\n\r\n{body}".encode())
        await writer.drain()

    async with listening(answer) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        ("401 Unauthorized", '{"error_code":401,"message":"who?"}', ConfigurationError, "give the right credentials"),
        ("403 Forbidden", '{"error_code":403,"message":"no"}', ConfigurationError, "ask for the right to read"),
        ("404 Not Found", "<html>", ConfigurationError, "it ends where /subjects begins"),
        ("404 Not Found", '{"error_code":404,"message":"HTTP 404"}', ConfigurationError, "it ends where /subjects"),
        ("422 Unprocessable Entity", '{"error_code":42201,"message":"?"}', ConfigurationError, "no such schema"),
        ("418 Teapot", '{"error_code":418,"message":"?"}', ConfigurationError, "check the address"),
        ("500 Error", '{"error_code":50001,"message":"store"}', StoreUnavailableError, "see the registry's own log"),
        ("503 Unavailable", "", StoreUnavailableError, "does not work now"),
        ("200 OK", "<html>", StoreUnavailableError, "check that the registry runs"),
    ],
)
async def test_what_a_registry_answers_becomes_an_error_with_a_remedy(
    status: str, body: str, kind: type[EventStoreError], said: str
) -> None:
    async with answering(status, body) as url, SchemaRegistry(url, {"max.retries": 0}) as registry:
        with pytest.raises(kind, match=said) as failure:
            await registry.schema(1)
    assert str(failure.value).startswith(f"the schema registry at {url} did not do what was asked (")
    assert failure.value.__cause__ is not None


async def test_what_a_registry_looked_for_and_does_not_have_is_none() -> None:
    body = '{"error_code":40403,"message":"Schema 1 not found"}'
    async with answering("404 Not Found", body) as url, SchemaRegistry(url) as registry:
        assert await registry.schema(1) is None
        assert await registry.id_of("a", '"string"') is None
        assert await registry.versions("a") == []
        assert await registry.rule_of("a") == ""


async def test_settings_and_credentials_are_checked_and_never_shown() -> None:
    for url, settings in (
        ("registry:8081", {}),
        ("http://a", {"time.out": 3}),
        ("http://a", {"ssl.ca.location": "no"}),
    ):
        with pytest.raises(ConfigurationError, match="SchemaRegistry"):
            async with SchemaRegistry(url, settings):
                pass
    assert SchemaRegistry("http://user:secret@registry:8081/path").url == "http://registry:8081/path"
    with pytest.raises(StoreClosedError, match="use it inside"):
        await SchemaRegistry("http://a").schema(1)


@pytest.mark.timeout(90)  # it may be the first, which waits for the registry to start
async def test_registering_twice_changes_nothing_and_sets_the_rule(schema_registry_url: str, namespace: str) -> None:
    schema = f'{{"type":"record","name":"{namespace}.R","fields":[]}}'
    async with SchemaRegistry(schema_registry_url) as registry:
        first = await registry.register(namespace, schema)
        assert await registry.register(namespace, schema) == first
        assert await registry.id_of(namespace, schema) == first
        assert len(await registry.versions(namespace)) == 1
        assert await registry.rule_of(namespace) == FULL_TRANSITIVE
