"""From what brokers and clients answer to the errors that users catch."""

from __future__ import annotations

from typing import Final

from confluent_kafka import KafkaError

from eventstore.core.errors import ConfigurationError, CorruptLogError, EventStoreError, LogUnavailableError
from eventstore.kafka.answers import Reaction, answer_for

_LOST: Final = (KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET)  # noqa: SLF001 - public, named so
_LOGIN: Final = (
    KafkaError._SSL,  # noqa: SLF001
    KafkaError._AUTHENTICATION,  # noqa: SLF001
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.UNSUPPORTED_SASL_MECHANISM,
    KafkaError.ILLEGAL_SASL_STATE,
)
_RIGHTS: Final = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
)
_FORBIDDEN: Final = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED)


class ForbiddenError(ConfigurationError):
    """This user lacks a right. Internal: users catch `ConfigurationError`."""


class LoginRefusedError(ConfigurationError):
    """The brokers refuse this login or connection; once somebody has mended that, the same process goes on. Internal."""

    retriable = True


def unusable(code: int, message: str) -> EventStoreError:
    """Give what to raise when brokers cannot be used: at once if waiting is of no use, to be tried again otherwise.

    Args:
        code: What they answered.
        message: Says what was not done, and what to do.
    """
    if code in _LOGIN:
        return LoginRefusedError(message)
    return ConfigurationError(message) if code in _RIGHTS else LogUnavailableError(message)


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
    if error.code() in _LOGIN:
        return LoginRefusedError(message)
    return ConfigurationError(message) if answer.reaction is Reaction.REFUSED else LogUnavailableError(message)


def fatal_to_members(error: KafkaError, group: str, topic: str | None) -> None:
    """Raise for what neither a member of a group nor any reader can go on after.

    Args:
        error: The client's.
        group: The consumer group.
        topic: What was being read, if the client says so.

    Raises:
        CorruptLogError: The topic does not hold any more what was read from it.
        ConfigurationError: This user may not be a member, or may not read.
    """
    if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
        raise refusal_of(error, f"the group {group} cannot be joined")
    fatal_to_readers(error, topic)


def fatal_to_readers(error: KafkaError, topic: str | None) -> None:
    """Raise for what a reader cannot go on after; other errors of a consumer pass by themselves.

    Args:
        error: The client's.
        topic: What was being read, if the client says so.

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
        raise refusal_of(error, f"{topic or 'a topic'} cannot be read")
