"""Several processes in one: logs that share what is written, each partition owned by one of them at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from eventstore.background import Background
from eventstore.core.errors import (
    AnswerLostError,
    ConfigurationError,
    LogUnavailableError,
    OwnershipLostError,
    StoreClosedError,
)
from eventstore.core.records import Partition
from eventstore.environment import SystemClock
from eventstore.ports import Answering, Clock
from eventstore.testing.faults import FaultyLog
from eventstore.testing.memory import MemoryLog


@dataclass(eq=False, slots=True)
class _Letter:
    """A message on its way; it stays in the cluster until it is answered, whether or not anybody still waits."""

    partition: Partition
    message: bytes
    reply: asyncio.Future[bytes]


class MemoryCluster:
    """Members that route commands to each other and lose partitions, answers and their lives when a test says so.

    Messages are delivered at least once and in order: what a member has not answered when it loses the partition
    goes to the next owner. Nothing is random, so a test that makes its own choices can be repeated.

    Args:
        members: Their names; the partitions are dealt out among them in turn.
        partitions: How many.
        clock: Measures how long an answer is waited for.
        ticks: Called before and after each commit and before each reply: for how many turns of the loop it waits.
    """

    def __init__(
        self,
        *members: str,
        partitions: int = 3,
        clock: Clock | None = None,
        ticks: Callable[[], int] = lambda: 1,
    ) -> None:
        if not members:
            message = 'name the members: MemoryCluster("a", "b")'
            raise ConfigurationError(message)
        self.log: Final = MemoryLog(partitions=partitions)
        self.clock: Final[Clock] = clock or SystemClock()
        self._ticks: Final = ticks
        self._members: Final = {name: ClusterMember(self, name) for name in members}
        names = self.log.partitions
        self._owners: Final[dict[Partition, str | None]] = {
            partition: members[number % len(members)] for number, partition in enumerate(names)
        }
        self._queues: Final[dict[Partition, deque[_Letter]]] = {partition: deque() for partition in names}
        self._answers_to_lose = 0

    def member(self, name: str) -> ClusterMember:
        """Give a member's log, to open a store on."""
        return self._members[name]

    def owner(self, partition: Partition) -> str | None:
        """Name a partition's owner, if it has one."""
        return self._owners[partition]

    def move(self, partition: Partition, to: str | None) -> None:
        """Make another member the owner, or nobody; the former one's commits are refused from now on."""
        former, self._owners[partition] = self._owners[partition], to
        if former is not None and former != to:
            self._members[former].let_go(partition)
        self.deliver(partition)

    def lose_next_answer(self) -> None:
        """Lose one more answer: the command is executed, and who asked waits no longer, as if it had waited in vain."""
        self._answers_to_lose += 1

    def crash(self, name: str) -> None:
        """Kill a member: its calls fail, what it has not answered waits for whoever gets its partitions."""
        self._members[name].die()

    def post(self, letter: _Letter) -> None:
        """Send a message to the owner, now or when there is one."""
        self._queues[letter.partition].append(letter)
        self.deliver(letter.partition)

    def put_back(self, partition: Partition, letters: Sequence[_Letter]) -> None:
        """Keep unanswered messages for the next owner, in their order."""
        self._queues[partition].extendleft(reversed(letters))

    def deliver(self, partition: Partition) -> None:
        """Give the waiting messages to the owner, if it serves."""
        owner, queue = self._owners[partition], self._queues[partition]
        if owner is not None and self._members[owner].serving:
            while queue:
                self._members[owner].take(queue.popleft())

    def reply(self, letter: _Letter, answer: bytes) -> None:
        """Bring an answer back, unless it is to be lost or nobody waits for it any more."""
        if self._answers_to_lose:
            self._answers_to_lose -= 1
            if not letter.reply.done():
                letter.reply.set_exception(AnswerLostError("the answer was made to be lost"))
        elif not letter.reply.done():
            letter.reply.set_result(answer)

    async def pause(self) -> None:
        """Let others run."""
        for _ in range(self._ticks()):
            await asyncio.sleep(0)

    async def close_if_last(self) -> None:
        """Close the shared log with its last member."""
        if not any(member.alive for member in self._members.values()):
            await self.log.__aexit__(None, None, None)


class ClusterMember(FaultyLog):
    """Implements `EventLog` and its channel for one member; fails on demand as `FaultyLog` does.

    Args:
        cluster: The cluster.
        name: The member's name.
    """

    def __init__(self, cluster: MemoryCluster, name: str) -> None:
        super().__init__(cluster.log)
        self._cluster: Final = cluster
        self.name: Final = name
        self.alive = False
        self._crashed = False
        self._answer: Answering | None = None
        self._asked: Final[set[_Letter]] = set()
        self._background = Background()
        self._taken: Final[dict[Partition, dict[_Letter, asyncio.Task[None]]]] = {
            partition: {} for partition in cluster.log.partitions
        }

    async def __aenter__(self) -> Self:
        """Join the cluster."""
        await super().__aenter__()
        self.alive, self._crashed, self._background = True, False, Background()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop; the member stays the owner of its partitions until they are moved."""
        self._stop()
        for letter in self._asked:
            if not letter.reply.done():
                letter.reply.set_exception(StoreClosedError("the log was closed while an answer was awaited"))
        await self._background.close()
        await self._cluster.close_if_last()

    def die(self) -> None:
        """Stop without a word; see `MemoryCluster.crash`."""
        self._crashed = True
        self._stop()

    def _stop(self) -> None:
        self.alive, self._answer = False, None
        for partition in self._taken:
            self.let_go(partition)

    @property
    def channel(self) -> ClusterMember:
        """The member itself."""
        return self

    @property
    def serving(self) -> bool:
        """Whether it takes messages."""
        return self._answer is not None

    def is_local(self, partition: Partition) -> bool:
        """Tell whether this member owns a partition."""
        return self._cluster.owner(partition) == self.name

    def serve(self, answer: Answering) -> None:
        """Answer the messages for this member's partitions; see `CommandChannel.serve`."""
        self._answer = answer
        for partition in self._cluster.log.partitions:
            self._cluster.deliver(partition)

    async def ask(self, partition: Partition, key: str, message: bytes, timeout: float) -> bytes:  # noqa: ARG002, ASYNC109 - the port's
        """Send a message to the owner and wait for its answer; see `CommandChannel.ask`."""
        answer: bytes = await self._pass("ask", partition, message, timeout)
        return answer

    async def _call(self, method: str, *arguments: Any) -> Any:
        self._check_alive()
        if method == "ask":
            return await self._ask(*arguments)
        if method == "erase":
            await self._cluster.pause()
            self._refuse_unless_owner(self.partition_of(arguments[0]))
        if method != "commit":
            return await super()._call(method, *arguments)
        partition, commits = arguments
        await self._cluster.pause()
        self._refuse_unless_owner(partition)
        outcomes = self._cluster.log.write(partition, commits)
        await self._cluster.pause()
        return outcomes

    def _refuse_unless_owner(self, partition: Partition) -> None:
        self._check_alive()
        owner = self._cluster.owner(partition)
        if owner != self.name:
            message = f"{partition} is owned by {owner or 'nobody'}, not by {self.name}; nothing was written"
            raise OwnershipLostError(message)

    async def _ask(self, partition: Partition, message: bytes, timeout: float) -> bytes:  # noqa: ASYNC109
        letter = _Letter(partition, message, asyncio.get_running_loop().create_future())
        self._asked.add(letter)
        self._cluster.post(letter)
        patience = asyncio.ensure_future(self._cluster.clock.sleep(timeout))
        try:
            waited: set[asyncio.Future[Any]] = {letter.reply, patience}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if letter.reply.done():
                return letter.reply.result()
            problem = f"the owner of {partition} did not answer within {timeout:g} s"
            raise AnswerLostError(problem)
        finally:
            self._asked.discard(letter)
            letter.reply.cancel()
            patience.cancel()

    def take(self, letter: _Letter) -> None:
        """Begin to answer a message."""
        task = self._background.start(self._reply(letter), f"eventstore-member-{self.name}")
        self._taken[letter.partition][letter] = task

    async def _reply(self, letter: _Letter) -> None:
        answer = self._answer
        assert answer is not None
        text = await answer(letter.partition, letter.message)
        await self._cluster.pause()
        # Off the list before the reply leaves: what has been answered is never delivered again.
        del self._taken[letter.partition][letter]
        self._cluster.reply(letter, text)

    def let_go(self, partition: Partition) -> None:
        """Give back what has not been answered yet."""
        letters = self._taken[partition]
        self._cluster.put_back(partition, list(letters))
        for task in letters.values():
            task.cancel()
        letters.clear()

    def _check_alive(self) -> None:
        if self._crashed:
            message = f"member {self.name} has crashed"
            raise LogUnavailableError(message)
        if not self.alive:
            message = "the log is not open: use it inside `async with`"
            raise StoreClosedError(message)
