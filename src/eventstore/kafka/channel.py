"""Commands to the process that owns a partition, over the commands topic, and its answers, over the replies topic."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from eventstore.background import Background
from eventstore.core.errors import AnswerLostError, LogUnavailableError, StoreClosedError
from eventstore.core.records import Partition
from eventstore.environment import Environment
from eventstore.kafka.connection import Connection
from eventstore.kafka.election import Delivery
from eventstore.kafka.names import PartitionName
from eventstore.kafka.replies import Replies
from eventstore.ports import Answering

_LOGGER: Final = logging.getLogger(__name__)
_REPLY_TO: Final = "reply_to"
_CORRELATION: Final = "correlation"
_ASK_AGAIN: Final = b""
"""Answers a message that was sent in a former owner's time: whoever still waits sends it again, nobody else will."""


class Channel:
    """Implements `CommandChannel`: every message is delivered to some owner of its partition, at least once.

    Args:
        connection: Where and how.
        replies: The replies topic and how many partitions it has.
        is_local: Tells whether this process owns a partition.
        parse: Reads partition names.
        environment: Randomness.
    """

    def __init__(
        self,
        connection: Connection,
        replies: tuple[str, int],
        is_local: Callable[[Partition], bool],
        parse: Callable[[Partition], PartitionName],
        environment: Environment,
    ) -> None:
        self._connection: Final = connection
        self._topic, partitions = replies
        self._is_local: Final = is_local
        self._parse: Final = parse
        self._entropy: Final = environment.entropy
        self._number: Final = self._entropy.bits(32) % partitions
        self._waiting: Final[dict[bytes, asyncio.Future[bytes]]] = {}
        self._background: Final = Background()
        self._resources: Final = AsyncExitStack()
        self._answering: Answering | None = None
        self._join: Callable[[], None] = lambda: None
        self._producer: Any = None  # aiokafka has no types; nothing of it leaves this file

    async def __aenter__(self) -> Self:
        """Connect, and listen to replies.

        Raises:
            LogUnavailableError: The brokers cannot be reached.
        """
        async with AsyncExitStack() as resources:
            listener = Replies(self._connection.confluent(), self._topic, self._number, self._heard)
            await resources.enter_async_context(listener)
            self._producer = AIOKafkaProducer(**self._connection.aiokafka(), acks="all", enable_idempotence=True)
            try:
                await self._producer.start()
            except KafkaError as error:
                message = f"the brokers cannot be reached: {error}"
                raise LogUnavailableError(message) from error
            resources.push_async_callback(self._producer.stop)
            resources.push_async_callback(self._background.close)
            self._resources.push_async_exit(resources.pop_all())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give up what waits for an answer, and disconnect."""
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(StoreClosedError("the log was closed before the answer came"))
        await self._resources.__aexit__(kind, error, trace)

    def is_local(self, partition: Partition) -> bool:
        """Tell whether this process owns the partition now."""
        return self._is_local(partition)

    def when_serving(self, join: Callable[[], None]) -> None:
        """Say what begins when somebody answers messages: only then may this process own partitions."""
        self._join = join

    def serve(self, answer: Answering) -> None:
        """Answer the messages of other processes, and own a share of the partitions from now on."""
        self._answering = answer
        self._join()

    async def ask(self, partition: Partition, key: str, message: bytes, timeout: float) -> bytes:  # noqa: ASYNC109 - travels with the message
        """Bring a message to the owner and give its answer; see `CommandChannel.ask`."""
        name = self._parse(partition)
        try:
            async with asyncio.timeout(timeout):
                while True:
                    answer = await self._ask_once(name, key.encode(), message)
                    if answer != _ASK_AGAIN:
                        return answer
        except TimeoutError:
            lost = f"{partition}: its owner did not answer within {timeout:g} s"
            raise AnswerLostError(lost) from None

    async def _ask_once(self, name: PartitionName, key: bytes, message: bytes) -> bytes:
        correlation = b"%032x" % self._entropy.bits(128)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[correlation] = answer
        try:
            headers = [(_REPLY_TO, b"%d" % self._number), (_CORRELATION, correlation)]
            await self._send(name.commands_topic, name.number, key, message, headers)
            return await answer
        finally:
            del self._waiting[correlation]

    async def _send(
        self, topic: str, number: int, key: bytes, value: bytes, headers: Sequence[tuple[str, bytes]]
    ) -> None:
        try:
            await self._producer.send_and_wait(topic, value, key=key, partition=number, headers=headers)
        except KafkaError as error:
            # It may still be on its way: the producer gives a batch up without knowing its fate.
            message = f"a message to {topic} was not acknowledged: {error}"
            raise AnswerLostError(message) from error

    async def answer(self, partition: Partition, delivery: Delivery, new: bool) -> None:  # noqa: FBT001 - see AnswerDelivery
        """Answer one message of another process; one that is not new has to be asked again."""
        assert self._answering is not None  # noqa: S101 - nothing is delivered before `serve`
        answer = await self._answering(partition, delivery.value) if new else _ASK_AGAIN
        number, correlation = delivery.headers.get(_REPLY_TO), delivery.headers.get(_CORRELATION)
        if number is not None and number.isdigit() and correlation is not None:
            # Whoever asked asks again if this gets lost, also if the brokers do not take it now.
            try:
                await self._producer.send(self._topic, answer, key=correlation, partition=int(number))
            except KafkaError as error:
                _LOGGER.warning("%s: an answer could not be sent: %s", partition, error)

    def _heard(self, correlation: bytes, answer: bytes) -> None:
        waiting = self._waiting.get(correlation)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)
