"""Position tokens over HTTP: what a command returns, a read waits for."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Final, Literal, TypeAlias

from fastapi import Request, Response

from eventstore.application import ReadModelClass
from eventstore.core.errors import InvalidIdError
from eventstore.core.records import Partition, Token
from eventstore.fastapi.headers import wait_seconds
from eventstore.fastapi.problems import RefusedError, misunderstood
from eventstore.ports import EventLog
from eventstore.store import EventStore

POSITION: Final = "Eventstore-Position"
STALE: Final = "Eventstore-Stale"
COOKIE: Final = "eventstore-position"
USUAL_WAIT: Final = 2.0
LONGEST_WAIT: Final = 30.0
_INVALID: Final = misunderstood("invalid-position")
_LONGEST: Final = 4_096
# A comma may not stand in a cookie.
_IN_COOKIE: Final = "|"

Staleness: TypeAlias = Literal["refuse", "allow"]
"""What to do if the read model is not there in time: answer 503, or give older rows."""


class Positions:
    """Checks tokens that come from outside against the log; remembers how far the log is known to go.

    Args:
        log: The open log.
    """

    def __init__(self, log: EventLog) -> None:
        self._log: Final = log
        self._known: dict[Partition, int] = {}

    def learn(self, token: Token) -> None:
        """Take note of a token that this process gave out."""
        for partition, offset in token.positions.items():
            self._known[partition] = max(offset, self._known.get(partition, 0))

    async def read(self, text: str) -> Token:
        """Read a token, and make sure that this log can have given it.

        Raises:
            InvalidIdError: It is no token, or one of another log: nothing would ever reach it.
            LogUnavailableError: The log cannot be asked now.
        """
        if len(text) > _LONGEST:
            message = f"a token has at most {_LONGEST:,} characters"
            raise InvalidIdError(message)
        token = Token.parse(text)
        if not token.positions.keys() <= {*self._log.partitions}:
            raise _foreign()
        if self._is_beyond(token, self._known):
            ends = await self._log.ends()
            self._known = {**ends}
            if self._is_beyond(token, ends):
                raise _foreign()
        return token

    @staticmethod
    def _is_beyond(token: Token, ends: Mapping[Partition, int]) -> bool:
        return any(offset > ends.get(partition, 0) for partition, offset in token.positions.items())


def _foreign() -> InvalidIdError:
    return InvalidIdError("the token is not of this log: pass on what a command returned, unchanged")


async def wanted_position(request: Request, positions: Positions) -> Token | None:
    """Give the token that a read has to wait for: that of the header, else that of the cookie.

    Raises:
        RefusedError: It is none, or of another log; a cookie is deleted with the answer, so that the next read works.
    """
    header, cookie = request.headers.get(POSITION), request.cookies.get(COOKIE)
    text = header if header is not None else (cookie or "").replace(_IN_COOKIE, ",")
    if not text:
        return None
    try:
        return await positions.read(text)
    except InvalidIdError as error:
        forget = Response()
        if header is None:
            forget.delete_cookie(COOKIE)
        headers = {"Set-Cookie": forget.headers["set-cookie"]} if header is None else None
        raise RefusedError(_INVALID, str(error), headers) from error


async def wait(
    request: Request, response: Response, store: EventStore, read_model: ReadModelClass, token: Token, stale: Staleness
) -> None:
    """Return when the read model shows a token, or older rows may be read; the answer says so then.

    Raises:
        ReadModelStaleError: It does not in time.
        ProjectionFailedError: It is halted before it.
    """
    seconds = wait_seconds(request, usual=USUAL_WAIT, longest=LONGEST_WAIT)
    reached = await store.wait_for(read_model, token, timeout=seconds, stale="raise" if stale == "refuse" else "allow")
    if not reached:
        response.headers[STALE] = "true"


async def remember(request: Request, response: Response, positions: Positions, token: Token) -> None:
    """Put a token into the cookie, together with the one that is there: the session reads all its own writes."""
    known = request.cookies.get(COOKIE)
    if known:
        with suppress(InvalidIdError):  # of another log: replaced
            token = token.merge(await positions.read(known.replace(_IN_COOKIE, ",")))
    response.set_cookie(
        COOKIE,
        str(token).replace(",", _IN_COOKIE),
        httponly=True,
        secure=request.url.scheme == "https",
        samesite="lax",
    )
