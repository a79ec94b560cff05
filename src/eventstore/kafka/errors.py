"""The one table of what brokers and clients answer: what it means for a write, and what to do about it."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final, NamedTuple

from confluent_kafka import KafkaError

from eventstore.core.errors import ConfigurationError, CorruptLogError, EventStoreError, LogUnavailableError

NO_ANSWER: Final = -101
"""Ours: the connection broke or timed out after the request was sent."""
NOT_SENT: Final = -102
"""Ours: there is no connection to the broker, so the request was not sent."""
NO_LEADER: Final = -103
"""Ours: nobody is known to lead the partition."""


class ForbiddenError(ConfigurationError):
    """This user lacks a right. Internal: users catch `ConfigurationError`."""


class Reaction(Enum):
    """What an answer means for the request that it answers."""

    DONE = auto()
    """It happened."""
    AGAIN = auto()
    """It did not happen, and the same request may succeed in a moment."""
    DOUBT = auto()
    """Nobody knows whether it happened; the same batch under the same sequence is safe to send again."""
    FENCED = auto()
    """It did not happen: a newer owner has begun."""
    RESTART = auto()
    """The broker's memory of this producer and ours differ: begin a new epoch, then look in the log."""
    REFUSED = auto()
    """It did not happen and never will: somebody has to change something."""


class Answer(NamedTuple):
    """One line of the table.

    Attributes:
        name: The protocol's name for the code.
        reaction: What it means.
        remedy: For people, if somebody has to do something.
    """

    name: str
    reaction: Reaction
    remedy: str = "it usually passes by itself; see the broker's log if it does not"


# The client's names for its own errors begin with an underscore; they are public.
# ruff: noqa: SLF001

# Codes: https://kafka.apache.org/protocol#protocol_error_codes
ANSWERS: Final[dict[int, Answer]] = {
    NO_ANSWER: Answer("no answer from the broker", Reaction.DOUBT, "check that the broker runs and is reachable"),
    NOT_SENT: Answer("no connection to the broker", Reaction.AGAIN, "check that the broker runs and is reachable"),
    NO_LEADER: Answer("no known leader", Reaction.AGAIN, "check that the partition's brokers run"),
    # librdkafka's own, below -100 as well
    KafkaError._AUTHENTICATION: Answer("login refused", Reaction.REFUSED, "check user, password and mechanism"),
    KafkaError._SSL: Answer(
        "TLS failed", Reaction.REFUSED, "check authority, certificate, the host's name, and that the port speaks TLS"
    ),
    KafkaError._RESOLVE: Answer("unknown host", Reaction.AGAIN, "check bootstrap and the name service"),
    KafkaError._TRANSPORT: Answer(
        "no connection", Reaction.AGAIN, "check that the brokers run, and whether they want TLS or a login"
    ),
    KafkaError._ALL_BROKERS_DOWN: Answer(
        "no connection to any broker", Reaction.AGAIN, "check that they run, and whether they want TLS or a login"
    ),
    KafkaError._TIMED_OUT: Answer("no answer in time", Reaction.DOUBT, "check that the brokers run and are reachable"),
    0: Answer("NONE", Reaction.DONE),
    -1: Answer("UNKNOWN_SERVER_ERROR", Reaction.DOUBT, "see the broker's log"),
    2: Answer("CORRUPT_MESSAGE", Reaction.AGAIN),
    3: Answer(
        "UNKNOWN_TOPIC_OR_PARTITION", Reaction.AGAIN, "check that the topic still exists: eventstore topics check"
    ),
    5: Answer("LEADER_NOT_AVAILABLE", Reaction.AGAIN),
    6: Answer("NOT_LEADER_OR_FOLLOWER", Reaction.AGAIN),
    7: Answer("REQUEST_TIMED_OUT", Reaction.DOUBT, "the replicas are slow: check them"),
    10: Answer("MESSAGE_TOO_LARGE", Reaction.REFUSED, "raise max.message.bytes: eventstore topics apply"),
    13: Answer("NETWORK_EXCEPTION", Reaction.DOUBT),
    14: Answer("COORDINATOR_LOAD_IN_PROGRESS", Reaction.AGAIN),
    15: Answer("COORDINATOR_NOT_AVAILABLE", Reaction.AGAIN),
    16: Answer("NOT_COORDINATOR", Reaction.AGAIN),
    17: Answer("INVALID_TOPIC_EXCEPTION", Reaction.REFUSED, "choose another prefix or category"),
    18: Answer("RECORD_LIST_TOO_LARGE", Reaction.REFUSED, "raise the topic's segment.bytes"),
    19: Answer(
        "NOT_ENOUGH_REPLICAS", Reaction.AGAIN, "start the brokers that are down: min.insync.replicas is not met"
    ),
    20: Answer("NOT_ENOUGH_REPLICAS_AFTER_APPEND", Reaction.DOUBT, "start the brokers that are down"),
    29: Answer("TOPIC_AUTHORIZATION_FAILED", Reaction.REFUSED, "grant the rights in the guide, Topics and rights"),
    30: Answer(
        "GROUP_AUTHORIZATION_FAILED", Reaction.REFUSED, "grant Read on the groups whose names begin with the prefix"
    ),
    31: Answer("CLUSTER_AUTHORIZATION_FAILED", Reaction.REFUSED, "grant Write on the topic"),
    32: Answer(
        "INVALID_TIMESTAMP", Reaction.REFUSED, "set message.timestamp.type=LogAppendTime: eventstore topics apply"
    ),
    36: Answer("TOPIC_ALREADY_EXISTS", Reaction.DONE),
    37: Answer("INVALID_PARTITIONS", Reaction.REFUSED, "choose another KafkaOptions(partitions=...)"),
    38: Answer(
        "INVALID_REPLICATION_FACTOR", Reaction.REFUSED, "start more brokers, or lower KafkaOptions(replication=...)"
    ),
    40: Answer("INVALID_CONFIG", Reaction.REFUSED, "see the broker's limits on topic settings"),
    41: Answer("NOT_CONTROLLER", Reaction.AGAIN),
    44: Answer("POLICY_VIOLATION", Reaction.REFUSED, "ask the cluster's administrators to allow it"),
    45: Answer("OUT_OF_ORDER_SEQUENCE_NUMBER", Reaction.RESTART),
    46: Answer("DUPLICATE_SEQUENCE_NUMBER", Reaction.RESTART),
    47: Answer("INVALID_PRODUCER_EPOCH", Reaction.FENCED),
    48: Answer("INVALID_TXN_STATE", Reaction.REFUSED, "somebody opened a transaction under the writer's id: find it"),
    49: Answer("INVALID_PRODUCER_ID_MAPPING", Reaction.RESTART),
    51: Answer("CONCURRENT_TRANSACTIONS", Reaction.AGAIN),
    53: Answer(
        "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", Reaction.REFUSED, "grant Describe and Write on the transactional ids"
    ),
    56: Answer("KAFKA_STORAGE_ERROR", Reaction.DOUBT, "the broker's disk failed: check it"),
    58: Answer("SASL_AUTHENTICATION_FAILED", Reaction.REFUSED, "check user and password"),
    59: Answer("UNKNOWN_PRODUCER_ID", Reaction.RESTART),
    72: Answer("LISTENER_NOT_FOUND", Reaction.AGAIN),
    74: Answer("FENCED_LEADER_EPOCH", Reaction.AGAIN),
    75: Answer("UNKNOWN_LEADER_EPOCH", Reaction.AGAIN),
    87: Answer(
        "INVALID_RECORD", Reaction.REFUSED, "the topic must have cleanup.policy=compact: eventstore topics check"
    ),
    89: Answer("THROTTLING_QUOTA_EXCEEDED", Reaction.AGAIN, "raise the quota of this user"),
    90: Answer("PRODUCER_FENCED", Reaction.FENCED),
    100: Answer("UNKNOWN_TOPIC_ID", Reaction.AGAIN),
}


MISSING: Final = (
    NO_LEADER,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.UNKNOWN_TOPIC_ID,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
)
"""A broker or the client does not know a topic or partition that there was."""
_LOST: Final = (KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET)
_FORBIDDEN: Final = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED)


def answer_for(code: int) -> Answer:
    """Give the meaning of a code; one that nobody has heard of may mean anything."""
    return ANSWERS.get(code) or Answer(f"error {code}", Reaction.DOUBT, "see the broker's log")


def refusal_of(error: KafkaError, doing: str) -> EventStoreError:
    """Give what to raise for an error of an administrative request.

    Args:
        error: The client's.
        doing: What was being done, for example `"shop.task.events could not be created"`.
    """
    answer = answer_for(error.code())
    message = f"{doing} ({answer.name}: {error.str()}): {answer.remedy}"
    if error.code() in _FORBIDDEN:
        return ForbiddenError(message)
    return ConfigurationError(message) if answer.reaction is Reaction.REFUSED else LogUnavailableError(message)


def fatal_to_members(error: KafkaError) -> None:
    """Raise for what neither a member of a group nor any reader can go on after.

    Raises:
        CorruptLogError: The topic does not hold any more what was read from it.
        ConfigurationError: This user may not be a member, or may not read.
    """
    if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
        message = f"{error.name()}: {error.str()} {answer_for(error.code()).remedy}"
        raise ConfigurationError(message)
    fatal_to_readers(error)


def fatal_to_readers(error: KafkaError) -> None:
    """Raise for what a reader cannot go on after; other errors of a consumer pass by themselves.

    Raises:
        CorruptLogError: The log does not hold any more what was read from it.
        ConfigurationError: It may not be read.
    """
    if error.code() in _LOST:
        message = (
            f"{error}: the log has lost what was read from it, or the topic was made anew: eventstore topics check"
        )
        raise CorruptLogError(message)
    if error.code() in _FORBIDDEN:
        message = f"{error}: grant Read and Describe on the events topics"
        raise ConfigurationError(message)
