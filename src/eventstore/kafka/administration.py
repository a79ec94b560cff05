"""Asks for, creates and changes topics; every call ends within a bounded time, whatever the brokers do."""

# The client's annotations leave out what its futures hold.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Final, NamedTuple, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
    TopicDescription,
)

from eventstore.core.errors import LogUnavailableError
from eventstore.kafka.connection import Connection
from eventstore.kafka.errors import Reaction, answer_for, refusal_of
from eventstore.kafka.topics import FoundTopic, TopicIdentity, WantedTopic

T = TypeVar("T")
REQUEST_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.05
_SETTLING_SECONDS: Final = 30.0
_LOGGER: Final = logging.getLogger(__name__)
_FORBIDDEN: Final = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED)


class Cluster(NamedTuple):
    """Which cluster, and how many brokers it has now."""

    id: str
    brokers: int


class Administration:
    """Speaks to the brokers about topics, on a thread of the pool: the client's calls block.

    Args:
        connection: Where and how.
        seconds: How long one request may take.
    """

    def __init__(self, connection: Connection, seconds: float = REQUEST_SECONDS) -> None:
        self._settings: Final = connection.confluent()
        self._seconds: Final = seconds
        self._where: Final = connection.bootstrap
        self._refusal: KafkaError | None = None
        self._trouble: KafkaError | None = None
        # Kept as long as this object: the client must outlive its futures.
        self._admin: Final = AdminClient({**self._settings, "error_cb": self._note}, logger=_LOGGER)

    async def cluster(self) -> Cluster:
        """Identify the cluster.

        Raises:
            ConfigurationError: The brokers refuse this user or this connection.
            LogUnavailableError: They cannot be reached.
        """

        def ask() -> Cluster:
            future = self._admin.describe_cluster(request_timeout=self._seconds)
            found = self._result(future, f"the brokers at {self._where} cannot be used")
            return Cluster(found.cluster_id, len(found.nodes))

        return await asyncio.to_thread(ask)

    async def find(self, topics: Iterable[str], *, settings: bool = True) -> Mapping[str, FoundTopic]:
        """Describe the topics that exist.

        Args:
            topics: Names.
            settings: Ask for their settings, too.

        Raises:
            ConfigurationError: This user may not see them.
            LogUnavailableError: The brokers cannot be reached.
        """

        def ask() -> dict[str, FoundTopic]:
            described = self._describe(list(topics))
            configured = self._settings_of(list(described)) if settings else {}
            return {name: _found(topic, configured.get(name)) for name, topic in described.items()}

        return await asyncio.to_thread(ask)

    async def create(self, topics: Sequence[WantedTopic]) -> None:
        """Create topics; that another process creates one at the same time is fine. All have leaders on return.

        Raises:
            ConfigurationError: This user or this cluster cannot have them; says why.
            LogUnavailableError: The brokers cannot be reached, or no leader was elected in time.
        """
        if topics:
            await asyncio.to_thread(self._create, topics)

    async def change(self, topic: str, settings: Mapping[str, str]) -> None:
        """Change some settings of a topic, leaving the others as they are.

        Raises:
            ConfigurationError: This user may not.
            LogUnavailableError: The brokers cannot be reached.
        """

        def ask() -> None:
            entries = [
                ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
                for name, value in settings.items()
            ]
            resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
            futures = self._admin.incremental_alter_configs([resource], request_timeout=self._seconds)
            self._result(futures[resource], f"{topic} could not be changed")

        await asyncio.to_thread(ask)

    async def delete(self, topic: str) -> None:
        """Delete a topic.

        Raises:
            ConfigurationError: This user may not.
            LogUnavailableError: The brokers cannot be reached.
        """

        def ask() -> None:
            futures = self._admin.delete_topics([topic], request_timeout=self._seconds)
            self._result(futures[topic], f"{topic} could not be deleted")

        await asyncio.to_thread(ask)

    def _create(self, topics: Sequence[WantedTopic]) -> None:
        new = [NewTopic(t.name, t.partitions, t.replication, config=dict(t.settings)) for t in topics]
        for name, future in self._admin.create_topics(new, request_timeout=self._seconds).items():
            self._result(future, f"{name} could not be created")
        names, deadline = [topic.name for topic in topics], time.monotonic() + _SETTLING_SECONDS
        while True:
            described = self._describe(names)
            if len(described) == len(names) and all(_is_led(topic) for topic in described.values()):
                return
            if time.monotonic() > deadline:
                missing = [name for name in names if name not in described or not _is_led(described[name])]
                message = (
                    f"{', '.join(missing)}: no leader within {_SETTLING_SECONDS:.0f} s; check that the brokers run"
                )
                raise LogUnavailableError(message)
            time.sleep(_POLL_SECONDS)

    def _describe(self, topics: Sequence[str]) -> dict[str, TopicDescription]:
        futures = self._admin.describe_topics(TopicCollection(list(topics)), request_timeout=self._seconds)
        described: dict[str, TopicDescription] = {}
        for name, future in futures.items():
            topic = self._unless(
                (KafkaError.UNKNOWN_TOPIC_OR_PART,), lambda f=future, n=name: self._result(f, f"{n} cannot be seen")
            )
            if topic is not None:
                described[name] = topic
        return described

    def _settings_of(self, topics: Sequence[str]) -> dict[str, dict[str, str]]:
        if not topics:
            return {}
        resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
        found: dict[str, dict[str, str]] = {}
        for resource, future in self._admin.describe_configs(resources, request_timeout=self._seconds).items():
            doing = f"the settings of {resource.name} cannot be seen"
            entries = self._unless(_FORBIDDEN, lambda f=future, d=doing: self._result(f, d))
            if entries is not None:
                found[resource.name] = {name: entry.value or "" for name, entry in entries.items()}
        return found

    @staticmethod
    def _unless(codes: Sequence[int], ask: Callable[[], T]) -> T | None:
        """Give nothing where the brokers answer so."""
        try:
            return ask()
        except Exception as error:
            cause = error.__cause__
            if isinstance(cause, KafkaException) and cause.args[0].code() in codes:
                return None
            raise

    def _result(self, future: Future[T], doing: str) -> T | None:
        """Wait for an answer; a login or a handshake that was refused ends it at once, not after many more tries."""
        while not future.done():
            self._admin.poll(_POLL_SECONDS)
            if self._refusal is not None:
                raise refusal_of(self._refusal, doing) from KafkaException(self._refusal)
        try:
            return future.result()
        except KafkaException as error:
            reason: KafkaError = error.args[0]
            if answer_for(reason.code()).reaction is Reaction.DONE:
                return None
            if reason.code() == KafkaError._TIMED_OUT and self._trouble is not None:  # noqa: SLF001 - its public name
                reason = self._trouble
            raise refusal_of(reason, doing) from error

    def _note(self, error: KafkaError) -> None:
        """Keep what the client says about its connections; it would go on trying for ever."""
        self._trouble = error
        if answer_for(error.code()).reaction is Reaction.REFUSED:
            self._refusal = error


def _found(topic: TopicDescription, settings: Mapping[str, str] | None) -> FoundTopic:
    replication = min((len(partition.replicas) for partition in topic.partitions), default=0)
    identity = TopicIdentity(str(topic.topic_id), len(topic.partitions))
    return FoundTopic(topic.name, identity, replication, _is_led(topic), settings)


def _is_led(topic: TopicDescription) -> bool:
    return bool(topic.partitions) and all(partition.leader is not None for partition in topic.partitions)
