"""A partition while this process owns it: from the election to the last command.

The election only says whose turn it is. What keeps two owners apart is the fence: an owner claims, reads up to its
claim, and serves; if it turns out that another one has claimed since, it drops what it knows and begins again, for
as long as the election says that it is its turn.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeAlias
from uuid import UUID

from eventstore.background import finished
from eventstore.core.errors import (
    AppendOutcomeUnknownError,
    CorruptLogError,
    EventStoreError,
    LogUnavailableError,
    OwnershipLostError,
)
from eventstore.core.records import StoredEvent
from eventstore.kafka.arbitration import arbitrate
from eventstore.kafka.backlog import Progress
from eventstore.kafka.fence import AppendInDoubtError, FencedWriter, State
from eventstore.kafka.means import Means
from eventstore.kafka.names import PartitionName
from eventstore.kafka.present import Present
from eventstore.kafka.records import LeaseRule, Record, event_records, stored_events
from eventstore.kafka.stages import Stage
from eventstore.ports import Appended, CommitOutcome, Conflicted, StreamCommit

_LOGGER: Final = logging.getLogger(__name__)
_MOST_BEHIND: Final = 100_000
"""So much that was acknowledged may be missing in the index before commits wait for it; see `Index.lag`."""
_CLAIM_PAUSE: Final = 0.25
_LOOKED_UP_BEFORE: Final = 2
"""So many groups of commits may hold commands that were looked up before the partition was served here, in vain, and
decided on what appeared in the log since, perhaps their own events: group commit decides one while it writes one."""
Prepare: TypeAlias = Callable[[str], Awaitable[tuple[Sequence[Record], Sequence[StoredEvent]]]]


class OwnedPartition:
    """Commits to one partition for as long as this process owns it.

    Args:
        name: Which partition.
        writer: Writes to it.
        means: The process's index, follower and clock.
    """

    def __init__(self, name: PartitionName, writer: FencedWriter, means: Means) -> None:
        self.name: Final = name
        self.stage = Stage.ASSIGNED
        self.present: Final = Present(name, means.index)
        self._writer: Final = writer
        self._means: Final = means
        self._turn: Final = asyncio.Lock()
        self._serving: Final = asyncio.Event()
        self._wanted: Final = asyncio.Event()
        self._wanted.set()
        self._skipped = 0
        self._looked_up_before = 0
        self._first_own_message = 0
        self._ending = False
        self.takeover_seconds = 0.0

    def is_of_former_owner(self, message_offset: int) -> bool:
        """Tell whether a message of the commands topic may have reached a former owner before its time was over."""
        return message_offset < self._first_own_message

    async def run(self) -> None:
        """Claim, and claim again whenever ownership was lost although it is still this process's turn."""
        entropy, clock = self._means.environment.entropy, self._means.environment.clock
        while True:
            await self._wanted.wait()
            if self._writer.state is State.FENCED:
                # Somebody has taken over, and the election may just not have told us yet. Two confused members must
                # not depose each other in turns: wait, and not both the same time.
                await clock.sleep(_CLAIM_PAUSE * (1 + entropy.bits(10) / 1024))
            try:
                async with self._turn:
                    if self.stage is not Stage.SERVING:
                        await self._take(self._deadline())
            except EventStoreError as error:
                if not error.retriable:
                    raise
                _LOGGER.warning("%s: %s; trying again", self.name, error)
                await clock.sleep(_CLAIM_PAUSE * (1 + entropy.bits(10) / 1024))

    async def serving(self) -> None:
        """Return when commands can be executed here."""
        await self._serving.wait()

    async def release(self, seconds: float) -> None:
        """Finish the commit that is under way, take no other, and leave the partition to its next owner."""
        self._ending = True
        self.stage = Stage.DRAINING
        self._serving.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._turn.acquire()
        except TimeoutError:
            _LOGGER.warning("%s: a commit was still under way after %g s", self.name, seconds)
        else:
            self._turn.release()
        self.stage = Stage.RELEASED

    async def commit(self, commits: Sequence[StreamCommit]) -> Sequence[CommitOutcome]:
        """Write a group of commits; see `StreamWriter.commit`."""
        return await finished(self._commit(commits))

    async def _commit(self, commits: Sequence[StreamCommit]) -> Sequence[CommitOutcome]:
        async with self._turn:
            deadline = self._deadline()
            await self._refuse_unless_serving(deadline)
            if self._means.index.lag > _MOST_BEHIND:
                await self.present.settled()
            versions = await self.present.versions(commits)
            known = await self._known_commands(commits, versions)
            outcomes, accepted = arbitrate(commits, versions, known)
            try:
                await self._write(accepted, outcomes, deadline)
            except (OwnershipLostError, CorruptLogError):
                self._begin_again()
                raise
            except AppendInDoubtError as doubt:
                await self._settle(accepted, outcomes, doubt)
            return outcomes

    async def _refuse_unless_serving(self, deadline: float) -> None:
        if self.stage is not Stage.SERVING:
            message = f"{self.name} is not served here now; nothing was written"
            raise OwnershipLostError(message)
        if self._writer.must_claim:
            await self._take_in_time(deadline)

    async def replace(self, prepare: Prepare) -> None:
        """Append records that change what events of the past are, not to be cancelled; raises as `commit` does.

        Args:
            prepare: Gives, for the lease in force and with the index complete, the records and the events as they are
                afterwards; nothing if nothing is to be changed. Called again to see what became of a batch in doubt.
        """
        async with self._turn:
            deadline = self._deadline()
            await self._refuse_unless_serving(deadline)
            await self.present.settled()
            records, events = await prepare(self._writer.lease)
            try:
                if not records:  # which only an owner can know
                    await self._prove(deadline)
                    return
                offset = await self._writer.append(records, deadline)
                self._refuse_loss(offset)
                if offset > self.present.end:
                    message = f"{self.name}: somebody else wrote to the partition meanwhile"
                    raise AppendInDoubtError(message)  # noqa: TRY301 - resolved as any other doubt
                self._moved_to(offset + len(records), events)
            except (OwnershipLostError, CorruptLogError):
                self._begin_again()
                raise
            except AppendInDoubtError as doubt:
                try:
                    await self._resolve()
                except EventStoreError as error:
                    raise AppendOutcomeUnknownError((), str(doubt)) from error
                if records and (await prepare(self._writer.lease))[0]:
                    message = f"{doubt}. Nothing was written"
                    raise LogUnavailableError(message) from doubt

    async def _write(
        self, accepted: Sequence[tuple[int, StreamCommit]], outcomes: list[CommitOutcome], deadline: float
    ) -> None:
        """Append what was accepted; a batch of questions and refusals alone has to prove that they still hold."""
        records = [record for _, commit in accepted for record in event_records(commit, self._writer.lease)]
        if not records:
            asked = any(isinstance(outcome, Appended) for outcome in outcomes)
            if asked and not await self._prove(deadline):
                message = f"{self.name}: somebody else wrote meanwhile; nothing was written"
                raise LogUnavailableError(message)
            return
        offset = await self._writer.append(records, deadline)
        self._refuse_loss(offset)
        if offset > self.present.end:
            await self._review(offset + len(records))
            await self._judge(accepted, outcomes, "somebody else wrote to the partition meanwhile")
            return
        events: list[StoredEvent] = []
        for position, commit in accepted:
            stored = stored_events(commit, offset)
            events += stored
            offset += len(stored)
            outcomes[position] = Appended(offset)
            self.present.appended(stored)
        self._moved_to(offset, events)

    async def _prove(self, deadline: float) -> bool:
        """Prove that this is the owner still; tells whether nobody else wrote meanwhile."""
        offset = await self._writer.barrier(deadline)
        self._refuse_loss(offset)
        if offset > self.present.end:
            await self._review(offset + 1)
            return False
        self._moved_to(offset + 1, ())
        return True

    async def catch_up(self, end: int) -> None:
        """Bring the index to the log's end where somebody else's records stand there: nothing else does."""
        if end <= self.present.end:
            return
        async with self._turn:  # a commit may be under way, and its records the ones
            if self.stage is Stage.SERVING and end > self.present.end:
                deadline = self._deadline()
                try:
                    await finished(self._take_in_time(deadline) if self._writer.must_claim else self._prove(deadline))
                except EventStoreError as error:
                    self._begin_again()  # it is claimed and followed again then, whoever owns it
                    if not isinstance(error, AppendInDoubtError) and not error.retriable:
                        raise
                    _LOGGER.warning("%s: %s", self.name, error)

    def _refuse_loss(self, offset: int) -> None:
        if offset < self.present.end:
            message = (
                f"{self.name} ends at offset {offset}, and was acknowledged up to {self.present.end}: the topic was made anew, or "
                "the brokers lost what they acknowledged. Nothing written now counts: eventstore topics check"
            )
            raise CorruptLogError(message)

    async def _review(self, end: int) -> None:
        """Read what stands behind records of somebody else as every reader will: only that counts."""
        index, name = self._means.index, str(self.name)
        _LOGGER.error("%s: somebody else wrote before offset %d: find out who may write to the topic", name, end)
        self._begin_again()
        await index.flush()
        await self._means.follower.follow(self.name)
        doubt = f"{name}: what somebody else wrote could not be read in time"
        try:
            async with asyncio.timeout(self._means.commit_seconds):
                await index.reached(name, end)
        except (TimeoutError, LogUnavailableError) as cause:
            raise AppendInDoubtError(doubt) from cause
        if index.rules[name].lease != self._writer.lease:
            message = f"{name}: somebody else's claim"
            raise AppendInDoubtError(message)
        await self._serve(self._writer.lease)

    def _moved_to(self, end: int, events: Sequence[StoredEvent]) -> None:
        """Let the index follow: what is acknowledged gets there behind the acknowledgement, in order."""
        self.present.moved_to(end)
        if self.stage is Stage.RELEASED:  # it outlasted the hand-over: the follower brings it to the index
            return
        rule = LeaseRule(self.name.category, self._writer.lease, {self._writer.producer_id}, self._skipped)
        self._means.index.offer(Progress(str(self.name), events, end, rule))

    async def _settle(
        self, accepted: Sequence[tuple[int, StreamCommit]], outcomes: list[CommitOutcome], doubt: AppendInDoubtError
    ) -> None:
        """Find out whether a batch is in the log: nothing of an older epoch can follow a newer claim."""
        ids = [commit.command_id for _, commit in accepted]
        try:
            await self._resolve()
        except EventStoreError as error:
            if not ids:
                message = f"{doubt}; it could not be claimed anew. Nothing was written"
                raise LogUnavailableError(message) from error
            raise AppendOutcomeUnknownError(tuple(str(UUID(bytes=key)) for key in ids), str(doubt)) from error
        await self._judge(accepted, outcomes, str(doubt))

    async def _resolve(self) -> None:
        """Read everything that this writer may have left in the log."""
        fenced = self._writer.state is State.FENCED
        self._begin_again()
        await (self._read_to_newer_claim() if fenced else self._take_in_time(self._deadline()))

    async def _judge(
        self, accepted: Sequence[tuple[int, StreamCommit]], outcomes: list[CommitOutcome], doubt: str
    ) -> None:
        """Say what became of a batch that was in doubt, once the index shows it."""
        index = self._means.index
        found = await index.find_commands([commit.command_id for _, commit in accepted])
        if not found:
            message = f"{doubt}. Nothing was written"
            raise LogUnavailableError(message)
        versions = await index.read_versions([commit.stream for _, commit in accepted])
        for position, commit in accepted:
            events = found.get(commit.command_id)
            outcomes[position] = Appended(events[-1].offset + 1) if events else Conflicted(versions[commit.stream])

    async def _read_to_newer_claim(self) -> None:
        """Read what this writer left behind and the claim that ended its time, leaving the partition to its owner."""
        index, name = self._means.index, str(self.name)
        await index.flush()
        await self._means.follower.follow(self.name)
        try:
            async with asyncio.timeout(self._means.commit_seconds):
                while index.rules[name].lease == self._writer.lease:
                    await index.moved()
        except TimeoutError as cause:
            message = f"{self.name}: the newer owner's claim could not be read"
            raise LogUnavailableError(message) from cause

    async def _take_in_time(self, deadline: float) -> None:
        """Claim anew in the course of a commit, which must not wait for ever; `run` goes on if this gives up."""
        try:
            async with asyncio.timeout(self._means.commit_seconds):
                await self._take(deadline)
        except TimeoutError as cause:
            message = f"{self.name} could not be claimed and read in time; nothing was written"
            raise LogUnavailableError(message) from cause

    async def _take(self, deadline: float) -> None:
        """Claim the partition and read up to the claim; shuts out every former owner that comes to light meanwhile."""
        index, name = self._means.index, str(self.name)
        self._begin_again()
        await index.flush()
        await self._means.follower.follow(self.name)
        while True:
            self._refuse_if_ending()
            read = index.positions[name]
            claimed = await self._writer.claim(index.rules[name].open_producers, deadline)
            self.present.end = read
            self._refuse_loss(claimed.offset)
            self.stage = Stage.RESTORING
            # Asked after the claim: what is sent from here on, no former owner can have answered.
            self._first_own_message = await self._means.commands_end(self.name)
            await self.present.restore(claimed.offset + 1, self._means.environment.clock)
            if index.rules[name].open_producers <= {self._writer.producer_id}:
                break
        self._refuse_if_ending()  # the partition is followed again by then
        await self._serve(claimed.lease)

    async def _serve(self, lease: str) -> None:
        """Serve from where the index stands; from here on it is fed by what is appended."""
        index, name = self._means.index, str(self.name)
        await self._means.follower.unfollow(self.name)
        await index.flush()
        if index.rules[name].lease != lease:
            message = f"{self.name} was claimed by another process meanwhile"
            raise OwnershipLostError(message)
        self._skipped = index.rules[name].skipped
        self.present.begin(index.positions[name])
        self._looked_up_before = _LOOKED_UP_BEFORE
        self._wanted.clear()
        if not self._ending:
            self.stage = Stage.SERVING
            self.takeover_seconds = self._writer.seconds_since_claim
            _LOGGER.info(
                "%s: served %.3f s after its claim, from offset %d", name, self.takeover_seconds, self.present.end
            )
            self._serving.set()

    def _refuse_if_ending(self) -> None:
        """Keep a commit that outlasts the hand-over from deposing the next owner."""
        if self._ending:
            message = f"{self.name} is not this process's any more"
            raise OwnershipLostError(message)

    def _begin_again(self) -> None:
        """Serve nobody until the partition is claimed anew, here or by `run`."""
        self._serving.clear()
        if not self._ending:
            self.stage = Stage.CLAIMING
        self._wanted.set()

    async def _known_commands(
        self, commits: Sequence[StreamCommit], versions: Mapping[str, int]
    ) -> Mapping[bytes, object]:
        """Give the command ids of those commits that may be in the log already and are."""
        just_begun, self._looked_up_before = self._looked_up_before > 0, max(0, self._looked_up_before - 1)
        doubtful = [commit for commit in commits if just_begun or versions[commit.stream] != commit.expected_version]
        if not doubtful:
            return {}
        return await self.present.find_commands([commit.command_id for commit in doubtful])

    def _deadline(self) -> float:
        return self._means.environment.clock.monotonic() + self._means.commit_seconds
