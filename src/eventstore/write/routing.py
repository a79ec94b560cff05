"""Routing: a request is executed by the process that owns its partition, whichever process it was given to.

    execute ---> owned here? ---yes---> group commit ----.
                     |                                   |---> answer
                     '------no---> channel ---> owner ---'
              ^                                          |
              '--- pause <--- lost, moved, unavailable <-'     until the one deadline passes

A try whose outcome is unknown is followed by a try with the same command id, which the owner looks up first. An erasure
may be repeated as it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from typing import Final, Generic, Protocol, TypeVar

from eventstore.core.errors import (
    AnswerLostError,
    AppendOutcomeUnknownError,
    CommandFailedError,
    ConfigurationError,
    EventStoreError,
    LogUnavailableError,
    OwnershipLostError,
    StoreClosedError,
)
from eventstore.core.records import Partition
from eventstore.core.streams import StreamId
from eventstore.environment import Environment
from eventstore.ports import CommandChannel
from eventstore.write.deciding import Request
from eventstore.write.erasing import Erasure
from eventstore.write.messages import Answer, Messages
from eventstore.write.pending import Committed

T = TypeVar("T")
_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 0.5
_SHORTEST_WAIT: Final = 1.0
"""Seconds. An answer is awaited for half of what is left, but not shorter: a new owner answers what the old one left."""


class LocalExecution(Protocol):
    """Executes requests for the partitions that this process owns."""

    def partition_of(self, stream: StreamId) -> Partition:
        """Give the partition of a stream."""
        ...

    async def execute_here(
        self, request: Request, partition: Partition, *, look_up: bool, deadline: float
    ) -> Committed:
        """Execute a command by this process's group commit.

        Args:
            request: The command.
            partition: Where its stream lives.
            look_up: Whether its id may be in the log already.
            deadline: On the monotonic clock.
        """
        ...

    async def erase_here(self, erasure: Erasure) -> bool:
        """Erase an event from this process's log; see `StreamWriter.erase`."""
        ...


@dataclass(slots=True)  # frozen ones take three times as long to make
class _Errand(Generic[T]):
    """What is wanted from the owner of a stream.

    Attributes:
        stream: The stream.
        partition: Where it lives.
        label: Names it in messages.
        command_ids: What to repeat if the outcome stays unknown.
        do_here: Does it; is told whether an earlier try may have done it.
        write: Encodes it for another process, with the seconds that are left.
        read: Decodes the answer, or raises it.
    """

    stream: StreamId
    partition: Partition
    label: str
    command_ids: tuple[str, ...]
    do_here: Callable[[bool], Awaitable[T]]
    write: Callable[[float], bytes]
    read: Callable[[bytes], T]


class CommandRouter:
    """Executes commands and erasures here or where their partition is owned, and answers those that others send.

    Args:
        local: Executes what is owned here.
        channel: The way to other owners; None if every process may write.
        messages: The wire form.
        environment: Clock and randomness.
    """

    def __init__(
        self, local: LocalExecution, channel: CommandChannel | None, messages: Messages, environment: Environment
    ) -> None:
        self._local: Final = local
        self._channel: Final = channel
        self._messages: Final = messages
        self._environment: Final = environment
        self._clock: Final = environment.clock

    async def execute(self, request: Request, *, look_up: bool, deadline: float) -> Committed:
        """Execute a command wherever its partition is owned; see `EventStore.execute`.

        Args:
            request: The command.
            look_up: Whether its id may be in the log already.
            deadline: On the monotonic clock; all tries share it.
        """
        partition = self._local.partition_of(request.stream)
        errand = _Errand(
            request.stream,
            partition,
            f"{type(request.command).__name__} on {request.stream}",
            (str(request.command_id),),
            lambda again: self._local.execute_here(request, partition, look_up=look_up or again, deadline=deadline),
            lambda left: self._messages.write_request(request, left),
            lambda answer: self._messages.read_answer(request, answer),
        )
        return await self._run(errand, deadline)

    async def erase(self, erasure: Erasure, *, deadline: float) -> bool:
        """Erase an event wherever its partition is owned; see `EventStore.erase`.

        Args:
            erasure: Which event.
            deadline: On the monotonic clock; all tries share it.
        """
        errand = _Errand(
            erasure.stream,
            self._local.partition_of(erasure.stream),
            f"the erasure of {erasure.stream} version {erasure.version}",
            (),
            lambda _: self._local.erase_here(erasure),
            lambda left: self._messages.write_erasure(erasure, left),
            self._messages.read_erased,
        )
        return await self._run(errand, deadline)

    async def _run(self, errand: _Errand[T], deadline: float) -> T:
        if self._channel is None:
            return await errand.do_here(False)
        in_doubt = asked = False
        failure: EventStoreError | None = None
        for attempt in count():
            # What was once sent is sent again, even if it is owned here by now: the owner takes a key's messages in
            # their order, so no earlier one is executed after a later one was refused.
            here = not asked and self._channel.is_local(errand.partition)
            asked = not here
            try:
                if here:
                    return await errand.do_here(attempt > 0)
                return await self._ask(self._channel, errand, deadline)
            except (OwnershipLostError, LogUnavailableError, AnswerLostError, AppendOutcomeUnknownError) as error:
                in_doubt |= isinstance(error, AnswerLostError | AppendOutcomeUnknownError)
                # A try that was cut short by the deadline says no more than that; the one before it says why.
                if failure is None or self._clock.monotonic() < deadline:
                    failure = error
            except ConfigurationError as error:
                if in_doubt:  # what somebody has to mend now says nothing about the try before
                    raise _given_up(errand, error, in_doubt=True) from error
                raise
            # Once in doubt, a later refusal of the log proves nothing: an earlier try may be on its way still.
            pause = min(self._pause(attempt), deadline - self._clock.monotonic())
            if pause > 0:
                await self._clock.sleep(pause)
            if self._clock.monotonic() >= deadline:
                raise _given_up(errand, failure, in_doubt=in_doubt) from failure
        raise AssertionError  # pragma: no cover - the count has no end

    async def _ask(self, channel: CommandChannel, errand: _Errand[T], deadline: float) -> T:
        left = max(0.0, deadline - self._clock.monotonic())
        message = errand.write(left)
        wait = min(left, max(left / 2, _SHORTEST_WAIT))
        answer = await channel.ask(errand.partition, errand.stream.id, message, wait)
        try:
            return errand.read(answer)
        except (OwnershipLostError, LogUnavailableError) as error:
            # Whoever says so wrote nothing. But it may have been deposed, and the newer owner got the message as well.
            lost = f"{errand.partition}: {error}"
            raise AnswerLostError(lost) from error

    def _pause(self, attempt: int) -> float:
        """Give the seconds before the next try: doubling, and different for everyone who waits for the same owner."""
        longest = min(_FIRST_PAUSE * (1 << min(attempt, 16)), _LONGEST_PAUSE)
        return longest * (1 + self._environment.entropy.bits(16) / 2**16) / 2

    async def answer(self, partition: Partition, message: bytes) -> bytes:
        """Execute what another process sent, and give its answer; never raises, except when cancelled.

        Args:
            partition: The partition it was sent to.
            message: From `Messages.write_request` or `write_erasure`.
        """
        return self._messages.write_answer(await self._answer(partition, message))

    async def _answer(self, partition: Partition, message: bytes) -> Answer:
        try:
            request, timeout = self._messages.read_request(message)
            self._refuse_elsewhere(partition, request.stream)
        except EventStoreError as error:
            return error
        try:
            if isinstance(request, Erasure):
                return await self._local.erase_here(request)
            deadline = self._clock.monotonic() + timeout
            return await self._local.execute_here(request, partition, look_up=True, deadline=deadline)
        except StoreClosedError as closed:
            return AnswerLostError(f"the owner was closed meanwhile: {closed}")
        except EventStoreError as error:
            return error
        except Exception as bug:  # noqa: BLE001 - whatever the domain raised belongs to the caller alone
            return _as_answer(bug, request)

    def _refuse_elsewhere(self, partition: Partition, stream: StreamId) -> None:
        own = self._local.partition_of(stream)
        if own != partition:
            message = (
                f"{stream} was sent to the owner of {partition} but lives in {own}: "
                "open the log with the same number of partitions everywhere. Nothing was written"
            )
            raise ConfigurationError(message)


def _as_answer(bug: Exception, request: Request | Erasure) -> CommandFailedError:
    what = type(request if isinstance(request, Erasure) else request.command).__name__
    failed = CommandFailedError(command=what, stream=str(request.stream), cause=f"{type(bug).__name__}: {bug}")
    for note in getattr(bug, "__notes__", ()):
        failed.add_note(note)
    return failed


def _given_up(errand: _Errand[T], failure: EventStoreError, *, in_doubt: bool) -> EventStoreError:
    if in_doubt:
        cause = failure.cause if isinstance(failure, AppendOutcomeUnknownError) else str(failure)
        return AppendOutcomeUnknownError(errand.command_ids, cause)
    return LogUnavailableError(
        f"{errand.label} was not executed before its deadline; nothing was written, try again (last: {failure})"
    )
