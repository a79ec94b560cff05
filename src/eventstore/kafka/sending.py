"""Sends messages: many per request, one request per partition at a time, in order, each stored at most once."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import Final, NamedTuple, Self

from eventstore.background import Background
from eventstore.core.errors import AnswerLostError, EventStoreError, LogUnavailableError, StoreClosedError
from eventstore.environment import Environment
from eventstore.kafka.answers import Answer, Reaction, answer_for
from eventstore.kafka.errors import unusable
from eventstore.kafka.records import Record
from eventstore.kafka.wire import ProducerIdentity, Wire, encode_batch

_NOBODY: Final = ProducerIdentity(-1, -1)
_NO_SEQUENCE: Final = -1
_MAX_BYTES: Final = 500_000
_CLOSE_SECONDS: Final = 1.0
_PAUSE: Final = 0.05


class _Message(NamedTuple):
    """A record on its way, and who waits for it."""

    record: Record
    expires: float
    stored: asyncio.Future[None]
    repeatable: bool


class Sender:
    """Sends each message once; one that may be stored is sent again only if whoever posted it said that it may be.

    Args:
        wire: Speaks to the brokers.
        environment: Clock.
    """

    def __init__(self, wire: Wire, environment: Environment) -> None:
        self._wire: Final = wire
        self._clock: Final = environment.clock
        self._queues: Final[dict[tuple[str, int], deque[_Message]]] = {}
        self._background: Final = Background()
        self._idle: Final = asyncio.Event()
        self._idle.set()

    async def __aenter__(self) -> Self:
        """Do nothing yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send what is queued if the brokers take it soon, and give up the rest."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._idle.wait()
        await self._background.close()
        for queue in self._queues.values():
            for message in queue:
                _fail(message, StoreClosedError("the log was closed before the message was sent"))

    def post(
        self, topic: str, number: int, record: Record, seconds: float, *, repeatable: bool = False
    ) -> asyncio.Future[None]:
        """Send a message.

        Args:
            topic: Where to.
            number: Which partition.
            record: The message.
            seconds: How long it may wait to be sent.
            repeatable: Whether it may be stored twice, as an answer may, which is heard once; a command is executed anew.

        Returns:
            Done when the message is stored. Fails with `LogUnavailableError`, or `ConfigurationError` if this user may
            not, if it certainly never will be, and with `AnswerLostError` if nobody knows. It may be left alone;
            cancelled, the message is not sent any more.
        """
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        stored.add_done_callback(_noticed)
        place = topic, number
        queue = self._queues.get(place)
        if queue is None:
            queue = self._queues[place] = deque()
            self._idle.clear()
            self._background.start(self._work(place, queue), f"eventstore-send-{topic}-{number}")
        queue.append(_Message(record, self._clock.monotonic() + seconds, stored, repeatable))
        return stored

    async def _work(self, place: tuple[str, int], queue: deque[_Message]) -> None:
        while queue:
            messages = self._take(queue)
            if not messages:
                continue
            batch = encode_batch([message.record for message in messages], _NOBODY, _NO_SEQUENCE)
            seconds = max(message.expires for message in messages) - self._clock.monotonic()
            try:
                reply = await self._wire.produce(*place, batch, seconds)
            except BaseException:
                queue.extendleft(reversed(messages))
                raise
            answer = answer_for(reply.code)
            again = [message for message in messages if _goes_again(message, answer.reaction)]
            settled = [message for message in messages if not _goes_again(message, answer.reaction)]
            queue.extendleft(reversed(again))
            for message in settled:
                if answer.reaction is not Reaction.DONE:
                    _fail(message, _error(place, answer, reply.code))
                elif not message.stored.done():
                    message.stored.set_result(None)
            if again:
                await self._clock.sleep(_PAUSE)
                await self._wire.refresh()
        del self._queues[place]
        if not self._queues:
            self._idle.set()

    def _take(self, queue: deque[_Message]) -> list[_Message]:
        """Take what fits one request, at least one if there is any that somebody still waits for."""
        taken: list[_Message] = []
        size, now = 0, self._clock.monotonic()
        while queue:
            message = queue[0]
            size += len(message.record.key) + len(message.record.value or b"")
            if taken and size > _MAX_BYTES:
                break
            queue.popleft()
            if message.expires <= now:
                _fail(message, LogUnavailableError("the brokers did not take a message in time; it was not sent"))
            elif not message.stored.done():
                taken.append(message)
        return taken


def _goes_again(message: _Message, reaction: Reaction) -> bool:
    """Tell whether to send it again; otherwise its outcome is known, or nobody ever will know it."""
    return reaction is Reaction.AGAIN or (reaction is Reaction.DOUBT and message.repeatable)


def _error(place: tuple[str, int], answer: Answer, code: int) -> EventStoreError:
    text = f"a message to {place[0]} {place[1]} was not acknowledged ({answer.name}): {answer.remedy}"
    return unusable(code, text) if answer.reaction is Reaction.REFUSED else AnswerLostError(text)


def _fail(message: _Message, error: EventStoreError) -> None:
    if not message.stored.done():
        message.stored.set_exception(error)


def _noticed(future: asyncio.Future[None]) -> None:
    """Keep a failure that nobody waits for from being reported as forgotten."""
    if not future.cancelled():
        future.exception()
