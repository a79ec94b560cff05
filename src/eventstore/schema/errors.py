"""The one place where the errors of a schema registry become ours."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from eventstore.core.errors import ConfigurationError, EventStoreError, StoreUnavailableError

# By HTTP status, 0 for no answer at all: what to raise, and what to do about it.
REACTIONS: Final[dict[int, tuple[type[EventStoreError], str]]] = {
    0: (StoreUnavailableError, "check that the registry runs and is reachable, then try again"),
    HTTPStatus.UNAUTHORIZED: (
        ConfigurationError,
        'give the right credentials: SchemaRegistry(url, {"basic.auth.user.info": "user:password"})',
    ),
    HTTPStatus.FORBIDDEN: (ConfigurationError, "ask for the right to read, or to register, this subject"),
    HTTPStatus.NOT_FOUND: (ConfigurationError, "check the address: it ends where /subjects begins"),
    HTTPStatus.CONFLICT: (
        ConfigurationError,
        "the schema is incompatible with a registered one: eventstore schemas check says where",
    ),
    HTTPStatus.UNPROCESSABLE_ENTITY: (
        ConfigurationError,
        "the registry takes no such schema or setting: see its answer",
    ),
    HTTPStatus.TOO_MANY_REQUESTS: (StoreUnavailableError, "the registry has too much to do: try again later"),
    HTTPStatus.INTERNAL_SERVER_ERROR: (StoreUnavailableError, "see the registry's own log, then try again"),
    HTTPStatus.BAD_GATEWAY: (StoreUnavailableError, "check that the registry runs behind its proxy, then try again"),
    HTTPStatus.SERVICE_UNAVAILABLE: (StoreUnavailableError, "the registry does not work now: try again later"),
    HTTPStatus.GATEWAY_TIMEOUT: (
        StoreUnavailableError,
        "check that the registry runs behind its proxy, then try again",
    ),
}
_REFUSED: Final = (ConfigurationError, "check the address: it ends where /subjects begins")
_FAILED: Final = (StoreUnavailableError, "see the registry's own log, then try again")


def translated(url: str, status: int, cause: Exception) -> EventStoreError:
    """Give the error that a failed request becomes.

    Args:
        url: The registry's address.
        status: The HTTP status, 0 if there was no answer.
        cause: What the client raised.
    """
    other = _FAILED if status >= HTTPStatus.INTERNAL_SERVER_ERROR else _REFUSED
    kind, remedy = REACTIONS.get(status, other)
    said = " ".join(str(cause).split()) or type(cause).__name__
    return kind(f"the schema registry at {url} did not do what was asked ({said}): {remedy}")
