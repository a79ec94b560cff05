"""From a stream to an aggregate's state: cache, snapshot, then the events after it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol, TypeVar, cast

from eventstore.core.aggregates import Aggregate, missing_evolver, read_snapshot
from eventstore.core.errors import CorruptLogError, EventSchemaError, WrongExpectedVersionError
from eventstore.core.records import Snapshot, StreamEvent, to_micros
from eventstore.core.registry import TypeRegistry
from eventstore.core.streams import StreamId
from eventstore.ports import SnapshotStore, StreamQuery, StreamReader

A = TypeVar("A", bound=Aggregate)
_PAGE: Final = 1_024
"""Events per read: so much fits the processor's caches, and the loop is not held up for long between two reads."""


class ReadsAggregates(StreamReader, SnapshotStore, Protocol):
    """What rehydration needs from a log."""


class StateCache:
    """Keeps the most recently used committed states; each is the fold of a prefix of its stream, never wrong.

    Args:
        size: How many states are kept.

    Attributes:
        forgotten: How often a stream was forgotten.
    """

    def __init__(self, size: int) -> None:
        self._size: Final = size
        self.forgotten = 0
        self._states: Final[OrderedDict[str, Aggregate]] = OrderedDict()

    def get(self, stream: str) -> Aggregate | None:
        """Give the state kept for a stream; it must not be changed."""
        state = self._states.get(stream)
        if state is not None:
            self._states.move_to_end(stream)
        return state

    def forget(self, stream: str) -> None:
        """Keep nothing of a stream that what was read or kept until now went into."""
        self.forgotten += 1
        self._states.pop(stream, None)

    def put(self, stream: str, state: Aggregate, forgotten: int) -> None:
        """Keep a committed state unless a newer one is kept already.

        Args:
            stream: The stream's name.
            state: The state.
            forgotten: The attribute's value before anything that the state is made of was read or taken from here: if
                a stream was forgotten since, the state may hold what was to be forgotten, and is not kept.
        """
        if forgotten != self.forgotten:
            return
        known = self._states.get(stream)
        if known is None or known.version <= state.version:
            self._states[stream] = state
        self._states.move_to_end(stream)
        while len(self._states) > self._size:
            self._states.popitem(last=False)


class Rehydrator:
    """Loads committed states of aggregates.

    Args:
        log: Where streams and snapshots are.
        registry: Decodes events.
        cache_size: How many states are kept in memory.
    """

    def __init__(self, log: ReadsAggregates, registry: TypeRegistry, cache_size: int) -> None:
        self._log: Final = log
        self._registry: Final = registry
        self.cache: Final = StateCache(cache_size)

    async def current(self, wanted: Mapping[StreamId, type[Aggregate]]) -> dict[str, Aggregate]:
        """Bring states up to the log's present, all in one or two round trips, and keep them in the cache.

        Args:
            wanted: The class of each stream.

        Returns:
            The states by stream name; they must not be changed.

        Raises:
            EventSchemaError: An event does not fit the code.
            CorruptLogError: A stream has a gap.
            LogUnavailableError: The log cannot be read now.
        """
        forgotten = self.cache.forgotten
        states = await self._starts(wanted)
        behind = [*states]
        while behind:
            behind = await self._fold_page(states, behind)
        for name, state in states.items():
            self.cache.put(name, state, forgotten)
        return states

    async def _fold_page(self, states: dict[str, Aggregate], behind: Sequence[str]) -> list[str]:
        """Fold the next page of each stream, and tell which may go on; the page's memory is free for the next one."""
        queries = [StreamQuery(name, states[name].version, _PAGE) for name in behind]
        pages = await self._log.read_to_fold(queries)
        for name, events in zip(behind, pages, strict=True):
            if events:
                states[name] = state = states[name].copy_state()
                fold(state, events, self._registry)
        return [name for name, events in zip(behind, pages, strict=True) if len(events) == _PAGE]

    async def load(self, cls: type[A], stream: StreamId, at: int | datetime | None) -> A:
        """Give an aggregate as of now, of a version or of a time; it is the caller's own copy.

        Args:
            cls: The aggregate's class.
            stream: Its stream.
            at: A version, a time in UTC, or None for the present.

        Returns:
            The aggregate.

        Raises:
            WrongExpectedVersionError: The stream has fewer events than the wanted version.
            EventSchemaError: An event does not fit the code.
            CorruptLogError: The stream has a gap.
            LogUnavailableError: The log cannot be read now.
        """
        if at is None:
            states = await self.current({stream: cls})
            return cast("A", states[str(stream)].copy_state())
        state = cls.initial(stream.id)
        until = to_micros(at) if isinstance(at, datetime) else None
        last = at if isinstance(at, int) else None
        while last is None or state.version < last:
            limit = _PAGE if last is None else min(_PAGE, last - state.version)
            (page,) = await self._log.read_to_fold([StreamQuery(str(stream), state.version, limit)])
            events = page if until is None else [event for event in page if event.occurred_at <= until]
            fold(state, events, self._registry)
            if len(events) < _PAGE:
                break
        if last is not None and state.version < last:
            raise WrongExpectedVersionError(str(stream), expected=last, actual=state.version)
        return state

    async def _starts(self, wanted: Mapping[StreamId, type[Aggregate]]) -> dict[str, Aggregate]:
        """Give the best state each stream can be folded on from."""
        starts: dict[str, Aggregate] = {}
        snapshots = [str(s) for s, cls in wanted.items() if cls.snapshot_every and not self.cache.get(str(s))]
        kept: Mapping[str, Snapshot] = await self._log.read_snapshots(snapshots) if snapshots else {}
        for stream, cls in wanted.items():
            name = str(stream)
            state = self.cache.get(name)
            snapshot = kept.get(name)
            if state is None and snapshot and snapshot.fingerprint == cls.fingerprint:
                state = read_snapshot(cls, stream.id, snapshot)
            starts[name] = state if isinstance(state, cls) else cls.initial(stream.id)
        return starts


def fold(state: Aggregate, events: Sequence[StreamEvent], registry: TypeRegistry) -> None:
    """Evolve a state in place by stored events that follow it; erased ones only count.

    Raises:
        EventSchemaError: An event does not fit the code, or applying it raised.
        CorruptLogError: The events do not follow the state without a gap.
    """
    decode, evolve, version, stream = registry.decode, state.evolve, state.version, str(state.stream)
    for stored in events:
        version += 1
        if stored.version != version:
            place = stored.place_in(stream)
            message = f"{place}: version {version} is missing before it; the log is damaged, restore a backup"
            raise CorruptLogError(message)
        if not stored.envelope:  # erased
            state.pass_over(stored.occurred_at)
            continue
        event = decode(stored, stream)
        try:
            evolve(event, stored.occurred_at)
        except Exception as cause:
            place = stored.place_in(stream)
            if type(event) not in state.evolvers:
                message = f"{place}: {missing_evolver(type(state), type(event))}"
            else:
                message = f"{place}: {type(state).__name__} could not apply it ({cause!r}): @evolves must not fail"
            raise EventSchemaError(message) from cause
