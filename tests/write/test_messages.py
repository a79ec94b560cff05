"""Commands and answers arrive as they were sent, and what does not fit says so."""

from __future__ import annotations

import inspect
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import Field, SecretStr, computed_field

from eventstore import Aggregate, Command, CommandRejectedError, Event, Token, decides, evolves
from eventstore.core import errors
from eventstore.core.errors import (
    AnswerLostError,
    AppendOutcomeUnknownError,
    CommandFailedError,
    ConfigurationError,
    EventStoreError,
    InvalidIdError,
    OwnershipLostError,
    ProjectionFailedError,
    UnencodableEventError,
    UnknownEventTypeError,
    UnstorableRowError,
    WrongExpectedVersionError,
)
from eventstore.core.events import JsonObject, upcasts
from eventstore.core.registry import TypeRegistry
from eventstore.core.streams import stream_id
from eventstore.write.deciding import Request
from eventstore.write.erasing import Erasure
from eventstore.write.messages import MAX_MESSAGE_BYTES, Messages
from eventstore.write.pending import Committed
from tests.write.domain import Count, Counted, Counter, Fail


class Plan(Command):
    at: datetime
    labels: frozenset[str]
    owner: str = Field(default="", alias="responsible")

    @computed_field
    def year(self) -> int:
        return self.at.year


class Login(Command):
    password: SecretStr


class Calendar(Aggregate, category="calendar"):
    @decides
    def plan(self, command: Plan | Login) -> None:
        pass


COMMAND = UUID(int=1)


def messages_of(*aggregates: type[Aggregate]) -> Messages:
    registry = TypeRegistry(event for aggregate in aggregates for event in aggregate.evolvers)
    return Messages({aggregate.category: aggregate for aggregate in aggregates}, registry)


MESSAGES = messages_of(Counter, Calendar)


def request(command: Command, aggregate: type[Aggregate] = Counter, **changes: Any) -> Request:
    fields = {"command_id": COMMAND, "correlation_id": UUID(int=2), "expected_version": None}
    return Request(aggregate, stream_id(aggregate.category, "a"), command, **(fields | changes))


@pytest.mark.parametrize(
    "sent",
    [
        request(Count(by=-3, times=2, note='"ü\n')),
        request(Count(), expected_version=0),
        request(Count(), expected_version=7, command_id=uuid4()),
        request(Plan(at=datetime(2026, 1, 1, tzinfo=UTC), labels=frozenset("ab"), responsible="me"), Calendar),
    ],
    ids=str,
)
def test_a_command_arrives_equal_to_what_was_sent(sent: Request) -> None:
    assert MESSAGES.read_request(MESSAGES.write_request(sent, 2.5)) == (sent, 2.5)


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        (request(Login(password=SecretStr("x")), Calendar), "it would arrive with other values"),
        (request(Count.model_construct(by=1, times=1, note="\ud800")), "surrogates not allowed"),
        (request(Count.model_construct(by="many", times=1, note="")), "by: Input should be a valid integer"),
        (request(Count(note="x" * MAX_MESSAGE_BYTES)), "the limit is 16,000,000"),
    ],
)
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_a_command_that_would_not_arrive_as_it_is_is_refused(sent: Request, problem: str) -> None:
    with pytest.raises(UnencodableEventError, match=problem) as refusal:
        MESSAGES.write_request(sent, 1)
    assert "Nothing was written" in str(refusal.value)


def test_a_command_for_another_aggregate_is_refused_before_it_is_sent() -> None:
    with pytest.raises(ConfigurationError, match="Calendar has no @decides method for Fail"):
        MESSAGES.write_request(request(Fail(), Calendar), 1)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"category": "shop"}, r"no aggregate of category 'shop' \(it has: calendar, counter\)"),
        ({"command": "Discount"}, "runs a Counter without a @decides method for Discount"),
        ({"data": {"by": "many"}}, r"a Count does not fit the class of the partition's owner \(by: "),
        ({"data": {"colour": "red"}}, r"\(colour: Extra inputs are not permitted\)"),
        ({"format": 2}, r"no command that this process reads \(execute.format: Input should be 1\)"),
        ({"expected_version": -1}, "expected_version: "),
        ({"command_id": None}, "command_id: "),
    ],
)
def test_a_command_of_other_code_is_refused_with_the_remedy(changes: dict[str, Any], problem: str) -> None:
    sent = json.loads(MESSAGES.write_request(request(Count()), 1)) | changes
    with pytest.raises(ConfigurationError, match=problem) as refusal:
        MESSAGES.read_request(json.dumps(sent).encode())
    assert "deploy the same version of the application everywhere. Nothing was written" in str(refusal.value)


@pytest.mark.parametrize("garbage", [b"", b"\xff\x00", b"null", b"[1]", b"{}", b'{"format":1}'])
def test_garbage_is_no_command_and_no_answer(garbage: bytes) -> None:
    with pytest.raises(ConfigurationError, match="is no command that this process reads"):
        MESSAGES.read_request(garbage)
    with pytest.raises(AnswerLostError, match="deploy the same version"):
        MESSAGES.read_answer(request(Count()), garbage)


def test_a_hostile_id_is_refused_on_arrival_too() -> None:
    sent = json.loads(MESSAGES.write_request(request(Count()), 1)) | {"id": "../x"}
    with pytest.raises(InvalidIdError, match="is no id for a counter"):
        MESSAGES.read_request(json.dumps(sent).encode())


@pytest.mark.parametrize(
    "answer",
    [
        Committed(3, (Counted(by=1, note="ü"), Counted(by=2)), Token({"task/3": 17}), COMMAND),
        Committed(0, (), Token({}), COMMAND),
    ],
)
def test_a_result_arrives_equal_to_what_was_sent(answer: Committed) -> None:
    assert MESSAGES.read_answer(request(Count()), MESSAGES.write_answer(answer)) == answer


class LimitReachedError(CommandRejectedError):
    """A rejection of the application's own, with a fact of its own."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"no more than {limit}", code="limit")
        self.limit = limit


def _rejected() -> CommandRejectedError:
    error = CommandRejectedError("no", code="why")
    error.stream, error.command = "counter-a", "Count"
    return error


SAMPLES: list[EventStoreError] = [
    _rejected(),
    LimitReachedError(7),
    WrongExpectedVersionError("counter-a", expected=0, actual=3),
    AppendOutcomeUnknownError(("1", "2"), "the disk is gone"),
    CommandFailedError(command="Fail", stream="counter-a", cause="ZeroDivisionError: "),
    ProjectionFailedError(projection="p v1", event="e", cause="c", remedy="r"),
    UnstorableRowError("too long", ("a", 1)),
    *(
        cls("something happened")
        for name, cls in vars(errors).items()
        if inspect.isclass(cls) and issubclass(cls, EventStoreError) and "__init__" not in vars(cls)
    ),
]


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_arrives_with_its_class_text_and_attributes(error: EventStoreError) -> None:
    error.add_note("raised far away")
    with pytest.raises(EventStoreError) as arrived:
        MESSAGES.read_answer(request(Count()), MESSAGES.write_answer(error))
    assert type(arrived.value) is type(error)
    assert (str(arrived.value), arrived.value.args, vars(arrived.value)) == (str(error), error.args, vars(error))


def test_every_error_has_a_sample_that_travels() -> None:
    known = {cls for cls in vars(errors).values() if inspect.isclass(cls) and issubclass(cls, EventStoreError)}
    assert known <= {type(error) for error in SAMPLES}


def test_an_error_that_only_the_owner_knows_arrives_as_what_it_is_derived_from() -> None:
    message = MESSAGES.write_answer(LimitReachedError(7)).replace(b"LimitReachedError", b"NewerError")
    with pytest.raises(CommandRejectedError, match="no more than 7") as arrived:
        MESSAGES.read_answer(request(Count()), message)
    assert (type(arrived.value), arrived.value.code) == (CommandRejectedError, "limit")


def test_an_answer_too_large_to_send_says_so() -> None:
    message = MESSAGES.write_answer(CommandRejectedError("x" * MAX_MESSAGE_BYTES))
    with pytest.raises(AnswerLostError, match="the owner has an answer but cannot send it: it takes 32,0"):
        MESSAGES.read_answer(request(Count()), message)


class Named(Event, type="person.named", version=2):
    first: str
    last: str

    @upcasts(from_version=1)
    def split(data: JsonObject) -> JsonObject:
        first, _, last = str(data["name"]).partition(" ")
        return {"first": first, "last": last}


class Person(Aggregate, category="person"):
    @evolves
    def named(self, event: Named) -> None:
        pass


def test_an_event_of_an_older_owner_is_upcast() -> None:
    messages = messages_of(Person)
    answer = json.loads(messages.write_answer(Committed(1, (Named(first="A", last="B"),), Token({}), COMMAND)))
    answer["events"] = [{"type": "person.named", "schema_version": 1, "data": {"name": "A B"}}]
    arrived = messages.read_answer(request(Count(), Person), json.dumps(answer).encode())
    assert arrived.events == (Named(first="A", last="B"),)


def test_an_event_that_only_the_owner_knows_is_named() -> None:
    answer = messages_of(Person).write_answer(Committed(4, (Named(first="A", last="B"),), Token({}), COMMAND))
    with pytest.raises(UnknownEventTypeError, match="person.named at counter-a version 4"):
        MESSAGES.read_answer(request(Count()), answer)


def test_an_erasure_arrives_as_it_was_sent() -> None:
    sent = Erasure(stream_id("counter", "a"), 3)
    assert MESSAGES.read_request(MESSAGES.write_erasure(sent, 2.5)) == (sent, 2.5)
    assert MESSAGES.read_erased(MESSAGES.write_answer(True)) is True
    assert MESSAGES.read_erased(MESSAGES.write_answer(False)) is False
    with pytest.raises(OwnershipLostError, match="moved"):
        MESSAGES.read_erased(MESSAGES.write_answer(OwnershipLostError("moved")))


def test_the_answer_to_another_kind_of_request_is_none() -> None:
    with pytest.raises(AnswerLostError, match="cannot be read"):
        MESSAGES.read_answer(request(Count()), MESSAGES.write_answer(True))
    with pytest.raises(AnswerLostError, match="cannot be read"):
        MESSAGES.read_erased(MESSAGES.write_answer(Committed(1, (), Token({}), COMMAND)))
