"""What stands before every endpoint: errors become problems, bodies have a limit, and slow readers are let go."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eventstore.core.errors import ConfigurationError
from eventstore.fastapi.problems import Meaning, add_handlers, problem

_LOGGER: Final = logging.getLogger(__name__)
_TOO_LARGE: Final = Meaning(413, "too-large", "The body is too large")
_NUL: Final = Meaning(400, "nul", "The request cannot be understood", "a path or query holds a NUL character")


def install(app: FastAPI, *, max_body: int = 1_000_000, send_seconds: float = 20.0) -> None:
    """Have every error answered as a problem (RFC 9457), limit bodies, and end streams that nobody takes.

    Args:
        app: The application, before it starts; own handlers that are added later for the same errors win.
        max_body: Bytes; more is answered with 413, before it is kept.
        send_seconds: How long a client of server-sent events may take nothing before it is let go.

    Raises:
        ConfigurationError: A limit is not positive.
    """
    if max_body < 1 or send_seconds <= 0:
        message = f"install(max_body={max_body}, send_seconds={send_seconds}): both must be more than 0"
        raise ConfigurationError(message)
    add_handlers(app)
    app.add_middleware(Guard, max_body=max_body, send_seconds=send_seconds)


class Guard:
    """The middleware of `install`; plain ASGI, so it costs next to nothing.

    FastAPI's own limit of bodies answers in plain text, this one with a problem like everything else.
    """

    def __init__(self, app: ASGIApp, *, max_body: int, send_seconds: float) -> None:
        self._app: Final = app
        self._max_body: Final = max_body
        self._send_seconds: Final = send_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer at once what may not come in; count what does."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        announced = headers.get(b"content-length", b"0")
        if not announced.isdigit() or int(announced[:20]) > self._max_body:
            await problem(_TOO_LARGE, self._allowed, {"Connection": "close"})(scope, receive, send)
        elif b"%00" in scope["query_string"] or "\0" in scope["path"]:
            await problem(_NUL)(scope, receive, send)
        else:
            patience = asyncio.timeout(None)
            try:
                async with patience:
                    await self._app(scope, self._counted(receive), _PatientSend(send, patience, self._send_seconds))
            except TimeoutError:
                if not patience.expired():
                    raise
                # The server closes the connection: the answer is not complete.
                _LOGGER.info("a client took no events for %g s and was let go", self._send_seconds)

    @property
    def _allowed(self) -> str:
        return f"at most {self._max_body:,} bytes are taken"

    def _counted(self, receive: Receive) -> Receive:
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._max_body:
                raise HTTPException(413, f"The body is too large: {self._allowed}")
            return message

        return counted


class _PatientSend:
    """Sends, and starts a clock meanwhile that ends the whole answer; only for event streams, which have no end."""

    def __init__(self, send: Send, patience: asyncio.Timeout, seconds: float) -> None:
        self._send: Final = send
        self._patience: Final = patience
        self._seconds: Final = seconds
        self._is_stream = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers: dict[bytes, bytes] = dict(message["headers"])
            self._is_stream = headers.get(b"content-type", b"").startswith(b"text/event-stream")
        if not self._is_stream:
            await self._send(message)
            return
        self._patience.reschedule(asyncio.get_running_loop().time() + self._seconds)
        await self._send(message)
        self._patience.reschedule(None)
