"""The one table of what brokers and clients answer: what it means for the request, and what to do about it."""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from confluent_kafka import KafkaError

NO_ANSWER: Final = -101
"""Ours: the connection broke or timed out after the request was sent."""
NOT_SENT: Final = -102
"""Ours: there is no connection to the broker, so the request was not sent."""
NO_LEADER: Final = -103
"""Ours: nobody is known to lead the partition."""


class Reaction(Enum):
    """What an answer means for the request that it answers; the values are for people."""

    DONE = "no error"
    AGAIN = "not done; tried again"
    DOUBT = "unknown; tried again under the same sequence or id"
    FENCED = "not done; somebody newer has begun"
    RESTART = "unknown; begun anew, then looked up in the log"
    REFUSED = "not done; somebody has to change something"


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

_BROKER: Final = "check that the brokers run and are reachable"
_TOPIC: Final = "check that the topic still exists: eventstore topics check"
_GROUP: Final = "it passes when the group has dealt its partitions out"
_REJOIN: Final = "the process joins again by itself; another one has its partitions meanwhile"
_ABORT: Final = "the transaction is aborted and its input read again; nothing of it was visible"
_LOST_PLACE: Final = "the topic does not hold what was read from it: eventstore topics check"
_SCHEMA: Final = "the record does not fit its schema: eventstore schemas check"
_VERSION: Final = "upgrade the brokers"

# Codes: https://kafka.apache.org/protocol#protocol_error_codes; those below -100 are librdkafka's, and three are ours.
ANSWERS: Final[dict[int, Answer]] = {
    NO_ANSWER: Answer("no answer from the broker", Reaction.DOUBT, _BROKER),
    NOT_SENT: Answer("no connection to the broker", Reaction.AGAIN, _BROKER),
    NO_LEADER: Answer("no known leader", Reaction.AGAIN, "check that the partition's brokers run"),
    KafkaError._BAD_MSG: Answer("_BAD_MSG", Reaction.AGAIN, "check that the port is a Kafka broker's"),
    KafkaError._BAD_COMPRESSION: Answer(
        "_BAD_COMPRESSION", Reaction.REFUSED, "the records are damaged: find who wrote"
    ),
    KafkaError._DESTROY: Answer("_DESTROY", Reaction.DOUBT, "the client was closed meanwhile"),
    KafkaError._FAIL: Answer("_FAIL", Reaction.AGAIN, _BROKER),
    KafkaError._TRANSPORT: Answer(
        "_TRANSPORT, no connection", Reaction.AGAIN, "check that the brokers run, and whether they want TLS or a login"
    ),
    KafkaError._CRIT_SYS_RESOURCE: Answer(
        "_CRIT_SYS_RESOURCE", Reaction.AGAIN, "raise the process's limits of threads, open files and memory"
    ),
    KafkaError._RESOLVE: Answer(
        "_RESOLVE, unknown host", Reaction.AGAIN, "check bootstrap, the brokers' advertised names and the name service"
    ),
    KafkaError._MSG_TIMED_OUT: Answer("_MSG_TIMED_OUT", Reaction.DOUBT, _BROKER),
    KafkaError._PARTITION_EOF: Answer("_PARTITION_EOF", Reaction.DONE, "nothing: a reader has reached the end"),
    KafkaError._UNKNOWN_PARTITION: Answer("_UNKNOWN_PARTITION", Reaction.AGAIN, _TOPIC),
    KafkaError._FS: Answer("_FS", Reaction.REFUSED, "check the file in the message and its rights"),
    KafkaError._UNKNOWN_TOPIC: Answer("_UNKNOWN_TOPIC", Reaction.AGAIN, _TOPIC),
    KafkaError._ALL_BROKERS_DOWN: Answer(
        "_ALL_BROKERS_DOWN, no connection to any broker",
        Reaction.AGAIN,
        "check that they run, and whether they want TLS or a login",
    ),
    KafkaError._INVALID_ARG: Answer("_INVALID_ARG", Reaction.REFUSED, "correct the setting in the message"),
    KafkaError._TIMED_OUT: Answer("_TIMED_OUT, no answer in time", Reaction.DOUBT, _BROKER),
    KafkaError._QUEUE_FULL: Answer("_QUEUE_FULL", Reaction.AGAIN, "the brokers are slower than the sender: check them"),
    KafkaError._ISR_INSUFF: Answer("_ISR_INSUFF", Reaction.AGAIN, "start the brokers that are down"),
    KafkaError._SSL: Answer(
        "_SSL, TLS failed",
        Reaction.REFUSED,
        "check authority, certificate and when it ends, the host's name, and that the port speaks TLS",
    ),
    KafkaError._WAIT_COORD: Answer("_WAIT_COORD", Reaction.AGAIN),
    KafkaError._UNKNOWN_GROUP: Answer("_UNKNOWN_GROUP", Reaction.AGAIN),
    KafkaError._IN_PROGRESS: Answer("_IN_PROGRESS", Reaction.AGAIN),
    KafkaError._PREV_IN_PROGRESS: Answer("_PREV_IN_PROGRESS", Reaction.AGAIN),
    KafkaError._CONFLICT: Answer("_CONFLICT", Reaction.RESTART, _ABORT),
    KafkaError._STATE: Answer("_STATE", Reaction.RESTART, _ABORT),
    KafkaError._AUTHENTICATION: Answer(
        "_AUTHENTICATION, login refused", Reaction.REFUSED, "check user, password and mechanism"
    ),
    KafkaError._NO_OFFSET: Answer("_NO_OFFSET", Reaction.DONE, "nothing: there was no position to commit"),
    KafkaError._OUTDATED: Answer("_OUTDATED", Reaction.AGAIN),
    KafkaError._TIMED_OUT_QUEUE: Answer("_TIMED_OUT_QUEUE", Reaction.AGAIN, _BROKER),
    KafkaError._UNSUPPORTED_FEATURE: Answer("_UNSUPPORTED_FEATURE", Reaction.REFUSED, _VERSION),
    KafkaError._WAIT_CACHE: Answer("_WAIT_CACHE", Reaction.AGAIN),
    KafkaError._INTR: Answer("_INTR", Reaction.AGAIN),
    KafkaError._KEY_SERIALIZATION: Answer("_KEY_SERIALIZATION", Reaction.REFUSED, _SCHEMA),
    KafkaError._VALUE_SERIALIZATION: Answer("_VALUE_SERIALIZATION", Reaction.REFUSED, _SCHEMA),
    KafkaError._KEY_DESERIALIZATION: Answer("_KEY_DESERIALIZATION", Reaction.REFUSED, _SCHEMA),
    KafkaError._VALUE_DESERIALIZATION: Answer("_VALUE_DESERIALIZATION", Reaction.REFUSED, _SCHEMA),
    KafkaError._PARTIAL: Answer("_PARTIAL", Reaction.AGAIN),
    KafkaError._RETRY: Answer("_RETRY", Reaction.AGAIN),
    KafkaError._PURGE_QUEUE: Answer("_PURGE_QUEUE", Reaction.AGAIN, "nothing: it was taken back before it was sent"),
    KafkaError._PURGE_INFLIGHT: Answer("_PURGE_INFLIGHT", Reaction.DOUBT, _ABORT),
    KafkaError._FATAL: Answer("_FATAL", Reaction.RESTART, "the client is opened anew; see the cause in the message"),
    KafkaError._INCONSISTENT: Answer("_INCONSISTENT", Reaction.RESTART, _ABORT),
    KafkaError._GAPLESS_GUARANTEE: Answer("_GAPLESS_GUARANTEE", Reaction.RESTART, _ABORT),
    KafkaError._MAX_POLL_EXCEEDED: Answer("_MAX_POLL_EXCEEDED", Reaction.FENCED, _REJOIN),
    KafkaError._UNKNOWN_BROKER: Answer("_UNKNOWN_BROKER", Reaction.AGAIN, _BROKER),
    KafkaError._NOT_CONFIGURED: Answer("_NOT_CONFIGURED", Reaction.REFUSED, "correct the setting in the message"),
    KafkaError._FENCED: Answer("_FENCED", Reaction.FENCED, _REJOIN),
    KafkaError._ASSIGNMENT_LOST: Answer("_ASSIGNMENT_LOST", Reaction.FENCED, _REJOIN),
    KafkaError._NOOP: Answer("_NOOP", Reaction.DONE, "nothing"),
    KafkaError._AUTO_OFFSET_RESET: Answer("_AUTO_OFFSET_RESET", Reaction.REFUSED, _LOST_PLACE),
    KafkaError._LOG_TRUNCATION: Answer("_LOG_TRUNCATION", Reaction.REFUSED, _LOST_PLACE),
    KafkaError._INVALID_DIFFERENT_RECORD: Answer(
        "_INVALID_DIFFERENT_RECORD", Reaction.REFUSED, "see the error of the other record in its batch"
    ),
    KafkaError._DESTROY_BROKER: Answer("_DESTROY_BROKER", Reaction.AGAIN),
    0: Answer("NONE", Reaction.DONE, "nothing"),
    -1: Answer("UNKNOWN_SERVER_ERROR", Reaction.DOUBT, "see the broker's log"),
    1: Answer("OFFSET_OUT_OF_RANGE", Reaction.REFUSED, _LOST_PLACE),
    2: Answer("CORRUPT_MESSAGE", Reaction.AGAIN),
    3: Answer("UNKNOWN_TOPIC_OR_PARTITION", Reaction.AGAIN, _TOPIC),
    4: Answer("INVALID_FETCH_SIZE", Reaction.REFUSED, "see the broker's log"),
    5: Answer("LEADER_NOT_AVAILABLE", Reaction.AGAIN),
    6: Answer("NOT_LEADER_OR_FOLLOWER, NOT_LEADER_FOR_PARTITION", Reaction.AGAIN),
    7: Answer("REQUEST_TIMED_OUT", Reaction.DOUBT, "the replicas are slow: check them"),
    8: Answer("BROKER_NOT_AVAILABLE", Reaction.AGAIN, _BROKER),
    9: Answer("REPLICA_NOT_AVAILABLE", Reaction.AGAIN, _BROKER),
    10: Answer("MESSAGE_TOO_LARGE", Reaction.REFUSED, "raise max.message.bytes: eventstore topics apply"),
    12: Answer("OFFSET_METADATA_TOO_LARGE", Reaction.REFUSED, "set the brokers' offset.metadata.max.bytes to 4096"),
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
    21: Answer("INVALID_REQUIRED_ACKS", Reaction.REFUSED, _VERSION),
    22: Answer("ILLEGAL_GENERATION", Reaction.FENCED, _REJOIN),
    23: Answer(
        "INCONSISTENT_GROUP_PROTOCOL", Reaction.REFUSED, "another application uses the group: give each its own prefix"
    ),
    24: Answer("INVALID_GROUP_ID", Reaction.REFUSED, "choose another prefix or name"),
    25: Answer("UNKNOWN_MEMBER_ID", Reaction.FENCED, _REJOIN),
    26: Answer(
        "INVALID_SESSION_TIMEOUT",
        Reaction.REFUSED,
        "choose session_seconds between the brokers' group.min.session.timeout.ms and group.max.session.timeout.ms",
    ),
    27: Answer("REBALANCE_IN_PROGRESS", Reaction.AGAIN, _GROUP),
    28: Answer("INVALID_COMMIT_OFFSET_SIZE", Reaction.REFUSED, "raise the brokers' message.max.bytes"),
    29: Answer("TOPIC_AUTHORIZATION_FAILED", Reaction.REFUSED, "grant what its role needs: eventstore topics rights"),
    30: Answer("GROUP_AUTHORIZATION_FAILED", Reaction.REFUSED, "grant Read on the group: eventstore topics rights"),
    31: Answer("CLUSTER_AUTHORIZATION_FAILED", Reaction.REFUSED, "grant Write on the topic"),
    32: Answer(
        "INVALID_TIMESTAMP", Reaction.REFUSED, "set message.timestamp.type=LogAppendTime: eventstore topics apply"
    ),
    33: Answer("UNSUPPORTED_SASL_MECHANISM", Reaction.REFUSED, "choose a mechanism that the listener offers"),
    34: Answer("ILLEGAL_SASL_STATE", Reaction.REFUSED, "check that the listener wants a login"),
    35: Answer("UNSUPPORTED_VERSION", Reaction.REFUSED, _VERSION),
    36: Answer("TOPIC_ALREADY_EXISTS", Reaction.DONE, "nothing: another process was faster"),
    37: Answer("INVALID_PARTITIONS", Reaction.REFUSED, "choose another KafkaOptions(partitions=...)"),
    38: Answer(
        "INVALID_REPLICATION_FACTOR", Reaction.REFUSED, "start more brokers, or lower KafkaOptions(replication=...)"
    ),
    39: Answer("INVALID_REPLICA_ASSIGNMENT", Reaction.REFUSED, "see the broker's log"),
    40: Answer("INVALID_CONFIG", Reaction.REFUSED, "see the broker's limits on topic settings"),
    41: Answer("NOT_CONTROLLER", Reaction.AGAIN),
    42: Answer("INVALID_REQUEST", Reaction.REFUSED, "see the broker's log"),
    43: Answer("UNSUPPORTED_FOR_MESSAGE_FORMAT", Reaction.REFUSED, _VERSION),
    44: Answer("POLICY_VIOLATION", Reaction.REFUSED, "ask the cluster's administrators to allow it"),
    45: Answer("OUT_OF_ORDER_SEQUENCE_NUMBER", Reaction.RESTART),
    46: Answer("DUPLICATE_SEQUENCE_NUMBER", Reaction.RESTART),
    47: Answer("INVALID_PRODUCER_EPOCH", Reaction.FENCED, _REJOIN),
    48: Answer("INVALID_TXN_STATE", Reaction.REFUSED, "somebody opened a transaction under the writer's id: find it"),
    49: Answer("INVALID_PRODUCER_ID_MAPPING", Reaction.RESTART),
    50: Answer("INVALID_TRANSACTION_TIMEOUT", Reaction.REFUSED, "raise the brokers' transaction.max.timeout.ms"),
    51: Answer("CONCURRENT_TRANSACTIONS", Reaction.AGAIN),
    52: Answer("TRANSACTION_COORDINATOR_FENCED", Reaction.AGAIN),
    53: Answer(
        "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", Reaction.REFUSED, "grant Describe and Write on the transactional ids"
    ),
    54: Answer("SECURITY_DISABLED", Reaction.REFUSED, "configure an authorizer on the brokers"),
    55: Answer("OPERATION_NOT_ATTEMPTED", Reaction.AGAIN),
    56: Answer("KAFKA_STORAGE_ERROR", Reaction.DOUBT, "the broker's disk failed: check it"),
    58: Answer("SASL_AUTHENTICATION_FAILED", Reaction.REFUSED, "check user and password"),
    59: Answer("UNKNOWN_PRODUCER_ID", Reaction.RESTART),
    60: Answer("REASSIGNMENT_IN_PROGRESS", Reaction.AGAIN),
    68: Answer("NON_EMPTY_GROUP", Reaction.REFUSED, "stop the processes that are in the group first"),
    69: Answer("GROUP_ID_NOT_FOUND", Reaction.AGAIN, "start a process that joins the group"),
    70: Answer("FETCH_SESSION_ID_NOT_FOUND", Reaction.AGAIN),
    71: Answer("INVALID_FETCH_SESSION_EPOCH", Reaction.AGAIN),
    72: Answer("LISTENER_NOT_FOUND", Reaction.AGAIN),
    73: Answer("TOPIC_DELETION_DISABLED", Reaction.REFUSED, "set the brokers' delete.topic.enable=true"),
    74: Answer("FENCED_LEADER_EPOCH", Reaction.AGAIN),
    75: Answer("UNKNOWN_LEADER_EPOCH", Reaction.AGAIN),
    76: Answer("UNSUPPORTED_COMPRESSION_TYPE", Reaction.REFUSED, _VERSION),
    78: Answer("OFFSET_NOT_AVAILABLE", Reaction.AGAIN),
    79: Answer("MEMBER_ID_REQUIRED", Reaction.AGAIN),
    80: Answer("PREFERRED_LEADER_NOT_AVAILABLE", Reaction.AGAIN, _BROKER),
    81: Answer("GROUP_MAX_SIZE_REACHED", Reaction.REFUSED, "raise the brokers' group.max.size, or run fewer processes"),
    82: Answer("FENCED_INSTANCE_ID", Reaction.FENCED, "give every process a KafkaOptions(member=...) of its own"),
    83: Answer("ELIGIBLE_LEADERS_NOT_AVAILABLE", Reaction.AGAIN, "start the brokers that are down"),
    86: Answer("GROUP_SUBSCRIBED_TO_TOPIC", Reaction.REFUSED, "stop the processes that are in the group first"),
    87: Answer(
        "INVALID_RECORD", Reaction.REFUSED, "the topic must have cleanup.policy=compact: eventstore topics check"
    ),
    88: Answer("UNSTABLE_OFFSET_COMMIT", Reaction.AGAIN, "it passes when a transaction under way has ended"),
    89: Answer("THROTTLING_QUOTA_EXCEEDED", Reaction.AGAIN, "raise the quota of this user"),
    90: Answer("PRODUCER_FENCED", Reaction.FENCED, _REJOIN),
    91: Answer("RESOURCE_NOT_FOUND", Reaction.REFUSED, "see the name in the message"),
    92: Answer("DUPLICATE_RESOURCE", Reaction.REFUSED, "see the name in the message"),
    93: Answer("UNACCEPTABLE_CREDENTIAL", Reaction.REFUSED, "choose a password and iterations that the brokers accept"),
    100: Answer("UNKNOWN_TOPIC_ID", Reaction.AGAIN, _TOPIC),
    103: Answer("INCONSISTENT_TOPIC_ID", Reaction.AGAIN, _TOPIC),
    110: Answer("FENCED_MEMBER_EPOCH", Reaction.FENCED, _REJOIN),
    111: Answer("UNRELEASED_INSTANCE_ID", Reaction.AGAIN, _GROUP),
    112: Answer("UNSUPPORTED_ASSIGNOR", Reaction.REFUSED, _VERSION),
    113: Answer("STALE_MEMBER_EPOCH", Reaction.AGAIN, _GROUP),
    120: Answer("TRANSACTION_ABORTABLE", Reaction.RESTART, _ABORT),
    129: Answer("REBOOTSTRAP_REQUIRED", Reaction.AGAIN),
}

MISSING: Final = (
    NO_LEADER,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.UNKNOWN_TOPIC_ID,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
)
"""A broker or the client does not know a topic or partition that there was."""


def answer_for(code: int) -> Answer:
    """Give the meaning of a code; one that nobody has heard of may mean anything."""
    return ANSWERS.get(code) or Answer(f"error {code}", Reaction.DOUBT, "see the broker's log")
