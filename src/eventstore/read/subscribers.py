"""What a batch of events does inside a transaction: fold rows, run SQL handlers, or send commands."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, Protocol

from eventstore.core.definitions import Subscription, SubscriptionDefinition
from eventstore.core.errors import (
    AppendOutcomeUnknownError,
    CommandRejectedError,
    OwnershipLostError,
    StoreClosedError,
    StoreUnavailableError,
)
from eventstore.core.events import Event
from eventstore.core.processes import ProcessManager
from eventstore.core.projections import EventAt, HandlerFailedError, Projection, RowFold
from eventstore.core.reactions import Deadline, Outgoing, ProcessFold, Reaction
from eventstore.core.rows import Key
from eventstore.ports import QueryTransaction

_LOGGER: Final = logging.getLogger(__name__)
# Their commands run while the transaction is open, so it must end soon.
_MOST_EVENTS_PER_REACTION: Final = 100
_NOT_THE_HANDLERS_FAULT: Final = (
    AppendOutcomeUnknownError,
    OwnershipLostError,
    StoreClosedError,
    StoreUnavailableError,
)


class Execute(Protocol):
    """Executes a command of a process manager; a repeat with the same id has no further effect."""

    def __call__(self, outgoing: Outgoing) -> Awaitable[None]:
        """Execute it.

        Raises:
            CommandRejectedError: The domain said no.
            EventStoreError: As `EventStore.execute`.
        """
        ...


class SqlHandlers(Protocol):
    """What an SQL projection looks like from here."""

    definition: ClassVar[SubscriptionDefinition]
    subscriptions: ClassVar[Mapping[type[Event], tuple[Subscription, ...]]]


class Subscriber(Protocol):
    """Applies batches of decoded events inside a transaction."""

    @property
    def definition(self) -> SubscriptionDefinition:
        """Tell what it subscribes to."""
        ...

    @property
    def most(self) -> int | None:
        """Give the most events it takes at a time; None for no bound of its own."""
        ...

    async def apply(self, transaction: QueryTransaction, batch: Sequence[EventAt]) -> None:
        """Apply a batch; everything it changes in the database is part of the transaction.

        Raises:
            HandlerFailedError: A handler raised; it tells at which event.
            UnstorableRowError: A row does not fit its columns; the batch does not tell whose.
            RowConflictError: Somebody inserted a row meanwhile; roll back and try again.
            StoreUnavailableError: The database cannot be reached; roll back and try again.
        """
        ...


class RowSubscriber:
    """Folds events into rows: one read and one write of the touched rows per batch.

    Args:
        projection: The user's projection.
        definition: Its definition, with the categories to read.
    """

    def __init__(self, projection: Projection[Any], definition: SubscriptionDefinition) -> None:
        self.definition: Final = definition
        self.most: Final[int | None] = None
        self._fold: Final = RowFold(projection)

    async def apply(self, transaction: QueryTransaction, batch: Sequence[EventAt]) -> None:
        """Fold a batch; see `Subscriber.apply`."""
        steps = self._fold.plan(batch)
        rows = await transaction.rows(self.definition, [*{step[2]: None for step in steps}])
        await transaction.write(self.definition, self._fold.fold(steps, rows))


class SqlSubscriber:
    """Runs async handlers on the connection of the running transaction, one event after the other.

    Args:
        projection: The user's SQL projection.
        definition: Its definition, with the categories to read.
    """

    def __init__(self, projection: SqlHandlers, definition: SubscriptionDefinition) -> None:
        self.definition: Final = definition
        self.most: Final[int | None] = None
        self._projection: Final = projection
        self._handlers: Final = {
            event: tuple(subscription.function for subscription in found)
            for event, found in projection.subscriptions.items()
        }

    async def apply(self, transaction: QueryTransaction, batch: Sequence[EventAt]) -> None:
        """Run the handlers; see `Subscriber.apply`."""
        for index, (event, at) in enumerate(batch):
            for function in self._handlers[type(event)]:
                handler: Callable[..., Awaitable[None]] = function  # type: ignore[assignment]
                try:
                    await handler(self._projection, transaction.connection, event, at)
                except _NOT_THE_HANDLERS_FAULT:
                    raise
                except Exception as cause:
                    raise HandlerFailedError(index, cause) from cause


class ProcessSubscriber:
    """Sends the commands that events lead to, then keeps the states; the derived ids make a repetition harmless.

    Args:
        manager: The user's process manager.
        definition: Its definition, with the categories to read.
        execute: Executes a command.
    """

    def __init__(self, manager: ProcessManager[Any], definition: SubscriptionDefinition, execute: Execute) -> None:
        self.definition: Final = definition
        self.most: Final[int | None] = _MOST_EVENTS_PER_REACTION
        self._fold: Final = ProcessFold(manager)
        self._execute: Final = execute

    async def apply(self, transaction: QueryTransaction, batch: Sequence[EventAt]) -> None:
        """React to a batch; see `Subscriber.apply`."""
        keys = self._fold.keys(batch)
        wanted = _distinct(keys)
        rows = await transaction.rows(self.definition, wanted) if wanted else {}
        await self._carry_out(transaction, self._fold.react(batch, keys, rows))

    @property
    def expires(self) -> bool:
        """Whether states can have deadlines."""
        return self._fold.expires

    @property
    def keyed_by_stream(self) -> bool:
        """Whether all events that concern a state are in one partition."""
        return self._fold.keyed_by_stream and len(self.definition.categories) == 1

    async def expire(self, transaction: QueryTransaction, deadlines: Sequence[Deadline]) -> bool:
        """React to deadlines that have passed; everything it changes in the database is part of the transaction.

        Returns:
            Whether any of them still counted.

        Raises:
            HandlerFailedError: `expired` raised, or a command could not be sent; it tells at which deadline.
            StoreUnavailableError: A command could not be executed now.
        """
        rows = await transaction.rows(self.definition, _distinct([[deadline.key for deadline in deadlines]]))
        reaction = self._fold.expire(deadlines, rows)
        await self._carry_out(transaction, reaction)
        return bool(reaction.deadlines)

    async def _carry_out(self, transaction: QueryTransaction, reaction: Reaction) -> None:
        if reaction.states:
            await transaction.write(self.definition, reaction.states)
        if reaction.deadlines:
            await transaction.set_deadlines(self.definition, reaction.deadlines)
        # Last: were a command executed and the states then refused, the next try might want other commands.
        await self._send(reaction.outgoing)

    async def _send(self, outgoing: Sequence[Sequence[Outgoing]]) -> None:
        """Execute commands, in order per stream and otherwise side by side; the first failing event counts."""
        by_target: dict[tuple[str, str], list[tuple[int, Outgoing]]] = defaultdict(list)
        for index, commands in enumerate(outgoing):
            for command in commands:
                by_target[command.send.aggregate.category, command.send.id].append((index, command))
        errors: list[tuple[int, Exception]] = []
        async with asyncio.TaskGroup() as tasks:
            for queue in by_target.values():
                tasks.create_task(self._send_in_order(queue, errors))
        for _, error in errors:
            if isinstance(error, _NOT_THE_HANDLERS_FAULT):
                raise error
        if errors:
            index, cause = min(errors, key=lambda found: found[0])
            raise HandlerFailedError(index, cause) from cause

    async def _send_in_order(
        self, commands: Iterable[tuple[int, Outgoing]], errors: list[tuple[int, Exception]]
    ) -> None:
        for index, outgoing in commands:
            try:
                await self._execute(outgoing)
            except CommandRejectedError as refusal:
                _LOGGER.warning("%s: %s was rejected: %s", self.definition.label, outgoing.command_id, refusal)
            except Exception as error:  # noqa: BLE001 - judged together with the others'
                errors.append((index, error))
                return


def _distinct(keys: Iterable[Iterable[Key | None]]) -> list[Key]:
    return list({key: None for event_keys in keys for key in event_keys if key is not None})
