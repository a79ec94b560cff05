"""Commands as endpoints: one per command of an aggregate, its state, and what became of a command."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Body, Request, Response

from eventstore.core.aggregates import Aggregate, missing_decider, write_snapshot
from eventstore.core.commands import Command
from eventstore.core.errors import ConfigurationError
from eventstore.core.streams import StreamId, stream_id
from eventstore.fastapi import headers
from eventstore.fastapi.outcomes import (
    Outcome,
    find_outcome,
    intent,
    outcome_of,
    refuse_other_intent,
    refuse_unstorable,
)
from eventstore.fastapi.positions import POSITION, remember
from eventstore.fastapi.problems import Meaning, RefusedError, responses
from eventstore.fastapi.serving import AggregateId, OpenStore, edge_of
from eventstore.store import EventStore

_NOT_FOUND: Final = Meaning(404, "not-found", "There is none")
_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@dataclass(frozen=True, slots=True)
class Rules:
    """What a service asks of those who send commands.

    Attributes:
        version_required: Commands without `If-Match` or `If-None-Match` are refused with 428.
        key_required: Commands without `Idempotency-Key` are refused.
        cookie: The position is also set as a cookie, so that a browser reads its own writes by itself.
    """

    version_required: bool = False
    key_required: bool = False
    cookie: bool = False


def command_router(
    aggregate: type[Aggregate],
    *,
    prefix: str | None = None,
    commands: Sequence[type[Command]] | None = None,
    rules: Rules | None = None,
) -> APIRouter:
    """Make typed endpoints of an aggregate: it decides what is sent, and every answer is final or says that it is not.

    - `POST {prefix}/{id}/commands/{command}` executes a command; its fields are the body.
    - `GET {prefix}/{id}` gives the state, with its version as `ETag`.
    - `GET {prefix}/{id}/commands/{command_id}` tells from the log what became of a command.

    Args:
        aggregate: The aggregate's class.
        prefix: The path; by default the category in the plural, `/tasks`.
        commands: Only these commands; by default all that it decides.
        rules: What is asked of those who send commands.

    Raises:
        ConfigurationError: A command is not decided by the aggregate.
    """
    router = APIRouter(prefix=prefix or f"/{aggregate.category}s", tags=[aggregate.category])
    chosen = [*aggregate.deciders] if commands is None else [*commands]
    for command in chosen:
        if command not in aggregate.deciders:
            raise ConfigurationError(missing_decider(aggregate, command))
        _add_command(router, aggregate, command, rules or Rules())
    _add_state(router, aggregate)
    _add_outcome(router, aggregate)
    return router


def _add_command(router: APIRouter, aggregate: type[Aggregate], command: type[Command], rules: Rules) -> None:
    words = _WORDS.sub("-", command.__name__).lower()
    decider = aggregate.deciders[command]
    router.add_api_route(
        f"/{{aggregate_id}}/commands/{words}",
        _endpoint(aggregate, command, rules),
        methods=["POST"],
        name=words,
        operation_id=words.replace("-", "_"),
        summary=words.replace("-", " ").capitalize(),
        description=command.__doc__ or decider.__doc__ or "",
        response_model=Outcome,
        responses={
            201: {"model": Outcome, "description": "It was executed, and is the first of its stream."},
            **responses(202, 400, 409, 412, 413, 422, 503),
            **(responses(428) if rules.version_required else {}),
        },
        openapi_extra={"parameters": _conditions(rules)},
    )


def _endpoint(aggregate: type[Aggregate], command: type[Command], rules: Rules) -> Callable[..., Awaitable[Response]]:
    async def execute(request: Request, aggregate_id: str, command: Command) -> Response:
        edge = await edge_of(request)
        stream = stream_id(aggregate.category, aggregate_id)
        key = headers.command_id(request, stream, required=rules.key_required)
        conditions = headers.preconditions(request, required=rules.version_required)
        expected = await headers.expected_version(conditions, edge.store, aggregate, aggregate_id)
        refuse_unstorable(command)
        # Put together by hand: looking routes up would take as long as the command. An id needs no quoting.
        path: str = request.scope["path"].rsplit("/", 2)[0]
        request.state.eventstore_commands = f"{path}/commands"
        meant = None if key is None else intent(key, stream, command)
        committed = await edge.store.execute(
            aggregate,
            aggregate_id,
            command,
            expected_version=expected,
            command_id=key,
            caused_by=meant,
        )
        outcome = outcome_of(committed)
        if meant is not None and committed.events:
            outcome = await refuse_other_intent(edge.store, aggregate, stream, outcome, meant)
        edge.positions.learn(committed.token)
        is_new = bool(outcome.events) and outcome.version == len(outcome.events)
        sent = {"ETag": headers.etag(committed.version), POSITION: outcome.position}
        response = Response(outcome.model_dump_json(), 201 if is_new else 200, sent, "application/json")
        if is_new:
            response.headers["Location"] = path
        if rules.cookie and committed.token.positions:
            await remember(request, response, edge.positions, committed.token)
        return response

    execute.__annotations__.update(request=Request, aggregate_id=AggregateId, command=Annotated[command, Body()])
    if not any(field.is_required() for field in command.model_fields.values()):
        execute.__defaults__ = (command(),)  # without fields to fill in, no body is needed
    return execute


def _conditions(rules: Rules) -> list[dict[str, Any]]:
    """Describe the headers, which are read by hand: FastAPI would take away what tells one mistake from another."""
    key = "Makes a repeat harmless: the first outcome comes back. A new UUID for every command, or any text."
    version = "Only at this version: the `ETag` that was read, in quotes; `*` for any."
    described = [
        ("If-Match", version, r'^(\*|"[0-9]{1,18}")$', False),
        ("If-None-Match", "`*`: only if there is none yet.", r"^\*$", False),
        (headers.IDEMPOTENCY_KEY, key, r"^[!#-~]{1,255}$", rules.key_required),
    ]
    return [
        {
            "name": name,
            "in": "header",
            "required": required,
            "schema": {"type": "string", "pattern": pattern},
            "description": text,
        }
        for name, text, pattern, required in described
    ]


def _add_state(router: APIRouter, aggregate: type[Aggregate]) -> None:
    async def state(request: Request, store: OpenStore, aggregate_id: AggregateId) -> Response:
        found = await store.load(aggregate, aggregate_id)
        if not found.exists:
            raise RefusedError(_NOT_FOUND, f"there is no {aggregate.category} with this id")
        sent = {"ETag": headers.etag(found.version), "Cache-Control": "no-cache"}
        if headers.is_unchanged(request, found.version):
            return Response(status_code=304, headers=sent)
        return Response(write_snapshot(found), 200, sent, "application/json")

    state.__annotations__.update(request=Request, store=OpenStore, aggregate_id=AggregateId)
    router.add_api_route(
        "/{aggregate_id}",
        state,
        name=f"get_{aggregate.category}",
        operation_id=f"get_{aggregate.category}",
        summary=f"Get a {aggregate.category}",
        description=aggregate.__doc__ or "",
        response_model=aggregate,
        responses=responses(304, 400, 404, 422, 503),
    )


def _add_outcome(router: APIRouter, aggregate: type[Aggregate]) -> None:
    async def outcome(store: OpenStore, aggregate_id: AggregateId, command_id: UUID) -> Outcome:
        return await _outcome(store, aggregate, stream_id(aggregate.category, aggregate_id), command_id)

    outcome.__annotations__.update(store=OpenStore, aggregate_id=AggregateId, command_id=UUID)
    router.add_api_route(
        "/{aggregate_id}/commands/{command_id}",
        outcome,
        name=f"get_{aggregate.category}_command",
        operation_id=f"get_{aggregate.category}_command",
        summary="Tell what became of a command",
        description="A command without events leaves no trace: it counts as not found, and may be repeated.",
        response_model=Outcome,
        responses=responses(400, 404, 422, 503),
    )


async def _outcome(store: EventStore, aggregate: type[Aggregate], stream: StreamId, command_id: UUID) -> Outcome:
    found = await find_outcome(store, aggregate, stream, command_id)
    if found is None:
        detail = "nothing of this command is in the log now; to be sure of it, repeat it with the same Idempotency-Key"
        raise RefusedError(_NOT_FOUND, detail, {"Retry-After": "1"})
    return found
