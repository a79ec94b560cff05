"""`EventStore`: the one object that applications talk to."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar
from uuid import UUID

from eventstore.application import Application, ReadModelClass
from eventstore.core.aggregates import Aggregate
from eventstore.core.commands import Command
from eventstore.core.envelope import write_envelope
from eventstore.core.errors import ConfigurationError, StoreClosedError
from eventstore.core.inboxes import Inbox
from eventstore.core.processes import ProcessManager
from eventstore.core.projections import EventAt, Projection
from eventstore.core.publications import Publication
from eventstore.core.reactions import Outgoing
from eventstore.core.records import Recorded, Token
from eventstore.core.rows import Row
from eventstore.core.streams import stream_id
from eventstore.ports import EventCodec, EventLog, QueryStore, StreamQuery
from eventstore.prepared import PreparedLog, unprepared
from eventstore.queries import Queries
from eventstore.read.query_side import QuerySide
from eventstore.read_models import process_name, query_side_over, query_store_at, read_model_in
from eventstore.settings import Settings
from eventstore.telemetry.watching import watching
from eventstore.write.command_side import CommandSide
from eventstore.write.origin import origin_of
from eventstore.write.pending import Committed

if TYPE_CHECKING:
    from eventstore.kafka.source import KafkaSource
    from eventstore.sql.read_model import ReadModel

A = TypeVar("A", bound=Aggregate)
R = TypeVar("R", bound=Row)


class EventStore(Queries):
    """Executes commands, loads aggregates, and keeps read models up to date, for as long as it is open.

    `async with EventStore(SqliteLog("tasks.db"), aggregates=[Task], projections=[TaskBoard]) as store: ...`

    Args:
        log: Where events are kept.
        aggregates: The aggregate classes.
        projections: Row and SQL projections.
        processes: Process managers.
        inboxes: Inboxes, which `eventstore inbox` or `eventstore.inbox.receiving` runs.
        source: The brokers that inboxes read from; None for those of a `KafkaLog`.
        publications: What `eventstore relay` publishes; the store itself does not.
        query_store: Where read models are kept: a file, a `postgresql://` URL, or an open query store's adapter.
            None for the place the log suggests: `tasks.read.db` beside `tasks.db`.
        codec: Encodes the events, and decodes what it has written, for example `AvroCodec`; JSON is always read.
            None for JSON alone.
        settings: Times, sizes, clock and randomness.

    Raises:
        ConfigurationError: Definitions contradict each other, or no place for read models is known.
    """

    def __init__(  # noqa: PLR0913 - what a store is made of, by keyword
        self,
        log: EventLog,
        *,
        aggregates: Sequence[type[Aggregate]] = (),
        projections: Sequence[ReadModelClass] = (),
        processes: Sequence[type[ProcessManager[Any]]] = (),
        inboxes: Sequence[type[Inbox]] = (),
        source: KafkaSource | None = None,
        publications: Sequence[type[Publication]] = (),
        query_store: str | PathLike[str] | QueryStore | None = None,
        codec: EventCodec | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.log: Final = log if codec is None else PreparedLog(log, codec)
        self.codec: Final = codec
        self.settings: Final = settings or Settings()
        self.application: Final = Application(aggregates, projections, processes, publications, codec, inboxes)
        if codec is not None:
            codec.declare(self.application.emitted)
        self.source: Final = source
        log.declare(self.application.categories)
        self._where: Final = query_store if query_store is not None else log.suggested_query_store
        if self._where is None and self.application.has_read_models:
            message = 'name a place for the read models: EventStore(..., query_store="postgresql://..." or "read.db")'
            raise ConfigurationError(message)
        self._resources: AsyncExitStack | None = None
        self._command_side: CommandSide | None = None
        self._read_side: QuerySide | None = None
        self._opened_query_store: QueryStore | None = None

    def with_settings(self, **changes: object) -> EventStore:
        """Give a store of the same application with other settings, not opened yet; for tools and tests.

        Args:
            changes: Fields of `Settings`.
        """
        application = self.application
        return EventStore(
            unprepared(self.log),
            aggregates=[*application.aggregates.values()],
            projections=application.projections,
            processes=application.processes,
            inboxes=application.inboxes,
            source=self.source,
            publications=application.publications,
            query_store=self._where,
            codec=self.codec,
            settings=replace(self.settings, **changes),  # type: ignore[arg-type]
        )

    async def __aenter__(self) -> Self:
        """Open the log and the query store, register the read models and start their workers.

        Raises:
            ConfigurationError: An address is wrong, or a projection's code changed under an unchanged version.
            CorruptLogError: What is there is damaged or no log of ours.
            StoreUnavailableError: Log or query store cannot be opened now.
        """
        async with AsyncExitStack() as resources:
            await resources.enter_async_context(self.log)
            environment, settings = self.settings.environment, self.settings
            log = self.log if settings.telemetry is None else settings.telemetry.measured(self.log)
            commands = CommandSide(
                log,
                self.application.aggregates,
                self.application.registry,
                environment,
                settings.cache_size,
                write_envelope if self.codec is None else self.codec.encode,
            )
            commands.start(serve=settings.serve)
            resources.push_async_callback(commands.close)
            self._command_side = commands
            if self.application.has_read_models:
                name = process_name(environment)
                self._opened_query_store = await resources.enter_async_context(self.query_store(name))
                self._read_side = await self._open_read_side(self._opened_query_store, name, resources)
            if settings.telemetry is not None:
                await resources.enter_async_context(watching(self, settings.telemetry, environment.clock))
            self._resources = resources.pop_all()
        return self

    async def _open_read_side(self, query_store: QueryStore, name: str, resources: AsyncExitStack) -> QuerySide:
        side = query_side_over(self.log, query_store, self.application.registry, self.settings, name)
        await side.register(self.application.subscribers(self._send))
        resources.push_async_callback(side.close)
        if self.settings.workers:
            side.start_workers()
        return side

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the workers, answer every accepted command, close query store and log."""
        resources, self._resources = self._resources, None
        try:
            if resources is not None:
                await resources.__aexit__(kind, error, trace)
        finally:
            self._command_side = self._read_side = self._opened_query_store = None

    async def execute(  # noqa: PLR0913 - options of one call, by keyword
        self,
        aggregate: type[Aggregate],
        aggregate_id: str,
        command: Command,
        *,
        expected_version: int | None = None,
        command_id: UUID | str | None = None,
        caused_by: Recorded | UUID | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - passed on as a deadline that group commit keeps
    ) -> Committed:
        """Execute a command: when this returns, its events are durable and no other outcome is possible.

        Args:
            aggregate: The aggregate's class.
            aggregate_id: 1 to 64 of `A-Z a-z 0-9 . _ ~ : @ + -`.
            command: What is wanted.
            expected_version: The version the caller decided on, `NEW` for a new stream; None for whatever it is.
            command_id: Makes a repetition harmless: the first result comes back. By default a new id.
            caused_by: The event or correlation id that led to the command, to trace what caused what.
            timeout: Seconds to wait for the log; by default `Settings.timeout`.

        Returns:
            Version, events and token; the first result if the id was executed before.

        Raises:
            CommandRejectedError: The domain said no; nothing was written.
            CommandFailedError: The domain code of the process that owns the stream raised; nothing was written.
            WrongExpectedVersionError: The stream is elsewhere; nothing was written.
            InvalidIdError: An id cannot be stored.
            UnencodableEventError: An event cannot be stored; nothing was written.
            EventSchemaError: The stream holds what the code cannot read.
            LogUnavailableError: Nothing was written; the same call may succeed later.
            AppendOutcomeUnknownError: Repeat with the same command id to learn the outcome.
            ConfigurationError: The aggregate does not handle the command, or is not registered.
            StoreClosedError: The store is not open.
        """
        commands, seconds = self._commands, self.settings.timeout if timeout is None else timeout
        origin = origin_of(command_id, caused_by, self.settings.environment)
        telemetry = self.settings.telemetry
        if telemetry is None:
            return await commands.execute(
                aggregate, aggregate_id, command, origin, expected_version=expected_version, timeout=seconds
            )
        measured = telemetry.command(aggregate.category, aggregate_id, command, origin)
        try:
            done = await commands.execute(
                aggregate, aggregate_id, command, measured.origin, expected_version=expected_version, timeout=seconds
            )
        except BaseException as error:
            measured.failed(error)
            raise
        return measured.executed(done)

    async def load(
        self, aggregate: type[A], aggregate_id: str, *, at: int | datetime | None = None, linearizable: bool = False
    ) -> A:
        """Load an aggregate as it stands, or stood at a version or time; the object is the caller's own.

        Args:
            aggregate: The aggregate's class.
            aggregate_id: Its id; without events it is in its initial state.
            at: A version, an aware time, or None for the present.
            linearizable: Miss nothing that any process was acknowledged before the call: its owner proves it.

        Returns:
            The aggregate.

        Raises:
            WrongExpectedVersionError: The stream does not have that version yet.
            InvalidIdError: The id or `at` is malformed, or it is a linearizable load of the past.
            EventSchemaError: The stream holds what the code cannot read.
            LogUnavailableError: The log cannot be read now, or nothing was proved within `Settings.timeout`.
            StoreClosedError: The store is not open.
        """
        return await self._commands.load(aggregate, aggregate_id, at, self.settings.timeout if linearizable else None)

    async def erase(
        self,
        aggregate: type[Aggregate],
        aggregate_id: str,
        version: int,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - passed on as a deadline
    ) -> bool:
        """Erase the data of one event from the log for good; works in every process, and may be repeated.

        The event keeps its place; whatever reads the log passes over it. Rows that it went into stay until they are
        rebuilt, exports and backups as they are.

        Args:
            aggregate: The aggregate's class.
            aggregate_id: Its id.
            version: Which of its events.
            timeout: Seconds to wait for the log; by default `Settings.timeout`.

        Returns:
            False if there is no such event.

        Raises:
            InvalidIdError: The id is malformed.
            StoreUnavailableError: The log cannot be written now, or the dead letters; repeat the call.
            AppendOutcomeUnknownError: It may have been erased; repeat the call.
            ConfigurationError: The aggregate is not registered.
            StoreClosedError: The store is not open.
        """
        seconds = self.settings.timeout if timeout is None else timeout
        found = await self._commands.erase(aggregate, aggregate_id, version, seconds)
        if found and self._read_side is not None:
            await self.dead_letters.forget(str(stream_id(aggregate.category, aggregate_id)), version)
        return found

    async def history(self, aggregate: type[Aggregate], aggregate_id: str, *, after: int = 0) -> list[EventAt]:
        """Give an aggregate's events in order, each with where it stands; without the erased ones.

        Args:
            aggregate: The aggregate's class.
            aggregate_id: Its id.
            after: Only events after this version.

        Raises:
            InvalidIdError: The id is malformed.
            EventSchemaError: The stream holds what the code cannot read.
            LogUnavailableError: The log cannot be read now.
        """
        name = str(stream_id(aggregate.category, aggregate_id))
        (events,) = await self.log.read_streams([StreamQuery(name, after)])
        partition, decode = self.log.partition_of(name), self.application.registry.decode
        return [EventAt(decode(stored), Recorded(stored, partition)) for stored in events if not stored.erased]

    async def accept(self, name: str) -> None:
        """Accept a projection's changed code under its unchanged version: its author says the rows are the same.

        Args:
            name: The projection's name; the store must not be open, since opening refuses changed code.

        Raises:
            ConfigurationError: There is no such projection, or its tables themselves have changed.
        """
        for subscriber in self.application.subscribers(self._send):
            if subscriber.definition.name == name:
                async with self.query_store() as query_store:
                    await query_store.accept(subscriber.definition)
                return
        message = f"there is no read model or process manager {name!r} in this application"
        raise ConfigurationError(message)

    async def present(self) -> Token:
        """Give the token of everything that is committed now: a read model that has reached it misses nothing so far.

        Raises:
            LogUnavailableError: The log cannot be read now.
        """
        return Token(await self.log.ends())

    def read_model(self, projection: type[Projection[R]]) -> ReadModel[R]:
        """Give read access to a projection's rows.

        Raises:
            StoreClosedError: The store is not open.
            ConfigurationError: The query store is a custom one.
        """
        if self._opened_query_store is None:
            raise _not_open()
        return read_model_in(self._opened_query_store, projection, self._read_side)

    @property
    def query_side(self) -> QuerySide:
        """The query side, for tools.

        Raises:
            StoreClosedError: The store is not open.
            ConfigurationError: The application has no read models.
        """
        if self._read_side is not None:
            return self._read_side
        if self._command_side is None:
            raise _not_open()
        message = "this application has no read models: pass projections=[...] to EventStore"
        raise ConfigurationError(message)

    @property
    def _commands(self) -> CommandSide:
        if self._command_side is None:
            raise _not_open()
        return self._command_side

    async def _send(self, outgoing: Outgoing) -> None:
        """Execute a process manager's command under the id that its event gives it."""
        send = outgoing.send
        await self.execute(
            send.aggregate, send.id, send.command, command_id=outgoing.command_id, caused_by=outgoing.cause
        )

    def query_store(self, name: str = "") -> QueryStore:
        """Give the place of the read models by itself, not opened yet; for tools, if there are read models."""
        assert self._where is not None  # noqa: S101 - refused in __init__
        return query_store_at(self._where, self.settings.environment.clock, name)


def _not_open() -> StoreClosedError:
    return StoreClosedError("the store is not open: use it inside `async with EventStore(...) as store`")
