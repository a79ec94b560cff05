"""Asks for, creates and changes topics; every call ends within a bounded time, whatever the brokers do."""

# The client's annotations leave out what its futures hold and which names it exports.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from threading import Lock
from typing import Final, NamedTuple, TypeAlias, TypeVar, cast

from confluent_kafka import KafkaError, KafkaException, Node, TopicCollection
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    DescribeClusterResult,
    NewTopic,
    ResourceType,
    TopicDescription,
)

from eventstore.core.errors import LogUnavailableError
from eventstore.kafka.answers import Reaction, answer_for
from eventstore.kafka.connection import Connection
from eventstore.kafka.diagnosis import diagnose
from eventstore.kafka.errors import refusal_of
from eventstore.kafka.renewal import Renewal
from eventstore.kafka.topics import FoundTopic, TopicIdentity, WantedTopic

T = TypeVar("T")
K = TypeVar("K")
_Futures: TypeAlias = Mapping[K, Future[T]]
REQUEST_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.05
_SETTLING_SECONDS: Final = 30.0
_LOGGER: Final = logging.getLogger(__name__)


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
        self._seconds: Final = seconds
        self._connection: Final = connection
        self._where: Final = connection.bootstrap
        self._refusal: KafkaError | None = None
        self._trouble: KafkaError | None = None
        self._renewal: Final = Renewal(connection, self._note)
        self._clients: Final[list[AdminClient]] = []
        self._making: Final = Lock()

    @property
    def _admin(self) -> AdminClient:
        """The client, made anew when what it logs in with was rotated.

        Raises:
            ConfigurationError: A file cannot be read or used, or nobody gives a token.
            LogUnavailableError: No token can be had now.
        """
        with self._making:
            if not self._clients or self._renewal.has_new_login or self._renewal.has_new_certificates:
                # A client must outlive its futures, of which somebody may wait for one.
                del self._clients[:-1]
                try:
                    self._clients.append(AdminClient(self._renewal.settings(), logger=_LOGGER))
                except KafkaException as error:
                    raise refusal_of(error.args[0], f"the brokers at {self._where} cannot be used") from error
            return self._clients[-1]

    async def cluster(self) -> Cluster:
        """Identify the cluster.

        Raises:
            ConfigurationError: The brokers refuse this user or this connection.
            LogUnavailableError: They cannot be reached.
        """

        def ask() -> Cluster:
            asked = cast("Future[DescribeClusterResult]", self._admin.describe_cluster(request_timeout=self._seconds))
            found = self._result(asked, f"the brokers at {self._where} cannot be used")
            assert found is not None  # noqa: S101 - every error is raised
            return Cluster(found.cluster_id or "", len(found.nodes))

        return await _asked(ask)

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

        return await _asked(ask)

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

        def shown(found: Mapping[str, Mapping[str, str]]) -> bool:
            return topic not in found or settings.items() <= found[topic].items()

        def ask() -> None:
            entries = [
                ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
                for name, value in settings.items()
            ]
            resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
            futures = self._admin.incremental_alter_configs([resource], request_timeout=self._seconds)
            self._result(futures[resource], f"{topic} could not be changed")
            self._wait_until(lambda: shown(self._settings_of([topic])), f"{topic} does not have its new settings")

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
            self._wait_until(lambda: not self._describe([topic]), f"{topic} is not gone")

        await asyncio.to_thread(ask)

    def _create(self, topics: Sequence[WantedTopic]) -> None:
        new = [NewTopic(t.name, t.partitions, t.replication, config=dict(t.settings)) for t in topics]
        futures = cast("_Futures[str, None]", self._admin.create_topics(new, request_timeout=self._seconds))
        for name, future in futures.items():
            self._result(future, f"{name} could not be created", unless=KafkaError.TOPIC_ALREADY_EXISTS)
        names = [topic.name for topic in topics]

        def led() -> bool:
            described = self._describe(names)
            return len(described) == len(names) and all(map(_is_led, described.values()))

        self._wait_until(led, f"{', '.join(names)}: not every partition has a leader")

    def _wait_until(self, holds: Callable[[], bool], complaint: str) -> None:
        """The controller answers before the brokers know."""
        deadline = time.monotonic() + _SETTLING_SECONDS
        while not holds():
            if time.monotonic() > deadline:
                message = f"{complaint} after {_SETTLING_SECONDS:.0f} s: check that all brokers run"
                raise LogUnavailableError(message)
            time.sleep(_POLL_SECONDS)

    def _describe(self, topics: Sequence[str]) -> dict[str, TopicDescription]:
        asked = self._admin.describe_topics(TopicCollection(list(topics)), request_timeout=self._seconds)
        described = {
            name: self._result(future, f"{name} cannot be seen", unless=KafkaError.UNKNOWN_TOPIC_OR_PART)
            for name, future in cast("_Futures[str, TopicDescription]", asked).items()
        }
        return {name: topic for name, topic in described.items() if topic is not None}

    def _settings_of(self, topics: Sequence[str]) -> dict[str, dict[str, str]]:
        if not topics:
            return {}
        resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
        asked = self._admin.describe_configs(resources, request_timeout=self._seconds)
        found: dict[str, dict[str, str]] = {}
        for resource, future in cast("_Futures[ConfigResource, Mapping[str, ConfigEntry]]", asked).items():
            doing = f"the settings of {resource.name} cannot be seen"
            entries = self._result(future, doing, unless=KafkaError.TOPIC_AUTHORIZATION_FAILED)
            if entries is not None:
                found[resource.name] = {name: entry.value or "" for name, entry in entries.items()}
        return found

    def _result(self, future: Future[T], doing: str, *, unless: int | None = None) -> T | None:
        """Wait for an answer; a login or a handshake that is refused ends it at once, not after many more tries.

        Gives None instead of an error of the code `unless`.
        """
        looked = False
        while not future.done():
            self._admin.poll(_POLL_SECONDS)
            if self._refusal is None and self._trouble is not None and not looked:
                # All that the client says about most refusals is that a connection was closed.
                looked, self._refusal = True, asyncio.run(diagnose(self._connection))
            if self._refusal is not None:
                # Said once: a broker that starts may not know its users yet, and know them the next time.
                refusal, self._refusal = self._refusal, None
                raise refusal_of(refusal, doing) from KafkaException(refusal)
        try:
            return future.result()
        except KafkaException as error:
            reason: KafkaError = error.args[0]
            if reason.code() == unless:
                return None
            if reason.code() == KafkaError._TIMED_OUT and self._trouble is not None:  # noqa: SLF001 - its public name
                reason = self._trouble
            raise refusal_of(reason, doing) from error

    def _note(self, error: KafkaError) -> None:
        """Keep what the client says about its connections; it would go on trying for ever."""
        self._trouble = error
        if answer_for(error.code()).reaction is Reaction.REFUSED:
            self._refusal = error


async def _asked(ask: Callable[[], T]) -> T:
    """Ask, and ask again if a broker closed the connection meanwhile, as it does when the time of a login is over."""
    try:
        return await asyncio.to_thread(ask)
    except LogUnavailableError as error:
        cause = error.__cause__
        if not isinstance(cause, KafkaException) or cause.args[0].code() != KafkaError._TRANSPORT:  # noqa: SLF001
            raise
        return await asyncio.to_thread(ask)


def _found(topic: TopicDescription, settings: Mapping[str, str] | None) -> FoundTopic:
    replication = min((len(partition.replicas) for partition in topic.partitions), default=0)
    # As Kafka's own tools write it.
    topic_id = str(topic.topic_id).translate(str.maketrans("+/", "-_"))
    identity = TopicIdentity(topic_id, len(topic.partitions))
    behind = {
        broker.id
        for partition in topic.partitions
        for broker in partition.replicas
        if broker.id not in {current.id for current in partition.isr}
    }
    return FoundTopic(topic.name, identity, replication, _is_led(topic), settings, frozenset(behind))


def _is_led(topic: TopicDescription) -> bool:
    return bool(topic.partitions) and all(
        cast("Node | None", partition.leader) is not None for partition in topic.partitions
    )
