"""Kafka transactions of one source partition: records and the position that they lead to, all or nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from eventstore.kafka.connection import Connection
from eventstore.kafka.public_records import PublicRecord
from eventstore.kafka.renewal import Renewal

_LOGGER: Final = logging.getLogger(__name__)
TRANSACTION_SECONDS: Final = 20.0
"""After so long the brokers abort a transaction that nobody ends; until then readers of committed data wait for it."""
_SLICE_SECONDS: Final = 1.0
_MOST_BYTES: Final = 1_048_588  # what a topic takes by default
_FENCED: Final = (
    KafkaError._FENCED,  # noqa: SLF001 - its public name
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
)
_NOTHING_SENT: Final = (KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE)  # noqa: SLF001
_CONNECTING: Final = "in state CONNECT"


class TransactionError(Exception):
    """A transaction did not commit, or nobody knows; only the position tells.

    Args:
        error: The client's.
    """

    def __init__(self, error: KafkaError) -> None:
        super().__init__(str(error))
        self.error: Final = error

    @property
    def fenced(self) -> bool:
        """Whether another process has the partition."""
        return self.error.code() in _FENCED


class Transactions:
    """Runs the transactions of one transactional id, on one thread; each new producer ends what a former one began.

    Args:
        connection: Where and how.
        transactional_id: Shared with whoever has the partition later: its open transaction is aborted then, and every
            later request of this one is refused.
    """

    def __init__(self, connection: Connection, transactional_id: str) -> None:
        self._settings: Final[dict[str, object]] = {
            "transactional.id": transactional_id,
            "transaction.timeout.ms": int(TRANSACTION_SECONDS * 1000),
            "acks": "all",
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "message.max.bytes": _MOST_BYTES,
            "log_level": 2,  # what goes wrong with a transaction is said by whoever runs it
        }
        self._renewal: Final = Renewal(connection, self._note)
        self._producer: Producer | None = None
        self._begun: Producer | None = None
        # Since when something about the connections went wrong, so that a request may still be on its way.
        self._doubtful = False

    def open(self, goes_on: Callable[[], bool]) -> bool:
        """Have a producer, whose beginning has ended every transaction of former ones; one that has none goes on.

        Args:
            goes_on: Asked every second; tells whether it is still wanted.

        Returns:
            Whether there is one.

        Raises:
            TransactionError: The brokers refuse it.
        """
        if self._producer is not None and not self._doubtful:
            return True
        self.drop()
        self._doubtful = False
        producer = self._new()
        while goes_on():
            if self._renewal.is_due(producer):
                producer = self._new()
            try:
                producer.init_transactions(_SLICE_SECONDS)
            except KafkaException as failure:
                error: KafkaError = failure.args[0]
                if not error.retriable():
                    raise TransactionError(error) from failure
            else:
                self._producer = producer
                self._doubtful = False
                return True
        return False

    def _new(self) -> Producer:
        return Producer({**self._renewal.settings(), **self._settings}, logger=_LOGGER)

    @property
    def is_sound(self) -> bool:
        """Whether nothing went wrong with a connection: otherwise `open` replaces the producer, between transactions."""
        if self._producer is not None and self._renewal.is_due(self._producer):
            self._doubtful = True
        return not self._doubtful

    def produce(self, record: PublicRecord) -> None:
        """Add a record to the transaction, which begins with the first one.

        Raises:
            TransactionError: It failed; `end` it.
        """
        producer = self._begun or self._begin()
        try:
            producer.produce(record.topic, record.value, record.key, headers=record.headers)
        except BufferError:
            self._make_room(producer)
            self.produce(record)
        except KafkaException as failure:
            raise TransactionError(failure.args[0]) from failure

    def _make_room(self, producer: Producer) -> None:
        """Have what was produced so far delivered."""
        try:
            left = producer.flush(TRANSACTION_SECONDS)
        except KafkaException as failure:
            raise TransactionError(failure.args[0]) from failure
        if left:
            raise TransactionError(KafkaError(KafkaError._QUEUE_FULL))  # noqa: SLF001 - its public name

    def commit(self, position: TopicPartition, group: object) -> None:
        """Commit the transaction together with a position; with no record before, of the position alone.

        Args:
            position: Of the group.
            group: The group's metadata, as its consumer has them: the brokers refuse those of a former member.

        Raises:
            TransactionError: It did not commit, or nobody knows: `end` it.
        """
        producer = self._begin()
        deadline = time.monotonic() + TRANSACTION_SECONDS
        self._insist(lambda seconds: producer.send_offsets_to_transaction([position], group, seconds), deadline)
        self._insist(producer.commit_transaction, deadline)
        self._begun = None

    def end(self, failed: TransactionError) -> None:
        """Make sure that nothing of a transaction that failed is committed from now on, unless it was already.

        Args:
            failed: How it failed. If it only has to be aborted, it is, and the producer can go on; otherwise the next
                one's beginning decides, so that no request of this one can arrive late.
        """
        producer = self._producer
        if producer is None or self._begun is None:
            self.drop()
            return
        self._begun = None
        if not failed.error.txn_requires_abort() or failed.error.fatal() or failed.fenced:
            self.drop()
            return
        try:
            self._insist(producer.abort_transaction, time.monotonic() + TRANSACTION_SECONDS)
        except TransactionError as again:
            _LOGGER.info("a transaction is left to the next producer to abort: %s", again)
            self.drop()

    def drop(self) -> None:
        """Be without a producer; a transaction that is open is aborted by the next one, here or elsewhere."""
        producer, self._producer, self._begun = self._producer, None, None
        if producer is not None:
            with suppress(KafkaException):  # it says once more why it failed
                producer.purge()
                producer.poll(0)

    def _begin(self) -> Producer:
        assert self._producer is not None  # noqa: S101 - opened before
        if self._begun is None:
            try:
                self._producer.begin_transaction()
            except KafkaException as failure:
                raise TransactionError(failure.args[0]) from failure
            self._begun = self._producer
        return self._begun

    def _insist(self, request: Callable[[float], object], deadline: float) -> None:
        while True:
            try:
                request(max(deadline - time.monotonic(), _SLICE_SECONDS / 10))
            except KafkaException as failure:
                error: KafkaError = failure.args[0]
                if not error.retriable() or time.monotonic() > deadline:
                    raise TransactionError(error) from failure
            else:
                return

    def _note(self, error: KafkaError) -> None:
        """Take note of trouble with connections, which the client gets over by itself.

        Its protocol lets a request that was lost on the way end a later transaction, if it arrives after all; a new
        producer's epoch shuts it out.
        """
        _LOGGER.info("%s: %s", self._settings["transactional.id"], error)
        # Where no connection came about, nothing was sent: a name with two addresses, of which one does not answer.
        if error.code() not in _NOTHING_SENT and _CONNECTING not in error.str():
            self._doubtful = True
