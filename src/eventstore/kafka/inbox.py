"""Running an inbox: its group's messages carried out, partition by partition."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from eventstore.background import Background
from eventstore.core.errors import ConfigurationError, EventStoreError
from eventstore.core.inboxes import Inbox, InboxDefinition
from eventstore.core.messages import Message
from eventstore.kafka.administration import Administration
from eventstore.kafka.inbox_feed import CONSUMER, Assignment, InboxFeed
from eventstore.kafka.inbox_flow import InboxFlow
from eventstore.kafka.inbox_letters import InboxLetters
from eventstore.kafka.inbox_work import Execute, MessageHaltedError, MessageWork
from eventstore.kafka.membership import GroupSettings
from eventstore.kafka.source import KafkaSource
from eventstore.kafka.topics import WantedTopic, inbox_dead_topic, problems_of
from eventstore.ports import Clock

_LOGGER: Final = logging.getLogger(__name__)
CONCURRENCY: Final = 64


class InboxRun:
    """Carries an inbox's messages out for the length of an `async with` block; several processes share its partitions.

    Args:
        source: Where its topics are.
        inbox: The user's inbox.
        execute: Executes a command.
        clock: For waits.
        concurrency: How many messages are carried out at the same time at most.
    """

    def __init__(
        self, source: KafkaSource, inbox: Inbox, execute: Execute, clock: Clock, concurrency: int = CONCURRENCY
    ) -> None:
        self._source: Final = source
        self._definition: Final = inbox.definition
        self._letters: Final = letters_of(source, inbox.definition)
        self._turns: Final = asyncio.Semaphore(concurrency)
        self._clock: Final = clock
        self._background: Final = Background()
        self._flows: Final[dict[Assignment, tuple[InboxFlow, asyncio.Task[None]]]] = {}
        self._failure: Final[asyncio.Future[None]] = asyncio.get_running_loop().create_future()
        options = source.options
        settings = GroupSettings(
            source.names.inbox_group(inbox.definition.name),
            inbox.definition.topics,
            options.session_seconds,
            options.drain_seconds,
            options.member,
            CONSUMER,
        )
        self._feed: Final = InboxFeed(source.connection, settings, self)
        self._work: Final = MessageWork(inbox, execute, self._letters, clock, self._feed.in_doubt, source.codec)

    async def __aenter__(self) -> Self:
        """Join the group.

        Raises:
            ConfigurationError: A topic does not exist or is unsafe, or the brokers refuse this user.
            LogUnavailableError: They cannot be reached.
        """
        await check_topics(self._source, self._definition)
        self._feed.join()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish what is under way, commit the positions and leave the group."""
        try:
            await self._feed.close()
        finally:
            await self._background.close()
            self._failure.cancel()

    async def failed(self) -> None:
        """Return never; raise what ends this inbox for good.

        Raises:
            EventStoreError: Why.
        """
        await asyncio.shield(self._failure)

    @property
    def halted(self) -> Sequence[MessageHaltedError]:
        """Why partitions of this process stand still."""
        return [flow.halted for flow, _ in self._flows.values() if flow.halted is not None]

    @property
    def partitions(self) -> Sequence[tuple[str, int]]:
        """Which partitions are this process's now."""
        return [assignment.place for assignment in self._flows]

    def assigned(self, assignments: Sequence[Assignment]) -> None:
        """Begin; see `Recipient.assigned`."""
        for assignment in assignments:
            flow = InboxFlow(self._feed, assignment, self._work, self._turns, self._clock)
            topic, number = assignment.place
            task = self._background.start(self._watch(flow), f"eventstore-inbox-{topic}-{number}")
            self._flows[assignment] = flow, task

    async def revoked(self, assignments: Sequence[Assignment]) -> None:
        """Finish what is under way, for as long as a hand-over may take; see `Recipient.revoked`."""
        tasks: list[asyncio.Task[None]] = []
        for assignment in assignments:
            if assignment in self._flows:
                flow, task = self._flows[assignment]
                flow.stop()
                tasks.append(task)
        if tasks:
            await asyncio.wait(tasks, timeout=self._source.options.drain_seconds)
        self.lost(assignments)

    def lost(self, assignments: Sequence[Assignment]) -> None:
        """Stop; see `Recipient.lost`. What was under way may still happen, and is recognised when it comes again."""
        for assignment in assignments:
            if assignment in self._flows:
                _, task = self._flows.pop(assignment)
                task.cancel()

    def delivered(self, assignment: Assignment, messages: Sequence[Message], next_offset: int) -> None:
        """Pass messages on; see `Recipient.delivered`."""
        if assignment in self._flows:
            self._flows[assignment][0].deliver(messages, next_offset)

    def failed_for_good(self, error: EventStoreError) -> None:
        """Take note that nothing comes any more; see `Recipient.failed_for_good`."""
        if not self._failure.done():
            self._failure.set_exception(error)
            self._failure.exception()  # whoever does not ask need not know

    async def _watch(self, flow: InboxFlow) -> None:
        try:
            await flow.run()
        except EventStoreError as error:
            self.failed_for_good(error)
        except Exception:
            _LOGGER.exception("%s: a defect stopped partition %s", self._definition.name, flow.assignment.place)
            message = f"{self._definition.name}: a defect stopped partition {flow.assignment.place}: see the log"
            self.failed_for_good(ConfigurationError(message))


def letters_of(source: KafkaSource, definition: InboxDefinition) -> InboxLetters:
    """Give an inbox's dead letters."""
    return InboxLetters(source.connection, source.names.inbox_dead(definition.name))


async def check_topics(source: KafkaSource, definition: InboxDefinition) -> None:
    """Make sure that an inbox's topics exist, and the one for its dead letters, which development creates.

    Raises:
        ConfigurationError: One is missing or unsafe, or the brokers refuse this user.
        LogUnavailableError: They cannot be reached.
    """
    administration = Administration(source.connection)
    cluster = await administration.cluster()
    wanted = inbox_dead_topic(source.names, definition.name, source.options, cluster.brokers)
    found: Mapping[str, object] = await administration.find(definition.topics, settings=False)
    missing = [topic for topic in definition.topics if topic not in found]
    if missing:
        message = (
            f"the inbox {definition.name} reads {', '.join(missing)}, which the brokers at {source.connection.bootstrap} "
            "do not have: correct topics=[...], or have their owner create them first"
        )
        raise ConfigurationError(message)
    letters = await administration.find([wanted.name])
    if wanted.name not in letters:
        if source.options.production:
            raise ConfigurationError(_how_to_create(wanted, source.connection.bootstrap))
        await administration.create([wanted])
        return
    problems = problems_of(wanted, letters[wanted.name], None, production=source.options.production)
    if letters[wanted.name].identity.partitions != 1:
        message = (
            f"{wanted.name} has several partitions: what settles a letter has to stand behind it; create it with one"
        )
        raise ConfigurationError(message)
    if problems:
        raise ConfigurationError("\n".join(map(str, problems)))


def _how_to_create(topic: WantedTopic, bootstrap: str) -> str:
    settings = [f"--config {name}={value}" for name, value in topic.settings.items()]
    words = ["kafka-topics.sh --create --bootstrap-server", bootstrap, "--topic", topic.name, "--partitions 1"]
    command = " ".join([*words, f"--replication-factor {topic.replication}", *settings])
    return f"{topic.name}, for dead letters, does not exist. Fix: {command}"
