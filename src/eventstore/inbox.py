"""Inboxes: events of other systems, or rows of their tables, become commands, each exactly once in effect.

`class Payments(Inbox, name="payments", topics=["billing.public.payments"])` says what becomes of them,
`EventStore(..., inboxes=[Payments])` registers it, and `eventstore inbox` runs it, or `receiving` inside a process.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from eventstore.core.changes import Change, DebeziumRows, Operation, SourceRow
from eventstore.core.errors import ConfigurationError
from eventstore.core.inboxes import Inbox, Incoming, receives
from eventstore.core.messages import Arrival, Envelopes, Message, MessageFormat, PlainMessages, Received
from eventstore.core.processes import Send
from eventstore.ports import EventCodec
from eventstore.prepared import unprepared

if TYPE_CHECKING:
    from eventstore.kafka.inbox import InboxRun
    from eventstore.kafka.source import KafkaSource
    from eventstore.store import EventStore

__all__ = [
    "Arrival",
    "Change",
    "DebeziumRows",
    "Envelopes",
    "Inbox",
    "Message",
    "MessageFormat",
    "Operation",
    "PlainMessages",
    "Received",
    "Send",
    "SourceRow",
    "receives",
    "receiving",
]


@asynccontextmanager
async def receiving(
    store: EventStore, names: Sequence[str] | None = None, *, concurrency: int | None = None
) -> AsyncGenerator[Sequence[InboxRun]]:
    """Run a store's inboxes for the length of the block; what is under way is finished at its end.

    Several processes may do so: they share the partitions of the topics.

    Args:
        store: It is open.
        names: Which inboxes; None for all.
        concurrency: How many messages of each are carried out at the same time; 64 by default.

    Returns:
        What runs, one for each inbox: `await run.failed()` raises what ends it for good.

    Raises:
        ConfigurationError: There is no such inbox, a topic is missing, or nobody said where the topics are.
        LogUnavailableError: The brokers cannot be reached.
    """
    source, chosen = source_of(store), inboxes_of(store, names)
    from eventstore.kafka.inbox import CONCURRENCY, InboxRun  # noqa: PLC0415 - its client is optional

    async def execute(incoming: Incoming) -> bool:
        return await execute_incoming(store, incoming)

    clock, runs = store.settings.environment.clock, list[InboxRun]()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(codec_of(store))
        for inbox in chosen:
            run = InboxRun(source, inbox(), execute, clock, concurrency or CONCURRENCY)
            runs.append(await stack.enter_async_context(run))
        yield runs


@asynccontextmanager
async def codec_of(store: EventStore) -> AsyncGenerator[EventCodec | None]:
    """Open the codec of a store's inboxes, unless it is the store's own, which is open as long as the store is."""
    codec = source_of(store).codec
    if codec is None or codec is store.codec:
        yield codec
        return
    async with codec:
        yield codec


async def execute_incoming(store: EventStore, incoming: Incoming) -> bool:
    """Execute an inbox's command under the id that its message gives it.

    Returns:
        Whether the log knows the command from now on, so that a repeat does nothing.

    Raises:
        EventStoreError: As `EventStore.execute`.
    """
    send = incoming.send
    done = await store.execute(
        send.aggregate, send.id, send.command, command_id=incoming.command_id, caused_by=incoming.correlation_id
    )
    return bool(done.events)


def inboxes_of(store: EventStore, names: Sequence[str] | None = None) -> list[type[Inbox]]:
    """Give the inboxes of these names, or all.

    Raises:
        ConfigurationError: There is none of that name, or none at all.
    """
    known = {inbox.definition.name: inbox for inbox in store.application.inboxes}
    if not known:
        message = "this application has no inboxes: pass inboxes=[...] to EventStore"
        raise ConfigurationError(message)
    unknown = [name for name in names or () if name not in known]
    if unknown:
        message = f"there is no inbox {unknown[0]!r}: this application has {', '.join(known)}"
        raise ConfigurationError(message)
    return [known[name] for name in (known if names is None else names)]


def source_of(store: EventStore) -> KafkaSource:
    """Tell where a store's inboxes read.

    Raises:
        ConfigurationError: Nobody said so, or the client is not installed.
    """
    if store.source is not None:
        return store.source
    try:
        from eventstore.kafka import KafkaLog, KafkaSource  # noqa: PLC0415 - its clients are optional
    except ImportError as cause:
        message = "inboxes read from Kafka, whose clients are missing: pip install 'eventstore[kafka]'"
        raise ConfigurationError(message) from cause
    log = unprepared(store.log)
    if isinstance(log, KafkaLog):
        return KafkaSource(log.connection, prefix=log.names.prefix, options=log.options, codec=store.codec)
    message = (
        "say where the topics of the inboxes are: "
        'EventStore(..., inboxes=[...], source=KafkaSource("localhost:9092", prefix="..."))'
    )
    raise ConfigurationError(message)
