"""Opening a Kafka log: everything that runs, in the order in which it is opened; it is closed in the reverse."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from eventstore.core.errors import EventStoreError
from eventstore.environment import Environment
from eventstore.kafka.administration import Administration
from eventstore.kafka.channel import Channel
from eventstore.kafka.connection import Connection
from eventstore.kafka.election import Election
from eventstore.kafka.erasing import key_reader
from eventstore.kafka.fence import FencedWriter
from eventstore.kafka.following import Follower
from eventstore.kafka.index import Index
from eventstore.kafka.means import Means
from eventstore.kafka.membership import GroupSettings
from eventstore.kafka.names import Names
from eventstore.kafka.options import KafkaOptions
from eventstore.kafka.ownership import Ownership
from eventstore.kafka.provision import Topics, open_topics
from eventstore.kafka.schema import read_known
from eventstore.kafka.sending import Sender
from eventstore.kafka.session import Partitions, Session, end_of
from eventstore.kafka.sharing import Sharing
from eventstore.kafka.watching import TopicWatch
from eventstore.kafka.wire import Wire
from eventstore.kafka.workplace import claim_index_file


@dataclass(frozen=True, slots=True)
class Place:
    """Where a log is and what it is made of.

    Attributes:
        connection: The brokers.
        names: Names of topics and groups.
        categories: Which categories there are.
        options: Times, sizes, directories.
        environment: Clock and randomness.
    """

    connection: Connection
    names: Names
    categories: Sequence[str]
    options: KafkaOptions
    environment: Environment


@asynccontextmanager
async def open_session(place: Place) -> AsyncGenerator[Session]:
    """Open everything that a log needs; if something cannot be opened, nothing stays open.

    Args:
        place: Where the log is.

    Yields:
        The open session.

    Raises:
        ConfigurationError: Settings or topics are unsafe.
        CorruptLogError: The brokers lost what was read from them.
        LogUnavailableError: The brokers cannot be reached.
    """
    names = place.names
    async with AsyncExitStack() as resources:
        enter = resources.enter_async_context
        path = resources.enter_context(claim_index_file(Path(place.options.directory), names.prefix))
        administration = Administration(place.connection)
        known = await asyncio.to_thread(read_known, path)
        topics = await open_topics(administration, names, place.categories, place.options, known)
        partitions = Partitions(names, topics.partitions)
        wire = await enter(Wire(place.connection))
        written = [topic(category) for category in place.categories for topic in (names.events, names.commands)]
        await wire.know([*written, names.replies])
        index = await enter(Index(path, topics.log_id))
        await index.remember(topics.sources)
        await index.add_partitions([name.text for name in partitions.all])
        follower = await enter(Follower(place.connection, index, index.fail))
        ownership = _ownership(place, wire, index, follower)
        channel = await enter(_channel(place, topics, wire, ownership))
        read_key = key_reader(place.connection)
        session = Session(
            topics.log_id, partitions, wire, index, ownership, channel, _sharing(place), read_key, place.environment
        )
        watch = await enter(TopicWatch(administration, topics.identities, ownership.failed, place.environment))
        wire.on_missing = follower.on_missing = watch.suspect
        await session.refuse_lost_ends()
        for name in partitions.all:
            await follower.follow(name)
        resources.push_async_callback(ownership.close)
        election = _election(place, ownership)
        resources.push_async_callback(election.close)
        channel.when_serving(election.join)
        yield session


def _ownership(place: Place, wire: Wire, index: Index, follower: Follower) -> Ownership:
    environment = place.environment
    me = f"{socket.gethostname()}:{os.getpid()}:{environment.entropy.bits(32):08x}"
    means = Means(
        index,
        follower,
        lambda name: end_of(wire, environment.clock, name.commands_topic, name.number),
        environment,
        place.options.commit_seconds,
    )
    ownership = Ownership(
        place.names, lambda name: FencedWriter(wire, name, me, environment), means, place.options.drain_seconds
    )

    def no_longer_followed(error: EventStoreError) -> None:
        index.fail(error)
        ownership.failed(error)

    follower.on_failure = no_longer_followed
    return ownership


def _channel(place: Place, topics: Topics, wire: Wire, ownership: Ownership) -> Channel:
    names, environment = place.names, place.environment
    replies = names.replies, topics.replies
    sender = Sender(wire, environment)
    channel = Channel(place.connection, sender, replies, ownership.is_local, names.parse, environment)
    ownership.answer_with(channel.answer)
    return channel


def _election(place: Place, ownership: Ownership) -> Election:
    commands = [place.names.commands(category) for category in place.categories]
    return Election(place.connection, _group(place, place.names.owners_group, commands), ownership)


def _sharing(place: Place) -> Sharing:
    events = [place.names.events(category) for category in place.categories]
    return Sharing(place.connection, place.names, _group(place, "", events))


def _group(place: Place, group: str, topics: Sequence[str]) -> GroupSettings:
    options = place.options
    return GroupSettings(group, topics, options.session_seconds, options.drain_seconds, options.member)
