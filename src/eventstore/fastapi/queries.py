"""Read models as endpoints: lists with filters, order and pages, and single rows."""

from __future__ import annotations

from inspect import Parameter, Signature
from typing import Annotated, Any, Final, Generic, Protocol, TypeVar, cast

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, Field

from eventstore.core.errors import ConfigurationError
from eventstore.core.projections import Projection
from eventstore.core.rows import Row
from eventstore.fastapi.columns import Columns
from eventstore.fastapi.pages import Order, filters_of
from eventstore.fastapi.positions import Staleness, wait, wanted_position
from eventstore.fastapi.problems import Meaning, RefusedError, responses
from eventstore.fastapi.serving import Edge, OpenEdge

R = TypeVar("R", bound=Row)
_NOT_FOUND: Final = Meaning(404, "not-found", "There is none")


class Page(BaseModel, Generic[R]):
    """Some rows of a list."""

    items: list[R]
    next: str | None = Field(description="Send it as `after` for the next page; null on the last one.")


class _Wanted(Protocol):
    """What every list's query has."""

    sort: str | None
    limit: int
    after: str | None
    stale: Staleness


def query_router(
    projection: type[Projection[R]], *, prefix: str | None = None, usual_limit: int = 100, longest: int = 1_000
) -> APIRouter:
    """Make typed endpoints of a read model: every answer shows at least the position that was asked for.

    - `GET {prefix}?column=value&column.min=value&sort=-column&limit=50&after=...` gives a page of rows.
    - `GET {prefix}/{key}` gives one row.

    A read waits for the position in the header `Eventstore-Position` or the cookie, for `Prefer: wait=SECONDS` at most.

    Args:
        projection: The read model.
        prefix: The path; by default the name with dashes, `/task-board`.
        usual_limit: Rows per page.
        longest: Rows per page at most.

    Raises:
        ConfigurationError: A column has the name of a parameter, or a key cannot stand in a path.
    """
    definition = projection.definition
    columns = Columns(definition)
    router = APIRouter(prefix=prefix or f"/{definition.name.replace('_', '-')}", tags=[definition.name])
    _add_list(router, projection, columns, columns.list_parameters(f"{projection.__name__}Query", usual_limit, longest))
    _add_row(router, projection, columns)
    return router


def _add_list(
    router: APIRouter, projection: type[Projection[R]], columns: Columns, parameters: type[BaseModel]
) -> None:
    orders: dict[str | None, Order] = {}  # as many as there are columns, and each takes its time to make
    kind = Page[columns.row]  # type: ignore[name-defined]

    async def rows(request: Request, edge: OpenEdge, wanted: Any) -> Response:
        asked = cast("_Wanted", wanted)
        response = Response(media_type="application/json")
        await _wait(request, response, edge, projection, asked.stale)
        order = orders.get(asked.sort) or orders.setdefault(asked.sort, Order(columns, asked.sort))
        read_model = edge.store.read_model(projection)
        query = order.page(read_model.table, filters_of(read_model.table, columns, wanted), asked.after, asked.limit)
        async with read_model.connect() as connection:
            found = [columns.row(**row) for row in (await connection.execute(query)).mappings()]
        more = len(found) > asked.limit
        items = found[: asked.limit]
        page = kind(items=items, next=order.cursor(items[-1]) if more else None)
        if page.next:
            following = request.url.include_query_params(after=page.next)
            response.headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
        response.body = page.model_dump_json().encode()
        response.headers["Content-Length"] = str(len(response.body))
        return response

    rows.__annotations__.update(request=Request, edge=OpenEdge, wanted=Annotated[parameters, Query()])
    router.add_api_route(
        "",
        rows,
        operation_id=f"list_{projection.definition.name}",
        summary=f"List {projection.definition.name}",
        description=projection.__doc__ or "",
        response_model=kind,
        responses=responses(400, 422, 503),
        openapi_extra=_WAITING,
    )


def _add_row(router: APIRouter, projection: type[Projection[R]], columns: Columns) -> None:
    async def row(request: Request, edge: OpenEdge, stale: Staleness, **key: object) -> Response:
        response = Response(media_type="application/json")
        await _wait(request, response, edge, projection, stale)
        found = await edge.store.read_model(projection).get(*(key[name] for name in columns.key))
        if found is None:
            raise RefusedError(_NOT_FOUND, f"{projection.definition.name} has no row with this key")
        response.body = found.model_dump_json().encode()
        response.headers["Content-Length"] = str(len(response.body))
        return response

    unusable = [name for name in columns.key if name not in columns.types]
    if unusable:
        message = f"{projection.__name__}: bytes cannot stand in a path, so {', '.join(unusable)} cannot be a key here"
        raise ConfigurationError(message)
    given: dict[str, Any] = {"request": Request, "edge": OpenEdge}
    given |= {name: Annotated[columns.types[name], Path()] for name in columns.key}
    parameters = [Parameter(name, Parameter.KEYWORD_ONLY, annotation=kind) for name, kind in given.items()]
    parameters.append(
        Parameter("stale", Parameter.KEYWORD_ONLY, annotation=Annotated[Staleness, Query()], default="refuse")
    )
    row.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    router.add_api_route(
        "/" + "/".join(f"{{{name}}}" for name in columns.key),
        row,
        operation_id=f"get_{projection.definition.name}",
        summary=f"Get a row of {projection.definition.name}",
        description=columns.row.__doc__ or "",
        response_model=columns.row,
        responses=responses(400, 404, 422, 503),
        openapi_extra=_WAITING,
    )


_WAITING: Final[dict[str, Any]] = {
    "parameters": [
        {
            "name": name,
            "in": "header",
            "required": False,
            "schema": {"type": "string"},
            "description": text,
        }
        for name, text in (
            ("Eventstore-Position", "Show at least this: the header of a command's answer."),
            ("Prefer", "`wait=SECONDS`: how long to wait for it at most, up to 30."),
        )
    ]
}


async def _wait(
    request: Request, response: Response, edge: Edge, projection: type[Projection[Any]], stale: Staleness
) -> None:
    token = await wanted_position(request, edge.positions)
    if token is not None:
        await wait(request, response, edge.store, projection, token, stale)
