"""From any process to the one that owns a partition, and back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

from eventstore.core.records import Partition

Answering: TypeAlias = Callable[[Partition, bytes], Awaitable[bytes]]
"""Gives the answer to a message that concerns a partition of this process; never raises, except when cancelled."""


class CommandChannel(Protocol):
    """Brings messages to the process that owns a partition, at least once, and its answers back.

    Messages of one key are given to the owner in the order they were asked in. Whoever answers must expect the same
    message again, and that nobody waits for the answer any more. A message is up to 16 MB long.
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
            What the owner's `Answering` function gave. By then neither this message nor an earlier one of its key
            will be answered again: otherwise a command could be executed after its caller was told of a refusal.

        Raises:
            LogUnavailableError: Certainly not delivered.
            StoreClosedError: The log was closed while the answer was awaited.
            AnswerLostError: Sent, but no answer within the timeout: it may have taken effect, or still will.
        """
        ...

    def serve(self, answer: Answering) -> None:
        """Answer the messages that others send for this process's partitions, from now until the log is closed.

        Called once after opening; a process that does not serve need not be given partitions. Many messages are
        answered at the same time, but not without bound: others wait in the channel. Losing a partition or closing
        the log cancels what is being answered for it, and the next owner gets those messages.

        Args:
            answer: Gives the answer to each.
        """
        ...
