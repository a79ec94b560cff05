"""From any process to the one that owns a partition, and back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

from eventstore.core.records import Partition

Answering: TypeAlias = Callable[[Partition, bytes], Awaitable[bytes]]
"""Gives the answer to a message that concerns a partition of this process; never raises, except when cancelled."""


class CommandChannel(Protocol):
    """Brings messages to the process that owns a partition, at least once, and its answers back.

    Messages of one key arrive in the order they were asked in, unless ownership moves meanwhile. Whoever answers
    must expect the same message again, and that nobody waits for the answer any more.
    """

    def is_local(self, partition: Partition) -> bool:
        """Tell whether this process owns the partition now; a hint, since only `commit` knows for certain."""
        ...

    async def ask(self, partition: Partition, key: str, message: bytes, timeout: float) -> bytes:  # noqa: ASYNC109 - travels with the message
        """Bring a message to the owner and give its answer.

        Args:
            partition: Whose owner.
            key: The aggregate's id: messages of one key stay in order.
            message: What to bring.
            timeout: Seconds to wait for the answer.

        Returns:
            What the owner's `Answering` function gave.

        Raises:
            LogUnavailableError: Certainly not delivered.
            AnswerLostError: Sent, but no answer within the timeout: it may have taken effect, or still will.
        """
        ...

    def serve(self, answer: Answering) -> None:
        """Answer the messages that others send for this process's partitions, from now until the log is closed.

        Without it, messages for its partitions wait. Called once after opening; several messages may be answered
        at the same time. Closing the log cancels what is being answered.

        Args:
            answer: Gives the answer to each.
        """
        ...
