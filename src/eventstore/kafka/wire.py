"""The few requests of Kafka's protocol that the fenced append needs, on one client shared by all partitions.

Built on aiokafka's protocol layer, since no client's producer lets its caller choose producer id, epoch and sequence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from aiokafka.client import CoordinationType
from aiokafka.errors import KafkaError, NodeNotReadyError
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import InitProducerIdRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import TopicPartition

from eventstore.core.errors import LogUnavailableError
from eventstore.kafka.answers import MISSING, NO_ANSWER, NO_LEADER
from eventstore.kafka.connection import Connection
from eventstore.kafka.reconnecting import ReconnectingClient
from eventstore.kafka.records import Record

REQUEST_SECONDS: Final = 3.0
"""After this long without an answer the connection is closed and the request counts as one of unknown outcome."""

_ACKS_ALL: Final = -1
_MAGIC: Final = 2
_LATEST: Final = -1
_CONSUMER: Final = -1
_READ_UNCOMMITTED: Final = 0
_MAX_BATCH: Final = 2**30
_TRANSACTION_MS: Final = 10_000
_LEAST_SECONDS: Final = 0.1
# aiokafka's own connections are 0 and 1. A broker answers the requests of one connection in turn, so appends to
# different partitions, and questions, would wait for each other on a common one.
_FIRST_CONNECTION: Final = 2


class ProducerIdentity(NamedTuple):
    """Under what a batch is written; the partition's leader refuses epochs older than the newest it has seen."""

    producer_id: int
    epoch: int


class Reply(NamedTuple):
    """What became of a request.

    Attributes:
        code: The broker's error code, 0 for success, or one of ours below -100 if it did not answer.
        value: What was asked for, if the code is 0.
        stored_at: Of what was written, the time that the broker gave it, in milliseconds since 1970; -1 if none.
    """

    code: int
    value: int = -1
    stored_at: int = -1


class Wire:
    """Speaks to the brokers; requests never raise for what a broker or a connection does: the reply's code tells.

    Args:
        connection: Where and how.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection: Final = connection
        self.on_missing: Callable[[], None] = lambda: None
        """Called when a broker says that a topic or partition is unknown."""
        self._client: Any = None  # aiokafka has no types; nothing of it leaves this file

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            LogUnavailableError: No broker answers.
        """
        self._client = ReconnectingClient(
            self._connection, request_timeout_ms=int(REQUEST_SECONDS * 1000), metadata_max_age_ms=60_000
        )
        try:
            await self._client.bootstrap()
        except KafkaError as error:
            await self._client.close()
            message = f"the brokers at {self._connection.bootstrap} cannot be reached: {error}"
            raise LogUnavailableError(message) from error
        except BaseException:
            await self._client.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        await self._client.close()

    async def know(self, topics: Sequence[str]) -> None:
        """Learn who leads the partitions of some topics."""
        await self._client.set_topics(topics)

    async def refresh(self, seconds: float = REQUEST_SECONDS) -> None:
        """Learn anew who leads which partition; gives up after a while, since every broker may be down."""
        with suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, REQUEST_SECONDS)):
                await self._client.force_metadata_update()

    async def init_producer_id(self, transactional_id: str, seconds: float) -> tuple[int, ProducerIdentity]:
        """Take the next epoch of a transactional id; every older one is fenced once a batch of the new one is in.

        Args:
            transactional_id: The partition's.
            seconds: How long to wait for the answer.

        Returns:
            The broker's error code, and the identity if it is 0.
        """
        nobody = ProducerIdentity(-1, -1)
        try:
            async with asyncio.timeout(max(seconds, _LEAST_SECONDS)):
                node = await self._client.coordinator_lookup(CoordinationType.TRANSACTION, transactional_id)
                answer = await self._client.send(node, InitProducerIdRequest(transactional_id, _TRANSACTION_MS))
        except NodeNotReadyError:
            return self._client.not_sent, nobody
        except KafkaError as error:
            return _code_of(error), nobody
        except (TimeoutError, OSError, AssertionError):
            return NO_ANSWER, nobody
        return answer.error_code, ProducerIdentity(answer.producer_id, answer.producer_epoch)

    async def produce(self, topic: str, number: int, batch: bytes, seconds: float) -> Reply:
        """Send one record batch, to be acknowledged by all in-sync replicas.

        Args:
            topic: Where to.
            number: Which partition.
            batch: From `encode_batch`.
            seconds: How long to wait for the answer, and the leader for its replicas.

        Returns:
            The code, and the batch's first offset if it is 0.
        """
        leader = self.leader(topic, number)
        if leader is None:
            return self._replied(NO_LEADER)
        seconds = max(seconds, _LEAST_SECONDS)
        patience = min(seconds, REQUEST_SECONDS) * 0.8  # the answer has to come before we give up
        connection = _FIRST_CONNECTION + number
        request = ProduceRequest(None, _ACKS_ALL, int(patience * 1000), [(topic, [(number, batch)])])
        try:
            async with asyncio.timeout(seconds):
                if not await self._client.ready(leader, group=connection):
                    return Reply(self._client.not_sent)
                answer = await self._client.send(leader, request, group=connection)
        except TimeoutError:
            self._hang_up(leader, connection)
            return Reply(NO_ANSWER)
        except (KafkaError, OSError):
            return Reply(NO_ANSWER)
        _, ((_, code, offset, *rest),) = answer.topics[0]
        return self._replied(code, offset, rest[0] if rest else -1)

    def _hang_up(self, node: int, connection: int) -> None:
        """Close a connection that may be dead: the client itself would only after its own, longer time."""
        found = self._client._conns.get((node, connection))  # noqa: SLF001 - there is no other way
        if found is not None:
            found.close()

    async def end_offset(self, topic: str, number: int) -> Reply:
        """Ask the leader for one past the newest offset that is replicated."""
        leader = self.leader(topic, number)
        if leader is None:
            return self._replied(NO_LEADER)
        request = OffsetRequest(_CONSUMER, _READ_UNCOMMITTED, [(topic, [(number, _LATEST)])])
        try:
            answer = await self._client.send(leader, request)
        except NodeNotReadyError:
            return Reply(self._client.not_sent)
        except (KafkaError, TimeoutError, OSError):
            return Reply(NO_ANSWER)
        _, ((_, code, _, offset),) = answer.topics[0]
        return self._replied(code, offset)

    @property
    def brokers(self) -> Mapping[int, str]:
        """The addresses of all brokers that are there, as one of them says, by their ids."""
        return {broker.nodeId: f"{broker.host}:{broker.port}" for broker in self._client.cluster.brokers()}

    def leader(self, topic: str, number: int) -> int | None:
        """Tell which broker leads a partition of a topic that is known, if any does."""
        found: int | None = self._client.cluster.leader_for_partition(TopicPartition(topic, number))
        return None if found == -1 else found

    async def spoken_by(self, broker: int, seconds: float) -> Mapping[int, tuple[int, int]] | None:
        """Connect to one broker, log in, and give the versions that it speaks of each request; None if that fails.

        Args:
            broker: Its id.
            seconds: How long it may take.
        """
        try:
            async with asyncio.timeout(seconds):
                if not await self._client.ready(broker, group=_FIRST_CONNECTION):
                    return None
        except (KafkaError, TimeoutError, OSError):
            return None
        found: Mapping[int, tuple[int, int]] = self._client._conns[broker, _FIRST_CONNECTION]._versions  # noqa: SLF001 - there is no other way
        return found

    def _replied(self, code: int, value: int = -1, stored_at: int = -1) -> Reply:
        if code in MISSING:
            self.on_missing()
        return Reply(code, value, stored_at)


def encode_batch(records: Sequence[Record], identity: ProducerIdentity, sequence: int) -> bytes:
    """Encode records as one batch of the message format 2: all of them are stored, or none.

    Args:
        records: At least one.
        identity: Under which to write.
        sequence: Number of the first record in its producer's epoch and partition.

    Returns:
        The batch.
    """
    builder: Any = DefaultRecordBatchBuilder(_MAGIC, 0, 0, *identity, sequence, _MAX_BATCH)
    for position, (key, value, headers) in enumerate(records):
        builder.append(position, None, key, value, headers)
    return bytes(builder.build())


def _code_of(error: KafkaError) -> int:
    code: int = getattr(error, "errno", NO_ANSWER)
    return code if code > 0 else NO_ANSWER
