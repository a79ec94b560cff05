"""Errors as problems (RFC 9457): one table says what each means over HTTP, and nothing internal gets out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from eventstore.core import errors
from eventstore.core.errors import (
    AppendOutcomeUnknownError,
    CommandRejectedError,
    EventStoreError,
    InvalidIdError,
    WrongExpectedVersionError,
)
from eventstore.core.projections import HandlerFailedError

MEDIA_TYPE: Final = "application/problem+json"
_LOGGER: Final = logging.getLogger(__name__)
_INTERNAL: Final = "the service is set up wrongly or has a defect; its log says more"


class Problem(BaseModel):
    """What went wrong, for programs (`type`, `code`) and for people (`title`, `detail`)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="Names the kind of problem; stable.")
    title: str = Field(description="The kind of problem in words.")
    status: int = Field(description="The status of the answer.")
    detail: str = Field(default="", description="What happened this time.")


class Meaning(NamedTuple):
    """What an error means over HTTP.

    Attributes:
        status: The status of the answer.
        name: The last part of the problem's type.
        title: In words.
        detail: What is said, whatever the error's own words are; None for the error's words, where they are made for
            the caller and of what the caller sent.
        retry_after: Seconds until the same request may succeed; None if it will not.
    """

    status: int
    name: str
    title: str
    detail: str | None = None
    retry_after: int | None = None


_DEFECT: Final = Meaning(500, "internal", "The service failed", _INTERNAL)
_UNAVAILABLE: Final = Meaning(
    503, "unavailable", "Out of reach for now", "a part of the service is out of reach; nothing was done", 1
)

MEANINGS: Final[Mapping[type[EventStoreError], Meaning]] = {
    errors.EventStoreError: _DEFECT,
    errors.CommandRejectedError: Meaning(422, "command-rejected", "The command was rejected"),
    errors.CommandFailedError: _DEFECT,
    errors.InvalidIdError: Meaning(400, "invalid-id", "An id or token cannot be used"),
    errors.WrongExpectedVersionError: Meaning(409, "wrong-expected-version", "Somebody was faster"),
    errors.OwnershipLostError: Meaning(
        503, "not-owner", "Another process takes over", "another process is taking over; nothing was done", 1
    ),
    errors.StoreUnavailableError: _UNAVAILABLE,
    errors.LogUnavailableError: _UNAVAILABLE,
    errors.AppendOutcomeUnknownError: Meaning(
        202, "outcome-unknown", "Nobody can tell yet", "ask the status link, or repeat with the same Idempotency-Key", 1
    ),
    errors.AnswerLostError: _UNAVAILABLE,
    errors.EventSchemaError: _DEFECT,
    errors.UnknownEventTypeError: _DEFECT,
    errors.UndecodableEventError: _DEFECT,
    errors.UpcastError: _DEFECT,
    errors.UnencodableEventError: Meaning(
        422,
        "unstorable",
        "What the command leads to cannot be stored",
        "it is too large, nested too deeply, or has text that is no Unicode; nothing was written",
    ),
    errors.ProjectionFailedError: Meaning(
        503, "read-model-halted", "The read model stands still", "the read model waits to be mended", 30
    ),
    errors.RowConflictError: _UNAVAILABLE,
    errors.UnstorableRowError: _DEFECT,
    errors.ReadModelStaleError: Meaning(
        503,
        "stale",
        "The read model is not there yet",
        "it does not show the wanted position yet: wait longer (Prefer: wait=...), or read with stale=allow",
        1,
    ),
    errors.ConfigurationError: _DEFECT,
    errors.CorruptLogError: _DEFECT,
    errors.StoreClosedError: Meaning(503, "closing", "The service is stopping", "ask another instance, or again", 1),
    HandlerFailedError: _DEFECT,
}
"""By class; for subclasses of users, the nearest class among their bases counts."""


def meaning_of(kind: type[EventStoreError]) -> Meaning:
    """Give what a class of errors means over HTTP."""
    return next(MEANINGS[base] for base in kind.__mro__ if base in MEANINGS)


def add_handlers(app: FastAPI) -> None:
    """Have every error of an application answered as a problem; unexpected ones say nothing but that they happened."""
    app.add_exception_handler(EventStoreError, _on_store_error)
    app.add_exception_handler(RefusedError, _on_refused)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(Exception, _on_defect)


def problem(
    meaning: Meaning, detail: str = "", headers: Mapping[str, str] | None = None, **extensions: object
) -> JSONResponse:
    """Give a problem as a response.

    Args:
        meaning: Which kind.
        detail: What happened this time; by default what the kind says.
        headers: Further headers.
        extensions: Further members.
    """
    sent = dict(headers or {})
    if meaning.retry_after is not None:
        sent["Retry-After"] = str(meaning.retry_after)
    content = {
        "type": f"urn:eventstore:{meaning.name}",
        "title": meaning.title,
        "status": meaning.status,
        "detail": detail or meaning.detail or "",
        **extensions,
    }
    return JSONResponse(content, meaning.status, sent, MEDIA_TYPE)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the problems that an endpoint may answer, for OpenAPI."""
    schema = {"content": {MEDIA_TYPE: {"schema": Problem.model_json_schema()}}}
    return {
        status: {"description": _DESCRIPTIONS[status], **({} if status == _NOT_MODIFIED else schema)}
        for status in statuses
    }


_NOT_MODIFIED: Final = 304
_DESCRIPTIONS: Final = {
    202: "Whether it was written is not known yet; `Location` will tell.",
    304: "Nothing has changed.",
    400: "An id, a token or a header cannot be used.",
    404: "There is none.",
    409: "Somebody else was faster; nothing was written.",
    412: "It is not at the version of `If-Match`; nothing was written.",
    413: "The body is too large.",
    422: "The request is malformed, or the domain rejects it; nothing was written.",
    428: "`If-Match` is required.",
    503: "Out of reach, or not there yet: `Retry-After` says when to try again.",
}


class RefusedError(Exception):
    """A request is refused by the edge itself.

    Args:
        meaning: Which kind of problem.
        detail: What is wrong with it.
        headers: Further headers of the answer.
    """

    def __init__(self, meaning: Meaning, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.meaning = meaning
        self.detail = detail
        self.headers = headers


def misunderstood(name: str) -> Meaning:
    """Name a kind of problem that is the client's mistake, with status 400."""
    return Meaning(400, name, "The request cannot be understood")


async def _on_store_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, EventStoreError)  # noqa: S101 - registered for those
    meaning = meaning_of(type(error))
    headers: dict[str, str] = {}
    extensions: dict[str, object] = {}
    detail = meaning.detail
    if isinstance(error, CommandRejectedError):
        detail = error.reason
        extensions = {"code": error.code}
    elif isinstance(error, WrongExpectedVersionError):
        conditional = "if-match" in request.headers or "if-none-match" in request.headers
        meaning = meaning._replace(status=412) if conditional else meaning
        detail = str(error)
        extensions = {"expected_version": error.expected, "actual_version": error.actual}
    elif isinstance(error, AppendOutcomeUnknownError):
        commands: str | None = getattr(request.state, "eventstore_commands", None)
        link = f"{commands}/{error.command_ids[0]}" if commands and error.command_ids else None
        extensions = {"command_ids": [*error.command_ids], "status_link": link}
        headers = {"Location": link} if link else {}
    elif isinstance(error, InvalidIdError):
        detail = str(error)
    if meaning.status >= 500:  # noqa: PLR2004 - what is the service's own fault
        _LOGGER.error("%s %s: %s: %s", request.method, _route(request), type(error).__name__, error)
    return problem(meaning, detail or "", headers, **extensions)


async def _on_refused(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, RefusedError)  # noqa: S101 - registered for those
    return problem(error.meaning, error.detail, error.headers)


async def _on_http_error(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for those
    content = {"type": "about:blank", "title": str(error.detail), "status": error.status_code}
    return JSONResponse(content, error.status_code, error.headers, MEDIA_TYPE)


async def _on_invalid_request(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for those
    found: Iterable[Mapping[str, Any]] = error.errors()
    # Where and why, but not the value: an answer is no place for what somebody sent.
    wrong = [{"at": [str(part) for part in one["loc"]], "detail": str(one["msg"])} for one in found]
    meaning = Meaning(422, "invalid-request", "The request is malformed")
    return problem(meaning, "; ".join(f"{'.'.join(one['at'])}: {one['detail']}" for one in wrong[:3]), errors=wrong)


async def _on_defect(request: Request, error: Exception) -> Response:
    """Say that something failed; the server logs what, since the error is raised again behind this."""
    del request, error
    return problem(_DEFECT)


def _route(request: Request) -> str:
    """Give the template of the path: ids are nobody's business in a log."""
    found: Callable[..., object] | None = request.scope.get("route")
    return str(getattr(found, "path", "unknown path"))
