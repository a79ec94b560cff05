"""One command against one state: what it leads to, before anything is written."""

from __future__ import annotations

from typing import Final, NamedTuple
from uuid import UUID

from eventstore.core.aggregates import Aggregate
from eventstore.core.commands import Command
from eventstore.core.envelope import Metadata
from eventstore.core.errors import (
    CommandRejectedError,
    EventStoreError,
    UnencodableEventError,
    WrongExpectedVersionError,
)
from eventstore.core.events import Event
from eventstore.core.ids import event_id
from eventstore.core.records import StreamEvent, from_micros, to_micros
from eventstore.core.registry import TypeRegistry
from eventstore.core.streams import StreamId
from eventstore.ports import Clock, EncodeEvent, NewEvent, StreamCommit

MAX_EVENTS_PER_COMMAND: Final = 1_000
MAX_COMMAND_BYTES: Final = 8_000_000
"""Most that the events of one command may take: what a batch has at most, and this, fit a broker's batch of 24 MiB."""

_HEADER_BYTES: Final = 512


def stored_size(event: NewEvent) -> int:
    """Give the bytes that an event takes in a log at most: its envelope, and what readers need without decoding."""
    return len(event.envelope) + _HEADER_BYTES


class Look(Command):
    """Asks where a stream stands: every aggregate answers with no event, which proves that its state was current."""


class Request(NamedTuple):
    """A command on its way.

    Attributes:
        aggregate: The aggregate's class.
        stream: The stream it concerns.
        command: What is wanted.
        command_id: Makes a repeat harmless.
        correlation_id: Shared by everything one first command set off.
        expected_version: What the caller believes the stream's version is; None for "whatever it is".
    """

    aggregate: type[Aggregate]
    stream: StreamId
    command: Command
    command_id: UUID
    correlation_id: UUID
    expected_version: int | None


class Decision(NamedTuple):
    """What a command led to. It holds only if `commit` goes through: the state it was decided on may be old.

    Attributes:
        commit: The events to write; none for a refusal, which then only asks whether the state was current.
        state: The state afterwards.
        events: The events, as every later reader will see them.
        refusal: Why the domain or the expected version refused, or what the domain raised instead of deciding.
    """

    commit: StreamCommit
    state: Aggregate
    events: tuple[Event, ...]
    refusal: Exception | None


class Decider:
    """Decides commands; the clock is its only view of the world.

    Args:
        registry: Decodes what was encoded, so that what is applied is exactly what later readers get.
        clock: For `occurred_at`.
        encode: Gives the events' envelopes.
    """

    def __init__(self, registry: TypeRegistry, clock: Clock, encode: EncodeEvent) -> None:
        self.registry: Final = registry
        self._clock: Final = clock
        self._encode: Final = encode

    def decide(self, request: Request, state: Aggregate) -> Decision:
        """Decide a command on a state, which stays as it is.

        Args:
            request: The command.
            state: The state to decide on.

        Returns:
            The decision; what the domain code raised, too, since it may have raised it about an old state.

        Raises:
            UnencodableEventError: An event cannot be stored, or there are too many.
            ConfigurationError: The aggregate does not handle the command.
        """
        name, version = str(request.stream), state.version
        expected = request.expected_version
        if expected is not None and expected != version:
            wrong = WrongExpectedVersionError(name, expected=expected, actual=version)
            return self._refused(request, state, wrong)
        try:
            events = () if isinstance(request.command, Look) else state.decide(request.command)
            return self._accepted(request, state, events)
        except CommandRejectedError as rejected:
            rejected.stream, rejected.command = name, type(request.command).__name__
            return self._refused(request, state, rejected)
        except EventStoreError:
            raise
        except Exception as bug:  # noqa: BLE001 - the domain's, and its caller's once the state has proved current
            # No future takes a StopIteration, so it becomes what it becomes in a generator.
            error = RuntimeError("the domain raised StopIteration") if isinstance(bug, StopIteration) else bug
            error.add_note(f"raised while {type(request.command).__name__} was decided on {name} at version {version}")
            return self._refused(request, state, error)

    def _accepted(self, request: Request, state: Aggregate, events: tuple[Event, ...]) -> Decision:
        name = str(request.stream)
        if len(events) > MAX_EVENTS_PER_COMMAND:
            message = (
                f"{type(request.command).__name__} on {name} led to {len(events):,} events and the limit is "
                f"{MAX_EVENTS_PER_COMMAND:,}: split the command. Nothing was written"
            )
            raise UnencodableEventError(message)
        # Never before the stream's newest event, so that "as of a time" is a prefix even if the clock went back.
        micros = max(to_micros(self._clock.now()), state.occurred_at)
        moment = from_micros(micros)
        metadata = Metadata(request.correlation_id, request.command_id)
        after = state.copy_state() if events else state
        new_events: list[NewEvent] = []
        read_back: list[Event] = []
        size = 0
        for index, event in enumerate(events, 1):
            kind, identity = type(event), event_id(request.command_id, index)
            envelope = self._encode(event, identity, moment, metadata)
            stored = StreamEvent(after.version + 1, kind.event_type, kind.schema_version, micros, envelope)
            decoded = self._read_back(stored, name)
            after.evolve(decoded, micros)
            read_back.append(decoded)
            new_events.append(NewEvent(kind.event_type, kind.schema_version, identity.bytes, micros, envelope))
            size += stored_size(new_events[-1])
            if size > MAX_COMMAND_BYTES:
                message = (
                    f"{type(request.command).__name__} on {name} led to events of more than {MAX_COMMAND_BYTES:,} "
                    "bytes, the limit of a command: split the command. Nothing was written"
                )
                raise UnencodableEventError(message)
        commit = StreamCommit(name, state.version, request.command_id.bytes, tuple(new_events))
        return Decision(commit, after, tuple(read_back), None)

    def _read_back(self, stored: StreamEvent, stream: str) -> Event:
        try:
            return self.registry.decode(stored, stream)
        except EventStoreError as cause:
            message = f"{stored.event_type} for {stream} could not be read back: {cause}. Nothing was written"
            raise UnencodableEventError(message) from cause

    @staticmethod
    def _refused(request: Request, state: Aggregate, refusal: Exception) -> Decision:
        commit = StreamCommit(str(request.stream), state.version, request.command_id.bytes, ())
        return Decision(commit, state, (), refusal)
