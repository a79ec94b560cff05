"""The table of what brokers and clients answer is complete, and so is the page that shows it."""

from __future__ import annotations

from confluent_kafka import KafkaError

from eventstore.cli.errors import known_errors
from eventstore.kafka.answers import ANSWERS, NO_ANSWER, NO_LEADER, NOT_SENT
from tests.errors_page import tables, written

# What no client of ours can be answered, because it asks for no such thing.
DELEGATION_TOKENS = {61, 62, 63, 64, 65, 66, 67}
ELECTIONS_AND_REASSIGNMENTS = {57, 84, 85}
BETWEEN_BROKERS = {11, 77, 94, 95, 96, 97, 114, 115, 116, 119, 125, 126, 127}
TELEMETRY = {117, 118}
SHARE_GROUPS = {121, 122, 123, 124, 133}
SUBSCRIPTIONS_BY_PATTERN = {128}
KAFKA_STREAMS = {130, 131, 132}
# The client's own: events that it turns into callbacks, and misuse of interfaces that Python does not have.
CALLBACKS = {KafkaError._NODE_UPDATE, KafkaError._ASSIGN_PARTITIONS, KafkaError._REVOKE_PARTITIONS}
INTERFACES = {-176, -171, -170, -157, -156, -155, -154, -143}
NOT_OURS = (
    DELEGATION_TOKENS
    | ELECTIONS_AND_REASSIGNMENTS
    | BETWEEN_BROKERS
    | TELEMETRY
    | SHARE_GROUPS
    | SUBSCRIPTIONS_BY_PATTERN
    | KAFKA_STREAMS
    | CALLBACKS
    | INTERFACES
)


def known_to_the_client() -> dict[int, str]:
    named = {name: getattr(KafkaError, name) for name in dir(KafkaError) if name.strip("_").isupper()}
    return {code: name for name, code in named.items() if isinstance(code, int)}


def test_every_error_that_the_client_knows_is_explained_or_cannot_be_answered() -> None:
    undecided = {code: name for code, name in known_to_the_client().items() if code not in ANSWERS.keys() | NOT_OURS}
    assert undecided == {}


def test_nothing_is_both_explained_and_impossible_or_unknown_to_the_client() -> None:
    assert ANSWERS.keys() & NOT_OURS == set()
    assert ANSWERS.keys() - known_to_the_client().keys() == {NO_ANSWER, NO_LEADER, NOT_SENT}


def test_every_explanation_says_what_to_do() -> None:
    assert [known for known in known_errors() if not (known.means and known.remedy)] == []


def test_the_page_of_errors_shows_the_tables_as_they_are() -> None:
    assert written() == tables(), "run make errors"
