"""Group commit: while one batch is being written, the next is decided against what the first will leave behind.

            take           decide              commit             settle
    queue --------> batch ---------> batch ------------> log ---------------> callers, cache
              ^                 overlay: the states after the batch in flight     |
              '---------- decided again: conflict, or the batch in flight failed -'

No command is answered before the batch it was decided in is settled, rejections included: they may rest on
events that are not committed yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, assert_never

from eventstore.core.aggregates import Aggregate
from eventstore.core.errors import AppendOutcomeUnknownError, EventStoreError, InvalidIdError, LogUnavailableError
from eventstore.core.records import Partition, StoredEvent, Token
from eventstore.core.streams import StreamId
from eventstore.ports import Appended, Clock, CommitOutcome, Conflicted, Duplicated, StreamReader, StreamWriter
from eventstore.write.deciding import Decider, Decision, stored_size
from eventstore.write.pending import Committed, Inbox, Pending
from eventstore.write.rehydration import Rehydrator
from eventstore.write.snapshots import Snapshotter

MAX_BATCH: Final = 512
MAX_BATCH_BYTES: Final = 8_000_000


class CommitsStreams(StreamReader, StreamWriter, Protocol):
    """What group commit needs from a log."""


@dataclass(slots=True)
class _Batch:
    """Decided commands, and the states they leave behind; `forgotten` is the cache's when the first was taken."""

    forgotten: int
    decided: list[tuple[Pending, Decision]] = field(default_factory=list[tuple[Pending, Decision]])
    states: dict[str, Aggregate] = field(default_factory=dict[str, Aggregate])
    size: int = 0

    @property
    def full(self) -> bool:
        return len(self.decided) >= MAX_BATCH or self.size >= MAX_BATCH_BYTES

    def add(self, pending: Pending, decision: Decision) -> None:
        self.decided.append((pending, decision))
        self.states[decision.commit.stream] = decision.state
        self.size += sum(map(stored_size, decision.commit.events))


class GroupCommit:
    """Executes the commands of one partition in order of arrival, many per round trip to the log.

    Args:
        log: Where to write.
        partition: Which partition.
        rehydrator: Loads states.
        decider: Decides.
        snapshotter: Gets what was committed.
        clock: For deadlines.
    """

    def __init__(
        self,
        log: CommitsStreams,
        partition: Partition,
        rehydrator: Rehydrator,
        decider: Decider,
        snapshotter: Snapshotter,
        clock: Clock,
    ) -> None:
        self._log: Final = log
        self._partition: Final = partition
        self._rehydrator: Final = rehydrator
        self._decider: Final = decider
        self._snapshotter: Final = snapshotter
        self._clock: Final = clock
        self._inbox: Final = Inbox()
        self._stale: Final[set[str]] = set()

    async def submit(self, pending: Pending) -> None:
        """Queue a request; waits while the queue is full.

        Raises:
            StoreClosedError: The store is closing.
        """
        await self._inbox.put(pending)

    async def drain(self) -> None:
        """Refuse new requests and return once all queued ones are answered."""
        await self._inbox.drain()

    async def run(self) -> None:
        """Work until cancelled; whatever is unanswered then fails with `StoreClosedError`."""
        cause: BaseException | None = None
        try:
            while True:
                await self._inbox.arrived.wait()
                self._inbox.arrived.clear()
                batch = self._new_batch()
                await self._decide_queued(batch, {})
                while batch.decided:
                    batch = await self._write_and_decide_next(batch)
        except Exception as bug:
            cause = bug
            raise
        finally:
            self._inbox.close(cause)

    async def _write_and_decide_next(self, writing: _Batch) -> _Batch:
        """Write a batch, decide meanwhile what arrives, settle, and give the next batch."""
        commits = [decision.commit for _, decision in writing.decided]
        in_flight = asyncio.ensure_future(self._log.commit(self._partition, commits))
        in_flight.add_done_callback(lambda _: self._inbox.arrived.set())
        following = self._new_batch()
        try:
            while not in_flight.done():
                await self._inbox.arrived.wait()
                self._inbox.arrived.clear()
                if not following.full:
                    await self._decide_queued(following, writing.states)
        except BaseException:
            in_flight.cancel()
            raise
        conflicting = self._settle(writing, in_flight)
        # What was decided on states that were to be forgotten must not be handed on from batch to batch.
        if conflicting is None and writing.forgotten == self._rehydrator.cache.forgotten:
            if self._inbox and not following.full:
                await self._decide_queued(following, {})
            return following
        self._inbox.put_back([*(conflicting or ()), *(pending for pending, _ in following.decided)])
        again = self._new_batch()
        await self._decide_queued(again, {})
        return again

    def _new_batch(self) -> _Batch:
        return _Batch(self._rehydrator.cache.forgotten)

    async def _decide_queued(self, batch: _Batch, overlay: Mapping[str, Aggregate]) -> None:
        """Decide queued requests into the batch until one of the two runs out.

        Args:
            batch: Takes the decisions.
            overlay: States that the batch in flight will leave behind.
        """
        while self._inbox and not batch.full:
            taken = self._inbox.take(MAX_BATCH - len(batch.decided))
            try:
                wanted = [pending for pending in await self._without_repeats(taken) if self._is_wanted(pending)]
                states = await self._states(wanted, {**overlay, **batch.states})
            except BaseException:
                self._inbox.put_back(taken)
                raise
            for index, pending in enumerate(wanted):
                if batch.full:
                    self._inbox.put_back(wanted[index:])
                    break
                self._decide(pending, batch, states)

    def _decide(self, pending: Pending, batch: _Batch, states: dict[str, Aggregate]) -> None:
        name = str(pending.request.stream)
        state = states.get(name)
        if state is None:  # its load failed and answered it
            return
        try:
            decision = self._decider.decide(pending.request, state)
        except Exception as error:  # noqa: BLE001 - whatever the domain raised belongs to this caller alone
            self._inbox.answer(pending, error)
            return
        states[name] = decision.state
        batch.add(pending, decision)

    def _is_wanted(self, pending: Pending) -> bool:
        if pending.answer.done():
            self._inbox.answer(pending, None)
            return False
        if self._clock.monotonic() > pending.deadline:
            request = pending.request
            message = (
                f"{type(request.command).__name__} on {request.stream} waited for its turn until its deadline; "
                "nothing was written, try again"
            )
            self._inbox.answer(pending, LogUnavailableError(message))
            return False
        return True

    async def _without_repeats(self, taken: Sequence[Pending]) -> list[Pending]:
        """Answer requests whose command is in the log already, and let those that are underway share one answer."""
        remaining: list[Pending] = []
        asked: list[Pending] = []
        for pending in taken:
            if not pending.look_up:
                remaining.append(pending)
            elif not self._inbox.is_repeat(pending):
                remaining.append(pending)
                asked.append(pending)
        if not asked:
            return remaining
        try:
            found = await self._log.find_commands(
                [pending.request.command_id.bytes for pending in asked], self._partition
            )
        except EventStoreError as error:
            for pending in asked:
                self._inbox.answer(pending, error)
            return [pending for pending in remaining if not pending.look_up]
        for pending in asked:
            events = found.get(pending.request.command_id.bytes)
            if events:
                self._inbox.answer(pending, self._first_result(pending, events))
                remaining.remove(pending)
        return remaining

    def _first_result(self, pending: Pending, events: Sequence[StoredEvent]) -> Committed | EventStoreError:
        name = str(pending.request.stream)
        if events[0].stream != name:
            return InvalidIdError(
                f"command id {pending.request.command_id} was used for {events[0].stream} already, "
                f"so it cannot be used for {name}: give every command its own id"
            )
        try:
            decoded = tuple(self._decider.registry.decode(event) for event in events if not event.erased)
        except EventStoreError as error:
            return error
        token = Token({self._partition: events[-1].offset + 1})
        return Committed(events[-1].version, decoded, token, pending.request.command_id)

    async def _states(self, wanted: Iterable[Pending], known: dict[str, Aggregate]) -> dict[str, Aggregate]:
        """Give the state of every wanted stream: from the overlay, the cache, or the log, in one round trip."""
        missing: dict[StreamId, type[Aggregate]] = {}
        for pending in wanted:
            stream = pending.request.stream
            name = str(stream)
            if name in known:
                continue
            cached = None if name in self._stale else self._rehydrator.cache.get(name)
            if cached is not None:
                known[name] = cached
            else:
                missing[stream] = pending.request.aggregate
        if missing:
            self._stale.difference_update(map(str, missing))
            known.update(await self._load(missing, wanted))
        return known

    async def _load(
        self, missing: Mapping[StreamId, type[Aggregate]], wanted: Iterable[Pending]
    ) -> Mapping[str, Aggregate]:
        try:
            return await self._rehydrator.current(missing)
        except EventStoreError as error:
            if len(missing) == 1:
                (stream,) = missing
                for pending in wanted:
                    if pending.request.stream == stream:
                        self._inbox.answer(pending, error)
                return {}
        # One of several streams cannot be loaded: only its own commands may fail.
        loaded: dict[str, Aggregate] = {}
        for stream, kind in missing.items():
            loaded.update(await self._load({stream: kind}, wanted))
        return loaded

    def _settle(self, batch: _Batch, in_flight: asyncio.Future[Sequence[CommitOutcome]]) -> list[Pending] | None:
        """Answer a written batch.

        Returns:
            The commands to decide again, or None if all went through, so that what was decided meanwhile holds.
        """
        try:
            outcomes = in_flight.result()
        except EventStoreError as error:
            self._fail(batch, error)
            return []
        conflicting: list[Pending] = []
        clean = True
        for (pending, decision), outcome in zip(batch.decided, outcomes, strict=True):
            match outcome:
                case Appended():
                    self._rehydrator.cache.put(decision.commit.stream, decision.state, batch.forgotten)
                    self._snapshotter.offer(decision.state, len(decision.events))
                    refusal = decision.refusal
                    committed = self._committed(pending, decision, outcome)
                    self._inbox.answer(pending, committed if refusal is None else refusal)
                case Conflicted():
                    clean = False
                    self._stale.add(decision.commit.stream)
                    conflicting.append(pending)
                case Duplicated():
                    clean = False
                    self._stale.add(decision.commit.stream)
                    pending.look_up = True
                    conflicting.append(pending)
                case _:
                    assert_never(outcome)
        return None if clean else conflicting

    def _committed(self, pending: Pending, decision: Decision, outcome: Appended) -> Committed:
        token = Token({self._partition: outcome.next_offset} if decision.events else {})
        return Committed(decision.state.version, decision.events, token, pending.request.command_id)

    def _fail(self, batch: _Batch, error: EventStoreError) -> None:
        for pending, decision in batch.decided:
            self._stale.add(decision.commit.stream)
            if isinstance(error, AppendOutcomeUnknownError):
                own = AppendOutcomeUnknownError((str(pending.request.command_id),), error.cause)
                own.__cause__ = error
                self._inbox.answer(pending, own)
            else:
                self._inbox.answer(pending, error)
