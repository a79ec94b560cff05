"""What became of a command, and whether a repeated key was meant for the same command."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Final
from uuid import UUID

from pydantic import BaseModel, Field
from pydantic_core import PydanticSerializationError

from eventstore.core.aggregates import Aggregate
from eventstore.core.commands import Command
from eventstore.core.envelope import read_metadata
from eventstore.core.errors import UnencodableEventError
from eventstore.core.ids import derived_id, event_id
from eventstore.core.records import StoredEvent, Token, from_micros
from eventstore.core.streams import StreamId
from eventstore.fastapi.problems import Meaning, RefusedError
from eventstore.store import EventStore
from eventstore.write.pending import Committed

_REUSED: Final = Meaning(422, "key-reused", "The key was used for something else")
_NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


class EmittedEvent(BaseModel):
    """One event that a command led to."""

    event_id: UUID
    event_type: str
    version: int = Field(description="Its place in the stream, from 1.")


class Outcome(BaseModel):
    """A command was executed: its events are stored for good."""

    command_id: UUID
    version: int = Field(description="The version after the command; the `ETag` to match next.")
    events: list[EmittedEvent] = Field(description="What it led to; empty if there was nothing to do.")
    position: str = Field(description="Where a read model must be to show it; send it as `Eventstore-Position`.")


class StreamedEvent(BaseModel):
    """An event as streams of events give it."""

    event_id: UUID
    event_type: str
    stream: str
    version: int
    occurred_at: datetime
    data: dict[str, object] | None = Field(description="None if the service's code does not know the event.")


def outcome_of(committed: Committed) -> Outcome:
    """Describe what a command led to."""
    before, command_id = committed.version - len(committed.events), committed.command_id
    events = [
        EmittedEvent(event_id=event_id(command_id, index), event_type=event.event_type, version=before + index)
        for index, event in enumerate(committed.events, 1)
    ]
    return Outcome(command_id=command_id, version=committed.version, events=events, position=str(committed.token))


async def find_outcome(
    store: EventStore, aggregate: type[Aggregate], stream: StreamId, command_id: UUID
) -> Outcome | None:
    """Look a command up in the log, which misses nothing that was acknowledged before; None if it is not there.

    Raises:
        LogUnavailableError: The log cannot be read now.
    """
    # Its owner proves where the stream stands, and this process reads so far.
    await store.load(aggregate, stream.id, linearizable=True)
    stored = await _stored(store, stream, command_id)
    return _from_log(store, stored, command_id) if stored else None


async def refuse_other_intent(
    store: EventStore, aggregate: type[Aggregate], stream: StreamId, outcome: Outcome, meant: UUID
) -> Outcome:
    """Make sure that the events of a keyed command are those of this very command, and give its outcome from the log.

    Args:
        store: The open store.
        aggregate: The aggregate's class.
        stream: The stream.
        outcome: What executing it gave.
        meant: What `intent` gave.

    Raises:
        RefusedError: The key was used for another command before.
    """
    stored = await _stored(store, stream, outcome.command_id)
    if not stored:  # this process has not read so far yet
        await store.load(aggregate, stream.id, linearizable=True)
        stored = await _stored(store, stream, outcome.command_id)
    known = next((event for event in stored if not event.erased), None)
    if known is not None and read_metadata(known.envelope, known.place).correlation_id != meant:
        detail = "this Idempotency-Key came with another command before; that one's outcome stands, this did nothing"
        raise RefusedError(_REUSED, detail)
    return _from_log(store, stored, outcome.command_id) if stored else outcome


def intent(command_id: UUID, stream: StreamId, command: Command) -> UUID:
    """Give the id that stands for what a command wants; kept in the log as its correlation id.

    Args:
        command_id: Its id.
        stream: Where it is sent.
        command: The command.
    """
    digest = sha256(command.__pydantic_serializer__.to_json(command)).hexdigest()
    return derived_id(command_id, f"{stream}\n{type(command).__name__}\n{digest}")


def refuse_unstorable(command: Command) -> None:
    """Refuse text that some databases cannot hold: an event with it would halt read models there.

    Raises:
        UnencodableEventError: The command holds a NUL character, or what is no JSON.
    """
    try:
        text = command.__pydantic_serializer__.to_json(command).decode()
    except (PydanticSerializationError, ValueError, RecursionError) as cause:
        message = f"{type(command).__name__} cannot be written as JSON: {cause}"
        raise UnencodableEventError(message) from cause
    if "\\u0000" in text and _NUL.search(text):
        message = f"{type(command).__name__} holds a NUL character"
        raise UnencodableEventError(message)


async def _stored(store: EventStore, stream: StreamId, command_id: UUID) -> Sequence[StoredEvent]:
    partition = store.log.partition_of(str(stream))
    found = (await store.log.find_commands([command_id.bytes], partition)).get(command_id.bytes, ())
    return [event for event in found if event.stream == str(stream)]


def _from_log(store: EventStore, stored: Sequence[StoredEvent], command_id: UUID) -> Outcome:
    events = [
        EmittedEvent(event_id=UUID(bytes=event.event_id), event_type=event.event_type, version=event.version)
        for event in stored
    ]
    partition = store.log.partition_of(stored[-1].stream)
    token = Token({partition: stored[-1].offset + 1})
    return Outcome(command_id=command_id, version=stored[-1].version, events=events, position=str(token))


def streamed(stored: StoredEvent, data: dict[str, object] | None) -> StreamedEvent:
    """Describe an event for a stream of events."""
    return StreamedEvent(
        event_id=UUID(bytes=stored.event_id),
        event_type=stored.event_type,
        stream=stored.stream,
        version=stored.version,
        occurred_at=from_micros(stored.occurred_at),
        data=data,
    )
