"""What a message of an inbox does: its commands are executed, or its failure is dealt with as the inbox says."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, Protocol, TypeAlias, TypeVar

from eventstore.core.errors import CommandRejectedError, EventSchemaError, EventStoreError, StoreClosedError
from eventstore.core.inboxes import Inbox, InboxFold, Incoming
from eventstore.core.messages import Message
from eventstore.core.policies import OnError
from eventstore.ports import Clock, EventCodec

T = TypeVar("T")
_LOGGER: Final = logging.getLogger(__name__)
_FIRST_BACKOFF: Final = 0.1
_LONGEST_BACKOFF: Final = 5.0

Execute: TypeAlias = Callable[[Incoming], Awaitable[bool]]
"""Executes a command and tells whether the log knows its id from now on: it does not if there were no events."""


class Letters(Protocol):
    """Where messages go that had to be passed over."""

    async def park(self, message: Message, cause: str) -> None:
        """Keep a message with its cause; it is on the brokers when this returns.

        Raises:
            LogUnavailableError: They do not take it now.
        """
        ...

    async def is_parked(self, message: Message) -> bool:
        """Tell whether somebody has parked a message.

        Raises:
            LogUnavailableError: The brokers cannot be asked now.
        """
        ...


class MessageHaltedError(EventStoreError):
    """A message failed, and the inbox is to halt there. Internal: shown with the partition.

    Args:
        inbox: Its name.
        message: Which message.
        cause: What went wrong, in words.
        remedy: What to do.
    """

    def __init__(self, inbox: str, message: Message, cause: str, remedy: str) -> None:
        super().__init__(f"the inbox {inbox} is halted at {message.place}: {cause}. {remedy}")
        self.cause: Final = cause


class TurnInDoubtError(EventStoreError):
    """It may be another process's turn by now. Internal: nothing was executed; ask the group, then try again."""


class MessageWork:
    """Carries messages out, one at a time.

    Args:
        inbox: The user's inbox.
        execute: Executes a command.
        letters: Keeps dead letters.
        clock: For waits.
        in_doubt: Tells whether it may be another process's turn by now.
        codec: Decodes values that are not JSON; it is open.
    """

    def __init__(
        self,
        inbox: Inbox,
        execute: Execute,
        letters: Letters,
        clock: Clock,
        in_doubt: Callable[[], bool],
        codec: EventCodec | None = None,
    ) -> None:
        self._in_doubt: Final = in_doubt
        self._definition: Final = inbox.definition
        self._codec: Final = codec
        self._fold: Final = InboxFold(inbox, codec)
        self._execute: Final = execute
        self._letters: Final = letters
        self._clock: Final = clock

    async def prepare(self, messages: Sequence[Message]) -> None:
        """Fetch what reading messages takes, however long that takes."""
        if self._codec is not None:
            values = [message.value for message in messages if message.value]
            await self._patiently(partial(self._codec.prepare, values))

    async def carry_out(self, message: Message) -> bool:
        """Give a message its effect, however long the log takes to come back.

        Returns:
            Whether another delivery would certainly do nothing more. It might after a rejection, a command without
            events, or a failure that was passed over: the log knows nothing of those.

        Raises:
            MessageHaltedError: It failed and the policy is to halt.
            TurnInDoubtError: It may be another process's turn by now.
            StoreClosedError: The store was closed.
        """
        attempt = 0
        while True:
            try:
                return await self.attempt(message)
            except (StoreClosedError, TurnInDoubtError):
                raise
            except Exception as cause:  # noqa: BLE001 - what the user's code raises is dealt with as the user says
                policy, failure = self._definition.on_error, cause
                if isinstance(cause, CommandRejectedError) and self._definition.on_rejection is not None:
                    policy = self._definition.on_rejection
            attempt += 1
            if attempt < policy.attempts:
                await self._clock.sleep(policy.delay(attempt))
                continue
            await self._give_up(message, policy, failure)
            return False

    async def attempt(self, message: Message) -> bool:
        """Give a message its effect, or raise why it cannot have it; see `carry_out`.

        Raises:
            CommandRejectedError: The domain said no, and that is no normal outcome for this inbox.
            TurnInDoubtError: It may be another process's turn by now.
            Exception: Whatever else is wrong with it.
        """
        known = True
        for incoming in self._fold.commands(message):
            if self._in_doubt():
                # What was rejected is not recognised: behind a later command of its key it might be accepted.
                raise TurnInDoubtError
            try:
                known &= await self._patiently(partial(self._execute, incoming))
            except CommandRejectedError as refusal:
                if self._definition.on_rejection is not None:
                    raise
                _LOGGER.info("%s: the command of %s was rejected: %s", self._definition.name, message.place, refusal)
                known = False
        return known

    async def _give_up(self, message: Message, policy: OnError, failure: Exception) -> None:
        name, cause = self._definition.name, describe(failure)
        match policy.then:
            case "halt":
                what = "Deploy code that can read it" if isinstance(failure, EventSchemaError) else "Fix the cause"
                remedy = f"{what}, and it goes on by itself; or park it: eventstore inbox park {name}"
                raise MessageHaltedError(name, message, cause, remedy) from failure
            case "dead_letter":
                _LOGGER.error("%s parks %s: %s", name, message.place, cause)
                await self._patiently(partial(self._letters.park, message, cause))
            case "skip":
                _LOGGER.error("%s skips %s: %s", name, message.place, cause)

    async def is_parked(self, message: Message) -> bool:
        """Tell whether somebody has parked a message that this inbox is halted at."""
        return await self._patiently(partial(self._letters.is_parked, message))

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do something again and again while that may help."""
        backoff = _FIRST_BACKOFF
        while True:
            try:
                return await work()
            except EventStoreError as error:
                if not error.retriable:
                    raise
                _LOGGER.warning("%s: trying again in %g s: %s", self._definition.name, backoff, error)
            await self._clock.sleep(backoff)
            backoff = min(backoff * 2, _LONGEST_BACKOFF)


def describe(cause: BaseException) -> str:
    """Say what was raised, on one line."""
    return " ".join(f"{type(cause).__name__}: {cause}".split())
