"""What the registry's client raises, translated: the one table for it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from eventstore.core.errors import ConfigurationError, EventStoreError, StoreUnavailableError

_REFUSED: Final[dict[int, str]] = {
    HTTPStatus.UNAUTHORIZED: 'the credentials are wrong or missing: SchemaRegistry(url, {"basic.auth.user.info": "..."})',
    HTTPStatus.FORBIDDEN: "this user lacks the rights",
    HTTPStatus.CONFLICT: "the schema is incompatible with a registered version: eventstore schemas check says how",
    HTTPStatus.UNPROCESSABLE_ENTITY: "the registry does not accept the request",
}


def translated(url: str, status: int | None, cause: Exception) -> EventStoreError:
    """Give the error that a failed request becomes.

    Args:
        url: The registry's address.
        status: The HTTP status, None if there was no answer.
        cause: What the client raised.
    """
    said = " ".join(str(cause).split()) or type(cause).__name__
    if status is None or status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
        return StoreUnavailableError(f"the schema registry at {url} cannot be asked now ({said}); try again")
    remedy = _REFUSED.get(status, "check the address: it ends where /subjects begins")
    return ConfigurationError(f"the schema registry at {url} refused ({said}): {remedy}")
