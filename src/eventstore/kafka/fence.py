"""The fenced single writer of one partition: the broker itself keeps every former owner out.

Every owner takes the next epoch of the partition's transactional id and writes a claim under it. From then on the
partition's leader refuses batches of older epochs. No Kafka transaction is ever opened: a group commit is one
idempotent batch, one round trip, stored as a whole or not at all.

                   claim                      append
    VACANT ------------------> WRITING <------------------.
      ^                          | |  '-------------------'
      | claim                    | |
      '------ DOUBTFUL <---------' '------> FENCED   a newer owner has begun; only a new claim leads out of here
           an answer is missing, or
           broker and writer count differently

Whoever claims has to read the partition up to the claim before it decides anything: that also settles what became of
a batch in doubt, since nothing of an older epoch can follow the claim.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import Enum, auto
from typing import Final, NamedTuple

from eventstore.core.errors import ConfigurationError, EventStoreError, LogUnavailableError, OwnershipLostError
from eventstore.core.records import to_micros
from eventstore.environment import Environment
from eventstore.kafka.answers import Answer, Reaction, answer_for
from eventstore.kafka.errors import unusable
from eventstore.kafka.names import PartitionName
from eventstore.kafka.records import Claim, Record, barrier_record, claim_record, fence_record
from eventstore.kafka.wire import ProducerIdentity, Wire, encode_batch

RENEWAL_SECONDS: Final = 6 * 3600.0
IDLE_SECONDS: Final = 600.0
"""Without an append for so long a writer claims anew: brokers forget producers after a day, and a writer that was
stopped for so long must not be taken for a stranger (`producer.id.expiration.ms`)."""

_LAST_EPOCH: Final = 32767
_BACK_OFF: Final = 0.02
_MAX_BACK_OFF: Final = 0.5


class State(Enum):
    """See the diagram above."""

    VACANT = auto()
    WRITING = auto()
    DOUBTFUL = auto()
    FENCED = auto()


class AppendInDoubtError(EventStoreError):
    """A batch was sent and nobody knows whether it is in the log; claim, read up to the claim, and look. Internal."""


class Claimed(NamedTuple):
    """Where this writer's time begins; `offset` of its claim in the partition."""

    lease: str
    offset: int


class FencedWriter:
    """Writes to one partition, or notices that it must not; never both it and another one.

    Args:
        wire: Speaks to the brokers.
        partition: Which partition.
        owner: Names this process in the claim.
        environment: Clock and randomness.

    Attributes:
        lease: Of the last claim.
        state: See the diagram above.
        fenced: How often a newer owner was found to have begun.
    """

    def __init__(self, wire: Wire, partition: PartitionName, owner: str, environment: Environment) -> None:
        self._wire: Final = wire
        self._partition: Final = partition
        self._owner: Final = owner
        self._environment: Final = environment
        self._identity = ProducerIdentity(-1, -1)
        self._sequence = 0
        self._claimed_at = 0.0
        self._appended_at = 0.0
        self.lease = ""
        self.state = State.VACANT
        self.fenced = 0

    @property
    def must_claim(self) -> bool:
        """Whether the next append needs a claim first."""
        now = self._environment.clock.monotonic()
        idle = now - self._appended_at > IDLE_SECONDS
        return self.state is not State.WRITING or idle or now - self._claimed_at > RENEWAL_SECONDS

    @property
    def seconds_since_claim(self) -> float:
        """How long ago the last claim was written."""
        return self._environment.clock.monotonic() - self._claimed_at

    @property
    def producer_id(self) -> int:
        """Under which this writer claimed last."""
        return self._identity.producer_id

    async def claim(self, open_producers: Collection[int], deadline: float) -> Claimed:
        """Shut out every other writer; what is in the log before the claim is final afterwards.

        Args:
            open_producers: Producer ids of former owners that nothing shuts out yet, as far as they are known.
            deadline: On the monotonic clock.

        Returns:
            The lease and the claim's offset.

        Raises:
            OwnershipLostError: Another process claimed at the same time.
            ConfigurationError: This user may not write here, or the topic is not as it has to be.
            LogUnavailableError: The brokers did not make it possible in time.
        """
        self.state = State.VACANT
        identity = await self._next_identity(deadline)
        for producer_id in open_producers:
            if producer_id != identity.producer_id:
                await self._shut_out(producer_id, deadline)
        lease, now = f"{self._environment.entropy.bits(64):016x}", to_micros(self._environment.clock.now())
        self._identity, self._sequence, self.lease = identity, 0, lease
        record = claim_record(Claim(lease, identity.producer_id, identity.epoch, self._owner, now))
        try:
            offset = await self._send([record], deadline)
        except AppendInDoubtError as doubt:
            message = f"{self._partition} could not be claimed: {doubt}"
            raise LogUnavailableError(message) from doubt
        self._claimed_at = self._environment.clock.monotonic()
        return Claimed(lease, offset)

    async def append(self, records: Sequence[Record], deadline: float) -> int:
        """Write a batch durably, as a whole or not at all; one call at a time.

        Args:
            records: At least one.
            deadline: On the monotonic clock.

        Returns:
            The first record's offset; the others follow it without a gap.

        Raises:
            OwnershipLostError: Another owner has begun, or this writer has not claimed; nothing was written.
            AppendInDoubtError: Claim, read up to the claim, and look.
            LogUnavailableError: Nothing was written.
        """
        self._refuse_unless_writing()
        return await self._send(records, deadline)

    async def barrier(self, deadline: float) -> int:
        """Prove that no other owner had begun when this returns; raises as `append` does."""
        self._refuse_unless_writing()
        return await self._send([barrier_record(self._identity.producer_id, self.lease)], deadline)

    async def _send(self, records: Sequence[Record], deadline: float) -> int:
        """Send one batch until its outcome is known or the time is up, always under the same sequence."""
        batch = encode_batch(records, self._identity, self._sequence)
        # Until an answer says otherwise, and for good if this is cancelled: the next batch would bear the same
        # sequence, and the broker would take it for this one sent again.
        before, self.state = self.state, State.DOUBTFUL
        in_doubt, tries = False, 0
        while True:
            reply = await self._wire.produce(self._partition.topic, self._partition.number, batch, deadline - self._now)
            answer = answer_for(reply.code)
            match answer.reaction:
                case Reaction.DONE:
                    self._sequence += len(records)
                    self._appended_at, self.state = self._now, State.WRITING
                    return reply.value
                case Reaction.FENCED:
                    self.state, self.fenced = State.FENCED, self.fenced + 1
                    raise self._in_doubt(answer) if in_doubt else self._lost(answer)
                case Reaction.RESTART:
                    raise self._in_doubt(answer)
                case Reaction.REFUSED:
                    self.state = State.DOUBTFUL if in_doubt else before
                    raise self._in_doubt(answer) if in_doubt else self._unavailable(reply.code)
                case Reaction.DOUBT:
                    in_doubt = True
                case Reaction.AGAIN:
                    pass
            tries += 1
            if not await self._may_try_again(tries, deadline):
                self.state = State.DOUBTFUL if in_doubt else before
                raise self._in_doubt(answer) if in_doubt else self._unavailable(reply.code)

    async def _next_identity(self, deadline: float) -> ProducerIdentity:
        tries = 0
        while True:
            code, identity = await self._wire.init_producer_id(self._partition.transactional_id, deadline - self._now)
            answer = answer_for(code)
            if answer.reaction is Reaction.DONE:
                return identity
            tries += 1
            final = answer.reaction in (Reaction.REFUSED, Reaction.FENCED)
            if final or not await self._may_try_again(tries, deadline):
                raise self._unavailable(code)

    async def _shut_out(self, producer_id: int, deadline: float) -> None:
        """Write one batch under the last epoch there is: the leader then refuses every other one of that producer.

        The epoch of another producer id does not fence it; this does. Sent twice, it is answered as a duplicate.
        """
        batch = encode_batch([fence_record(producer_id)], ProducerIdentity(producer_id, _LAST_EPOCH), 0)
        tries = 0
        while True:
            reply = await self._wire.produce(self._partition.topic, self._partition.number, batch, deadline - self._now)
            answer = answer_for(reply.code)
            if answer.reaction is Reaction.DONE:
                return
            tries += 1
            if answer.reaction is Reaction.REFUSED or not await self._may_try_again(tries, deadline):
                raise self._unavailable(reply.code)

    async def _may_try_again(self, tries: int, deadline: float) -> bool:
        """Wait a little, then learn who leads the partition now; tells whether there is time left for another try."""
        jitter = 1 + self._environment.entropy.bits(10) / 1024
        wait = min(_BACK_OFF * 2 ** min(tries - 1, 8), _MAX_BACK_OFF) * jitter
        if self._now + wait > deadline:
            return False
        await self._environment.clock.sleep(wait)
        await self._wire.refresh(deadline - self._now)
        return self._now < deadline

    @property
    def _now(self) -> float:
        return self._environment.clock.monotonic()

    def _refuse_unless_writing(self) -> None:
        if self.state is not State.WRITING:
            message = f"{self._partition} is not claimed by this writer ({self.state.name}); nothing was written"
            raise OwnershipLostError(message)

    def _lost(self, answer: Answer) -> OwnershipLostError:
        return OwnershipLostError(f"{self._partition} has another owner now ({answer.name}); nothing was written")

    def _in_doubt(self, answer: Answer) -> AppendInDoubtError:
        return AppendInDoubtError(f"{self._partition}: {answer.name}: {answer.remedy}")

    def _unavailable(self, code: int) -> EventStoreError:
        answer = answer_for(code)
        message = f"{self._partition} cannot be written to ({answer.name}): {answer.remedy}. Nothing was written"
        error = unusable(code, message)
        # Who may not even claim has nothing to wait for.
        claiming = self.state is State.VACANT and answer.reaction is Reaction.REFUSED
        return ConfigurationError(message) if claiming and isinstance(error, LogUnavailableError) else error
