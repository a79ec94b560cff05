"""One source partition of a publication: reads on from its position, publishes, moves the position, all or nothing.

    opening --> publishing --> halted        a handler raised
       ^            |
       +------------+                        a transaction failed: reads on from what is committed

It ends when its process gives the partition up.
"""

from __future__ import annotations

import logging
from threading import Thread
from typing import Final

from confluent_kafka import KafkaError

from eventstore.core.errors import ConfigurationError, CorruptLogError, StoreUnavailableError
from eventstore.kafka.answers import Reaction, answer_for
from eventstore.kafka.names import PartitionName
from eventstore.kafka.relay_batches import Batches, HaltedError
from eventstore.kafka.relay_feed import Feed
from eventstore.kafka.relay_positions import Place, Position
from eventstore.kafka.relay_transactions import TransactionError, Transactions
from eventstore.kafka.relay_work import Reader, Surroundings

_LOGGER: Final = logging.getLogger(__name__)
_SHORTEST_BACKOFF: Final = 0.1
_LONGEST_BACKOFF: Final = 5.0


class Lane:
    """Publishes one partition, on a thread of its own, until it is stopped or stands still.

    Args:
        surroundings: What it shares with the others.
        partition: Which one.
        reader: Fills its feed.

    Attributes:
        feed: What was read and not published yet.
    """

    def __init__(self, surroundings: Surroundings, partition: PartitionName, reader: Reader) -> None:
        self._surroundings: Final = surroundings
        self._partition: Final = partition
        self._reader: Final = reader
        self._place: Final[Place] = partition.topic, partition.number
        self._label: Final = f"{surroundings.work.definition.name} partition {partition}"
        self.feed: Final = Feed(2 * surroundings.work.batch_size)
        # Named after the partition: whoever has it next ends what this one leaves open, and shuts it out.
        transactional_id = f"{surroundings.group}.{partition.topic}.{partition.number}"
        self._transactions: Final = Transactions(surroundings.connection, transactional_id)
        self._batches: Final = Batches(surroundings, partition, self._transactions, reader, self.feed)
        self._stopping = False
        # A daemon: while the brokers are away the client may not return, and must not keep the process.
        self._thread: Final = Thread(target=self._run, name=f"eventstore-relay-{partition}", daemon=True)

    @property
    def published(self) -> int:
        """How many events it has published."""
        return self._batches.published

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Take nothing more; the transaction that is open is ended."""
        self._stopping = True
        self.feed.close()

    def join(self, seconds: float) -> bool:
        """Wait until it has ended, and tell whether it has."""
        self._thread.join(max(seconds, 0))
        return not self._thread.is_alive()

    def _run(self) -> None:
        backoff = _SHORTEST_BACKOFF
        while not self._stopping:
            before = self.published
            try:
                self._publish_until_stopped()
            except HaltedError as error:
                self._reader.stands_still(error.failure)
                break
            except (ConfigurationError, CorruptLogError) as error:
                self._reader.fail(error)
                break
            except TransactionError as error:
                if not self._recover(error):
                    break
            except StoreUnavailableError as error:
                self._transactions.drop()
                _LOGGER.warning("%s: trying again: %s", self._label, error)
            except Exception:
                self._transactions.drop()
                _LOGGER.exception("%s: a defect; it begins again at the position", self._label)
            backoff = _SHORTEST_BACKOFF if self.published > before else min(backoff * 2, _LONGEST_BACKOFF)
            # Two processes that both believe to have the partition shut each other out: not in step, and not for long.
            self.feed.pause(backoff * (1 + self._surroundings.environment.entropy.bits(10) / 1024))
        self._transactions.drop()

    def _recover(self, error: TransactionError) -> bool:
        """End a transaction that failed; tells whether it makes sense to go on."""
        self._transactions.end(error)
        answer = answer_for(error.error.code())
        # The state of a transaction that took too long has changed without this process.
        if answer.reaction is Reaction.REFUSED and error.error.code() != KafkaError.INVALID_TXN_STATE:
            message = f"{self._label} cannot be published ({answer.name}: {error}): {answer.remedy}"
            self._reader.fail(ConfigurationError(message))
            return False
        level = logging.INFO if error.fenced or error.error.txn_requires_abort() else logging.WARNING
        _LOGGER.log(level, "%s: a transaction failed, going on from what is committed: %s", self._label, error)
        return True

    def _publish_until_stopped(self) -> None:
        """Publish from the committed position on; returns when it is stopped, or the producer has to be replaced."""
        if not self._transactions.open(lambda: not self._stopping):
            return
        # Asked only now: nothing that a former owner began can be committed any more.
        position = self._position()
        self._batches.forget()
        if not self._reader.read_from(position):
            return
        while not self._stopping and self._transactions.is_sound:
            self._batches.publish()
        self._batches.save()

    def _position(self) -> Position:
        """Ask where to go on.

        Raises:
            ConfigurationError: Nobody knows, or it is the position in another topic.
            LogUnavailableError: It cannot be asked.
        """
        position = self._surroundings.positions.read([self._place]).get(self._place)
        topic, topic_id = self._partition.topic, self._surroundings.topic_ids[self._partition.topic]
        if position is None:
            return self._beginning()
        if position.topic_id not in {"", topic_id}:
            message = (
                f"{self._label}: the position is one in a former {topic} (topic id {position.topic_id} instead of "
                f"{topic_id}). Fix: kafka-consumer-groups.sh --group {self._surroundings.group} --topic {topic} "
                "--delete-offsets, then eventstore relay --begin"
            )
            raise ConfigurationError(message)
        return position

    def _beginning(self) -> Position:
        if not self._surroundings.work.begin:
            message = (
                f"{self._label}: no position is known. If it was never published, start it once with eventstore relay "
                "--begin. If it was, no relay ran for longer than the brokers' offsets.retention.minutes, so they have "
                "forgotten it, and --begin publishes everything once more"
            )
            raise ConfigurationError(message)
        position = Position(0, "")
        # Kept at once: should none be found later, everybody knows that it was lost.
        self._batches.commit(position)
        return position
