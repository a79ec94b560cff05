"""A membership in a consumer group, on a thread of its own: joined anew whenever it ends, left in bounded time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import Thread
from typing import Final, Protocol, TypeAlias

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from eventstore.core.errors import ConfigurationError, EventStoreError
from eventstore.kafka.connection import Connection
from eventstore.kafka.errors import fatal_to_members
from eventstore.kafka.renewal import Renewal

_LOGGER: Final = logging.getLogger(__name__)
_REJOIN_SECONDS: Final = 1.0
_CLOSE_SECONDS: Final = 5.0
"""To leave the group takes a round trip; beyond this the brokers are taken to be away."""
_LONGEST_HEARTBEAT_SECONDS: Final = 0.5
"""Members learn of a death from the answer to a heartbeat, after the session: a share of a long one is too long."""

Place: TypeAlias = tuple[str, int]
"""A topic and a partition's number in it."""


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """Which group, and how its members come and go.

    Attributes:
        group: The consumer group.
        topics: The topics whose partitions it deals out.
        session_seconds: After this long without a sign of life another process takes over.
        drain_seconds: How long a hand-over may take.
        member: A name that stays the same when this process restarts, so that a quick restart moves nothing; or None.
        consumer: Further settings of its members' clients.
    """

    group: str
    topics: Sequence[str]
    session_seconds: float
    drain_seconds: float
    member: str | None
    consumer: Mapping[str, object] = field(default_factory=dict[str, object])


class Role(Protocol):
    """What somebody is a member for; everything is called on the membership's thread."""

    def attend(self, consumer: Consumer) -> None:
        """Poll once and do what there is to do; called again and again for as long as the membership lasts."""
        ...

    def take(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Have the consumer assigned what the group gives, which may be nothing, and begin."""
        ...

    def hand_over(self, consumer: Consumer, places: Sequence[Place]) -> None:
        """Finish: it is another member's turn as soon as this returns."""
        ...

    def lose(self, places: Sequence[Place]) -> None:
        """Stop: it has been another member's turn for a while."""
        ...

    def fail(self, error: EventStoreError) -> None:
        """Take note that no membership can go on, for good."""
        ...


class _UntilGivenUp:
    """Logs what the client says, until it is given up: one that cannot leave goes on for ever about brokers it misses."""

    def __init__(self) -> None:
        self.given_up = False

    def log(self, level: int, message: str, *arguments: object) -> None:
        if not self.given_up:
            _LOGGER.log(level, message, *arguments)


class Membership:
    """Takes part in a group from `join` to `close`; what goes wrong with one membership ends with it.

    Args:
        connection: Where and how.
        settings: The group.
        role: What it is for.
    """

    def __init__(self, connection: Connection, settings: GroupSettings, role: Role) -> None:
        session = int(settings.session_seconds * 1000)
        self._configuration: Final = {
            "auto.offset.reset": "earliest",
            "group.id": settings.group,
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": session,
            "heartbeat.interval.ms": max(min(session // 6, int(_LONGEST_HEARTBEAT_SECONDS * 1000)), 100),
            "max.poll.interval.ms": 300_000,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "fetch.wait.max.ms": 100,
            **({"group.instance.id": settings.member} if settings.member else {}),
            **settings.consumer,
        }
        self._renewal: Final = Renewal(connection)
        self._settings: Final = settings
        self._role: Final = role
        # A daemon: the client's close may never return while the brokers are away, and must not keep the process.
        self._thread: Final = Thread(target=self._work, name=f"eventstore-{settings.group}", daemon=True)
        self._assigned: Final[set[Place]] = set()
        self._stopping = False
        self._logger = _UntilGivenUp()
        self._loop: asyncio.AbstractEventLoop | None = None

    def join(self) -> None:
        """Take part from now on."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def close(self) -> None:
        """Hand everything over and leave the group, if this process took part."""
        self._stopping = True
        if self._thread.ident is None:
            return
        patience = self._settings.drain_seconds + _CLOSE_SECONDS
        await asyncio.shield(asyncio.to_thread(self._thread.join, patience))
        if self._thread.is_alive():
            self._logger.given_up = True
            _LOGGER.error(
                "the client did not leave the group %s within %g s, since the brokers are away; others take over when "
                "its session has expired", self._settings.group, patience
            )  # fmt: skip

    def tell(self, callback: Callable[..., None], *arguments: object) -> None:
        """Have the loop call something soon; for the role, on the thread."""
        assert self._loop is not None  # noqa: S101 - set by join
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback, *arguments)

    def ask(self, work: Coroutine[object, object, None]) -> None:
        """Have the loop do something and wait until it is done; for the role, on the thread."""
        assert self._loop is not None  # noqa: S101 - set by join
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def judge(self, error: KafkaError, topic: str | None) -> None:
        """Report what the client said; for the role, on the thread.

        Raises:
            KafkaException: This membership cannot go on; the next one begins from nothing.
            ConfigurationError: No membership can.
            CorruptLogError: Nor can anybody who reads the log.
        """
        fatal = error.code() == KafkaError._FATAL  # noqa: SLF001 - its public name
        if fatal and self._settings.member:
            message = (
                f"another process takes part under the name {self._settings.member!r}: give every process that runs "
                f"at the same time another KafkaOptions(member=...) ({error})"
            )
            raise ConfigurationError(message)
        if fatal or error.code() == KafkaError._MAX_POLL_EXCEEDED:  # noqa: SLF001 - its public name
            raise KafkaException(error)
        fatal_to_members(error, self._settings.group, topic)
        _LOGGER.warning("the group %s: %s", self._settings.group, error)

    def _work(self) -> None:
        while not self._stopping:
            try:
                self._be_member()
            except EventStoreError as error:
                self.tell(self._role.fail, error)
                return
            except Exception as error:  # noqa: BLE001 - any error of a callback or the client ends the membership
                _LOGGER.warning("the group %s is joined anew: %s", self._settings.group, error)
                time.sleep(_REJOIN_SECONDS)

    def _be_member(self) -> None:
        self._logger = _UntilGivenUp()
        consumer = Consumer({**self._renewal.settings(), **self._configuration}, logger=self._logger)
        close = consumer.close
        try:
            consumer.subscribe(
                list(self._settings.topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
            while not (self._stopping or self._renewal.is_due(consumer)):
                self._role.attend(consumer)
            if not self._stopping:
                close = partial(self._close_in_time, consumer)
            # Closing alone does not leave the group if no partition is assigned (cooperative protocol, librdkafka
            # 2.16): the others would wait for this member until its session has expired.
            consumer.unsubscribe()
        except BaseException:
            self._lose_all()
            raise
        finally:
            close()

    def _close_in_time(self, consumer: Consumer) -> None:
        """Leave the group to join it with another client, even if this one cannot be closed any more."""
        closing = Thread(target=consumer.close, name=f"eventstore-{self._settings.group}-close", daemon=True)
        closing.start()
        closing.join(self._settings.drain_seconds + _CLOSE_SECONDS)
        if closing.is_alive():
            self._logger.given_up = True
            self._lose_all()

    def _lose_all(self) -> None:
        self._role.lose(list(self._assigned))
        self._assigned.clear()

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._role.take(consumer, partitions)
        self._assigned.update(_places(partitions))

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        places = _places(partitions)
        self._role.hand_over(consumer, places)
        self._assigned.difference_update(places)
        consumer.incremental_unassign(partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        places = _places(partitions)
        self._role.lose(places)
        self._assigned.difference_update(places)
        consumer.incremental_unassign(partitions)


def _places(partitions: Sequence[TopicPartition]) -> list[Place]:
    return [(partition.topic, partition.partition) for partition in partitions]
