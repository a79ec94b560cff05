"""A schema registry with Confluent's interface: Confluent's own, Apicurio, Karapace."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Final, NamedTuple, Self, TypeVar

from confluent_kafka.schema_registry import AsyncSchemaRegistryClient, RegisteredSchema, Schema
from confluent_kafka.schema_registry.error import SchemaRegistryError

from eventstore.core.errors import ConfigurationError, StoreClosedError
from eventstore.schema.errors import translated

FULL_TRANSITIVE: Final = "FULL_TRANSITIVE"
_TIMEOUT: Final = 5
_NOT_FOUND: Final = range(40400, 40500)
"""Codes of registries that looked; a wrong address gives the bare 404."""
T = TypeVar("T")


class RegisteredVersion(NamedTuple):
    """A schema that a subject has.

    Attributes:
        version: Its number in the subject, from 1.
        schema_id: Its id in the registry.
        schema: The schema as JSON text.
    """

    version: int
    schema_id: int
    schema: str


class SchemaRegistry:
    """Asks a schema registry; `async with` opens it. Nothing but `register` ever changes what it holds.

    Args:
        url: Its address, up to where `/subjects` begins; several, by commas, for one that is several servers.
        settings: More settings of confluent-kafka's registry client, for example
            `{"basic.auth.user.info": "user:password", "ssl.ca.location": "ca.pem"}`.

    Raises:
        ConfigurationError: The address or a setting cannot be used.
    """

    def __init__(self, url: str, settings: Mapping[str, object] | None = None) -> None:
        self.url: Final = re.sub("//[^/@]*@", "//", url)
        self._settings: Final = {"timeout": _TIMEOUT, "max.retries": 1, **(settings or {}), "url": url}
        self._client: AsyncSchemaRegistryClient | None = None
        self._opened = 0

    async def __aenter__(self) -> Self:
        """Make the client, which connects when it is asked; several may share it."""
        if self._client is None:
            try:
                self._client = AsyncSchemaRegistryClient(self._settings)
            except (ValueError, TypeError, OSError) as cause:
                message = f"SchemaRegistry({self.url!r}): {cause}"
                raise ConfigurationError(message) from cause
        self._opened += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections, the last of those who share it."""
        self._opened -= 1
        if self._opened == 0 and self._client is not None:
            client, self._client = self._client, None
            await client.aclose()

    async def schema(self, schema_id: int) -> str | None:
        """Give the schema of an id, as JSON text; None if there is none, or it is not Avro.

        Raises:
            StoreUnavailableError: The registry is out of reach.
            ConfigurationError: It refuses.
        """
        found = await self._ask(lambda client: client.get_schema(schema_id))
        return found.schema_str if found is not None and found.schema_type in {None, "AVRO"} else None

    async def id_of(self, subject: str, schema: str) -> int | None:
        """Give the id that a schema has in a subject; None if it is not registered there.

        Raises:
            StoreUnavailableError: The registry is out of reach.
            ConfigurationError: It refuses.
        """
        found = await self._ask(lambda client: client.lookup_schema(subject, Schema(schema, "AVRO")))
        return None if found is None else found.schema_id

    async def versions(self, subject: str) -> list[RegisteredVersion]:
        """Give all schemas of a subject, oldest first.

        Raises:
            StoreUnavailableError: The registry is out of reach.
            ConfigurationError: It refuses.
        """
        found: list[RegisteredVersion] = []
        for version in await self._ask(lambda client: client.get_versions(subject)) or ():
            entry = await self._ask(partial(_entry, subject, version))
            if entry is not None:
                found.append(RegisteredVersion(version, entry.schema_id or 0, entry.schema.schema_str or ""))
        return found

    async def rule_of(self, subject: str) -> str:
        """Give the compatibility that a subject demands of its own; empty if it has no rule of its own.

        Raises:
            StoreUnavailableError: The registry is out of reach.
            ConfigurationError: It refuses.
        """
        return await self._ask(lambda client: client.get_compatibility(subject)) or ""

    async def accepts(self, subject: str, schema: str) -> bool:
        """Ask the registry whether a schema may follow all that a subject has, by the subject's own rule.

        Raises:
            StoreUnavailableError: The registry is out of reach.
            ConfigurationError: It refuses.
        """
        answer = await self._ask(lambda client: client.test_compatibility_all_versions(subject, Schema(schema, "AVRO")))
        return answer is None or bool(answer)

    async def register(self, subject: str, schema: str) -> int:
        """Register a schema, and have the subject keep every version compatible with every other from then on.

        Returns:
            The schema's id.

        Raises:
            StoreUnavailableError: The registry is out of reach.
            ConfigurationError: It refuses, for example because the schema is incompatible.
        """
        if await self._ask(lambda client: client.get_versions(subject)):
            await self._ask(lambda client: client.set_compatibility(subject, FULL_TRANSITIVE))
        schema_id = await self._ask(lambda client: client.register_schema(subject, Schema(schema, "AVRO")))
        await self._ask(lambda client: client.set_compatibility(subject, FULL_TRANSITIVE))
        assert schema_id is not None  # noqa: S101 - a registration is never "not found"
        return schema_id

    async def _ask(self, question: Callable[[AsyncSchemaRegistryClient], Awaitable[T]]) -> T | None:
        """Give the answer to a question; None for "not found"."""
        if self._client is None:
            message = "the schema registry's client is not open: use it inside `async with`"
            raise StoreClosedError(message)
        try:
            return await question(self._client)
        except SchemaRegistryError as error:
            if error.error_code in _NOT_FOUND:
                return None
            raise translated(self.url, error.http_status_code, error) from error
        except Exception as error:  # of whichever HTTP client is installed
            raise translated(self.url, 0, error) from error


def _entry(subject: str, version: int, client: AsyncSchemaRegistryClient) -> Awaitable[RegisteredSchema]:
    return client.get_version(subject, version)
