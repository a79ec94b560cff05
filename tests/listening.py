"""A server of a test's own, whose connections do not outlive it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias

from eventstore.background import Background

Serve: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(serve: Serve, host: str = "127.0.0.1") -> AsyncGenerator[int]:
    """Listen on a free port.

    Args:
        serve: Talks to a client; its connection is closed afterwards, and when the server ends.
        host: Where.

    Yields:
        The port.
    """
    clients: set[asyncio.StreamWriter] = set()
    background = Background()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):  # of a client that went away
                await serve(reader, writer)
        finally:
            writer.close()
            clients.discard(writer)

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clients.add(writer)
        background.start(talk(reader, writer), "test-server")

    server = await asyncio.start_server(accept, host, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await background.close()
        # Those whose task was cancelled before it began; the loop closes them in its next turn.
        for client in clients:
            client.transport.abort()
        await asyncio.sleep(0)
