"""Commands to the process that owns a partition, over the commands topic, and its answers, over the replies topic."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Self

from eventstore.background import Background
from eventstore.core.errors import AnswerLostError, EventStoreError, StoreClosedError
from eventstore.core.records import Partition
from eventstore.environment import Environment
from eventstore.kafka.connection import Connection
from eventstore.kafka.election import Delivery
from eventstore.kafka.names import PartitionName
from eventstore.kafka.records import Record
from eventstore.kafka.replies import Replies
from eventstore.kafka.sending import Sender
from eventstore.ports import Answering

_LOGGER: Final = logging.getLogger(__name__)
_REPLY_TO: Final = "reply_to"
_CORRELATION: Final = "correlation"
_ANSWER_SECONDS: Final = 10.0
_ASK_AGAIN: Final = b""
"""Answers a message that was sent in a former owner's time: whoever still waits sends it again, nobody else will."""


class Channel:
    """Implements `CommandChannel`: every message is delivered to some owner of its partition, at least once.

    Args:
        connection: Where and how.
        sender: Sends messages; opened and closed with the channel.
        replies: The replies topic and how many partitions it has.
        is_local: Tells whether this process owns a partition.
        parse: Reads partition names.
        environment: Clock and randomness.
    """

    def __init__(
        self,
        connection: Connection,
        sender: Sender,
        replies: tuple[str, int],
        is_local: Callable[[Partition], bool],
        parse: Callable[[Partition], PartitionName],
        environment: Environment,
    ) -> None:
        self._connection: Final = connection
        self._topic, partitions = replies
        self._is_local: Final = is_local
        self._parse: Final = parse
        self._environment: Final = environment
        self._number: Final = environment.entropy.bits(32) % partitions
        self._waiting: Final[dict[bytes, asyncio.Future[bytes]]] = {}
        self._sender: Final = sender
        self._resources: Final = AsyncExitStack()
        self._background: Final = Background()
        self._opening: Final = asyncio.Lock()
        self._listener: Replies | None = None
        self._closed = False
        self._answering: Answering | None = None
        self._join: Callable[[], None] = lambda: None

    async def __aenter__(self) -> Self:
        """Be ready to send; replies are listened to from the first question on, or as soon as messages are answered."""
        await self._resources.enter_async_context(self._sender)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give up what waits for an answer, and disconnect."""
        self._closed = True
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(_closed())
        await self._background.close()
        async with self._opening:
            await self._resources.__aexit__(kind, error, trace)

    async def _listen(self) -> None:
        """Hear replies: whoever sends no command needs no right to.

        Raises:
            ConfigurationError: This user may not hear them.
            LogUnavailableError: The brokers cannot be reached.
        """
        async with self._opening:
            if self._closed:
                raise _closed()
            if self._listener is None or not self._listener.is_listening:
                listener = Replies(self._connection, self._topic, self._number, self._heard, self._heard_no_more)
                self._listener = await self._resources.enter_async_context(listener)

    async def _listen_early(self) -> None:
        try:
            await self._listen()
        except EventStoreError as error:
            _LOGGER.warning("replies cannot be heard yet; the first command to another process tries again: %s", error)

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
        self._background.start(self._listen_early(), "eventstore-replies")

    async def ask(self, partition: Partition, key: str, message: bytes, timeout: float) -> bytes:  # noqa: ASYNC109 - travels with the message
        """Bring a message to the owner and give its answer; see `CommandChannel.ask`."""
        name, clock = self._parse(partition), self._environment.clock
        deadline = clock.monotonic() + timeout
        try:
            async with asyncio.timeout(timeout):
                await self._listen()
                while True:
                    answer = await self._ask_once(name, key.encode(), message, deadline - clock.monotonic())
                    if answer != _ASK_AGAIN:
                        return answer
        except TimeoutError:
            lost = f"{partition}: its owner did not answer within {timeout:g} s"
            raise AnswerLostError(lost) from None

    async def _ask_once(self, name: PartitionName, key: bytes, message: bytes, seconds: float) -> bytes:
        correlation = b"%032x" % self._environment.entropy.bits(128)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[correlation] = answer
        headers = [(_REPLY_TO, b"%d" % self._number), (_CORRELATION, correlation)]
        sent = self._sender.post(name.commands_topic, name.number, Record(key, message, headers), seconds)

        def give_up(sent: asyncio.Future[None]) -> None:
            if not sent.cancelled() and not answer.done() and (error := sent.exception()):
                answer.set_exception(error)

        sent.add_done_callback(give_up)
        try:
            return await answer  # it may be here before the broker's word that the message is stored
        finally:
            sent.cancel()
            answer.cancel()
            del self._waiting[correlation]

    async def answer(self, partition: Partition, delivery: Delivery, new: bool) -> None:  # noqa: FBT001 - see AnswerDelivery
        """Answer one message of another process; one that is not new has to be asked again."""
        assert self._answering is not None  # noqa: S101 - nothing is delivered before `serve`
        answer = await self._answering(partition, delivery.value) if new else _ASK_AGAIN
        number, correlation = delivery.headers.get(_REPLY_TO), delivery.headers.get(_CORRELATION)
        if number is not None and number.isdigit() and correlation is not None:
            # Whoever asked asks again if this gets lost, but not before half of its time is over.
            record = Record(correlation, answer, [])
            self._sender.post(self._topic, int(number), record, _ANSWER_SECONDS, repeatable=True)

    def _heard(self, correlation: bytes, answer: bytes) -> None:
        waiting = self._waiting.get(correlation)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def _heard_no_more(self, error: EventStoreError) -> None:
        """Fail whatever waits: its answer cannot come any more, and the next question tries to listen again."""
        _LOGGER.error("replies are no longer heard: %s", error)
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(AnswerLostError(str(error)))


def _closed() -> StoreClosedError:
    return StoreClosedError("the log was closed before the answer came")
