"""The wire form of requests and of their answers, for the way to the owner of a partition and back: versioned JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar
from uuid import UUID

from pydantic import BaseModel, Field, JsonValue, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

from eventstore.core.aggregates import Aggregate, missing_decider
from eventstore.core.commands import Command
from eventstore.core.errors import AnswerLostError, ConfigurationError, EventStoreError, UnencodableEventError
from eventstore.core.events import Event, JsonObject
from eventstore.core.records import StoredEvent, Token
from eventstore.core.registry import TypeRegistry
from eventstore.core.streams import stream_id
from eventstore.write.deciding import Look, Request
from eventstore.write.erasing import Erasure
from eventstore.write.pending import Committed

MAX_MESSAGE_BYTES: Final = 16_000_000
"""Largest message: more than the events of the largest command take, less than a broker's batch."""

_FORMAT: Final = 1
_LOOK: Final = "(look)"
"""Not the name of a class, so no application's command bears it."""
_REMEDY: Final = "deploy the same version of the application everywhere"
_Format: TypeAlias = Literal[1]
Answer: TypeAlias = Committed | bool | EventStoreError
"""What became of a command; whether there was an event to erase; why there is neither."""


class _RequestForm(BaseModel):
    format: _Format = _FORMAT
    kind: Literal["execute"] = "execute"
    category: str
    id: str
    command: str
    data: JsonObject
    command_id: UUID
    correlation_id: UUID
    expected_version: Annotated[int, Field(ge=0)] | None
    timeout: Annotated[float, Field(allow_inf_nan=False)]


class _ErasureForm(BaseModel):
    format: _Format = _FORMAT
    kind: Literal["erase"] = "erase"
    category: str
    id: str
    version: int
    timeout: Annotated[float, Field(allow_inf_nan=False)]


_REQUEST: Final[TypeAdapter[_RequestForm | _ErasureForm]] = TypeAdapter(
    Annotated[_RequestForm | _ErasureForm, Field(discriminator="kind")]
)


class _EventForm(BaseModel):
    type: str
    schema_version: int
    data: JsonObject


class _CommittedForm(BaseModel):
    format: _Format = _FORMAT
    kind: Literal["committed"] = "committed"
    version: int
    events: list[_EventForm]
    token: str


class _ErasedForm(BaseModel):
    format: _Format = _FORMAT
    kind: Literal["erased"] = "erased"
    found: bool


class _ErrorForm(BaseModel):
    """An error as its classes, the nearest first, so that whoever does not know the first takes the next."""

    format: _Format = _FORMAT
    kind: Literal["error"] = "error"
    classes: list[str]
    args: list[JsonValue]
    attributes: JsonObject
    notes: list[str]


_ANSWER: Final[TypeAdapter[_CommittedForm | _ErasedForm | _ErrorForm]] = TypeAdapter(
    Annotated[_CommittedForm | _ErasedForm | _ErrorForm, Field(discriminator="kind")]
)

_JSON_OBJECT: Final[TypeAdapter[JsonObject]] = TypeAdapter(JsonObject)


class Messages:
    """Writes and reads commands, erasures and answers of one application.

    Args:
        aggregates: The aggregate classes by category; they know the command classes.
        registry: Decodes the events of answers.
    """

    def __init__(self, aggregates: Mapping[str, type[Aggregate]], registry: TypeRegistry) -> None:
        self._aggregates: Final = aggregates
        self._registry: Final = registry
        self._commands: Final[Mapping[tuple[str, str], type[Command]]] = {
            **{
                (category, command.__name__): command
                for category, aggregate in aggregates.items()
                for command in aggregate.deciders
            },
            **{(category, _LOOK): Look for category in aggregates},
        }

    def write_request(self, request: Request, timeout: float) -> bytes:
        """Encode a command; what arrives is equal to what was sent.

        Args:
            request: The command.
            timeout: Seconds that are left for it.

        Raises:
            ConfigurationError: The aggregate does not handle the command.
            UnencodableEventError: The command holds what JSON cannot, or is too large.
        """
        command = request.command
        if type(command) not in (Look, *request.aggregate.deciders):
            raise ConfigurationError(missing_decider(request.aggregate, type(command)))
        form = _RequestForm(
            category=request.stream.category,
            id=request.stream.id,
            command=_wire_name(type(command)),
            data=_command_data(command),
            command_id=request.command_id,
            correlation_id=request.correlation_id,
            expected_version=request.expected_version,
            timeout=timeout,
        )
        message = to_json(form)
        if len(message) > MAX_MESSAGE_BYTES:
            text = (
                f"{type(command).__name__} takes {len(message):,} bytes as JSON and the limit is "
                f"{MAX_MESSAGE_BYTES:,}: store large content elsewhere and its address in the command. "
                "Nothing was written"
            )
            raise UnencodableEventError(text)
        return message

    @staticmethod
    def write_erasure(erasure: Erasure, timeout: float) -> bytes:
        """Encode the request to erase an event.

        Args:
            erasure: Which event.
            timeout: Seconds that are left for it.
        """
        stream = erasure.stream
        return to_json(_ErasureForm(category=stream.category, id=stream.id, version=erasure.version, timeout=timeout))

    def read_request(self, message: bytes) -> tuple[Request | Erasure, float]:
        """Decode a command or an erasure; gives it with the seconds that were left for it when it was sent.

        Raises:
            ConfigurationError: The bytes are no request of this version of the application.
            InvalidIdError: The aggregate's id is malformed.
        """
        try:
            form = _REQUEST.validate_json(message)
        except ValidationError as cause:
            text = f"a message of {len(message):,} bytes is no command that this process reads ({_problem(cause)})"
            raise _misfit(text) from cause
        if isinstance(form, _ErasureForm):
            return Erasure(stream_id(form.category, form.id), form.version), form.timeout
        return self._read_command_form(form), form.timeout

    def _read_command_form(self, form: _RequestForm) -> Request:
        aggregate = self._aggregates.get(form.category)
        if aggregate is None:
            known = ", ".join(sorted(self._aggregates)) or "none"
            text = f"the partition's owner has no aggregate of category {form.category!r} (it has: {known})"
            raise _misfit(text)
        command = self._commands.get((form.category, form.command))
        if command is None:
            text = f"the partition's owner runs a {aggregate.__name__} without a @decides method for {form.command}"
            raise _misfit(text)
        try:
            value = _read_command(command, to_json(form.data))
        except ValidationError as cause:
            text = f"a {form.command} does not fit the class of the partition's owner ({_problem(cause)})"
            raise _misfit(text) from cause
        stream = stream_id(form.category, form.id)
        return Request(aggregate, stream, value, form.command_id, form.correlation_id, form.expected_version)

    def write_answer(self, answer: Answer) -> bytes:
        """Encode an answer; one that cannot be encoded says so instead."""
        try:
            message = to_json(_answer_form(answer))
        except (PydanticSerializationError, ValueError, RecursionError) as cause:
            problem = f"it cannot be written as JSON: {cause}"
        else:
            if len(message) <= MAX_MESSAGE_BYTES:
                return message
            problem = f"it takes {len(message):,} bytes and the limit is {MAX_MESSAGE_BYTES:,}"
        return to_json(_error_form(AnswerLostError(f"the owner has an answer but cannot send it: {problem}")))

    def read_answer(self, request: Request, message: bytes) -> Committed:
        """Decode the answer to a request.

        Raises:
            AnswerLostError: The bytes are no answer of this version of the application.
            EventStoreError: What the owner's `execute` raised, with its attributes.
            EventSchemaError: The command was executed, but its events do not fit the classes of this process.
        """
        form = _read_answer_form(message)
        if not isinstance(form, _CommittedForm):
            raise _unreadable(form.kind)
        first = form.version - len(form.events) + 1
        events = [self._read_event(request, version, event) for version, event in enumerate(form.events, first)]
        return Committed(form.version, tuple(events), Token.parse(form.token), request.command_id)

    @staticmethod
    def read_erased(message: bytes) -> bool:
        """Decode the answer to an erasure: whether there is such an event.

        Raises:
            AnswerLostError: The bytes are no answer of this version of the application.
            EventStoreError: What the owner raised, with its attributes.
        """
        form = _read_answer_form(message)
        if not isinstance(form, _ErasedForm):
            raise _unreadable(form.kind)
        return form.found

    def _read_event(self, request: Request, version: int, form: _EventForm) -> Event:
        """Decode an event as if it had been read from the log: upcast if an older process wrote it."""
        stored = StoredEvent(
            0, str(request.stream), version, form.type, form.schema_version, b"", request.command_id.bytes, 1, 1, 0,
            to_json({"data": form.data}),
        )  # fmt: skip
        return self._registry.decode(stored)


C = TypeVar("C", bound=Command)


def _wire_name(command: type[Command]) -> str:
    return _LOOK if command is Look else command.__name__


def _read_command(cls: type[C], data: bytes) -> C:
    return cls.model_validate_json(data, by_alias=False, by_name=True)


def _command_data(command: Command) -> JsonObject:
    kind = type(command)
    try:
        data = command.__pydantic_serializer__.to_json(command, by_alias=False, round_trip=True)
        if _read_command(kind, data) == command:
            return _JSON_OBJECT.validate_json(data)
        problem = "it would arrive with other values"
    except (PydanticSerializationError, ValueError, RecursionError) as cause:
        problem = _problem(cause) if isinstance(cause, ValidationError) else str(cause)
    message = f"{kind.__name__} cannot be sent to the owner as JSON: {problem}. Nothing was written; change its data"
    raise UnencodableEventError(message)


def _answer_form(answer: Answer) -> BaseModel:
    if isinstance(answer, EventStoreError):
        return _error_form(answer)
    return _ErasedForm(found=answer) if isinstance(answer, bool) else _committed_form(answer)


def _read_answer_form(message: bytes) -> _CommittedForm | _ErasedForm:
    try:
        form = _ANSWER.validate_json(message)
    except ValidationError as cause:
        raise _unreadable(_problem(cause)) from cause
    if isinstance(form, _ErrorForm):
        raise _read_error(form)
    return form


def _unreadable(problem: str) -> AnswerLostError:
    return AnswerLostError(f"the owner's answer cannot be read ({problem}): {_REMEDY}")


def _committed_form(committed: Committed) -> _CommittedForm:
    events = [
        _EventForm(
            type=event.event_type,
            schema_version=event.schema_version,
            data=_JSON_OBJECT.validate_json(event.__pydantic_serializer__.to_json(event)),
        )
        for event in committed.events
    ]
    return _CommittedForm(version=committed.version, events=events, token=str(committed.token))


def _error_form(error: EventStoreError) -> _ErrorForm:
    return _ErrorForm(
        classes=[_name(cls) for cls in type(error).__mro__ if issubclass(cls, EventStoreError)],
        args=_as_json(error.args),
        attributes=_as_json({key: value for key, value in vars(error).items() if key != "__notes__"}),
        notes=[str(note) for note in getattr(error, "__notes__", ())],
    )


def _as_json(value: object) -> Any:
    return to_jsonable_python(value, fallback=str, inf_nan_mode="strings")


def _read_error(form: _ErrorForm) -> EventStoreError:
    known = {_name(cls): cls for cls in _error_classes(EventStoreError)}
    cls = next((known[name] for name in form.classes if name in known), EventStoreError)
    # Not through its own __init__, which words the message from other arguments.
    error = cls.__new__(cls, *form.args)
    error.args = tuple(form.args)
    # No error holds a list: what arrives as one was a tuple.
    vars(error).update(
        {key: tuple(value) if isinstance(value, list) else value for key, value in form.attributes.items()}
    )
    for note in form.notes:
        error.add_note(note)
    return error


def _error_classes(root: type[EventStoreError]) -> Iterator[type[EventStoreError]]:
    """Give a class and all that are derived from it, those of the application too."""
    yield root
    for cls in root.__subclasses__():
        yield from _error_classes(cls)


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _misfit(what: str) -> ConfigurationError:
    return ConfigurationError(f"{what}: {_REMEDY}. Nothing was written")


def _problem(cause: ValidationError) -> str:
    first = cause.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the message'}: {first['msg']}"
