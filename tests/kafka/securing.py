"""Secure clusters whose connections can be cut: proxies in the way of tests know nothing of TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

from eventstore.background import Background
from eventstore.testing.kafka import KafkaCluster


class SecureKafka(NamedTuple):
    """A secure cluster of one node that expects clients on `port`, too."""

    cluster: KafkaCluster
    port: int


class Cuttable:
    """Passes bytes on to the node for the length of an `async with` block."""

    def __init__(self, kafka: SecureKafka) -> None:
        self._kafka = kafka
        self._background = Background()
        self._ends: set[asyncio.StreamWriter] = set()

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self._kafka.port}"

    def cut(self) -> int:
        """Close every connection, and tell how many there were; new ones can be made at once."""
        ends = list(self._ends)
        for end in ends:
            end.transport.abort()
        return len(ends)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self._kafka.cluster.nodes[0].proxied_address.partition(":")
        with suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
            self._ends |= {writer, far_writer}
            pumps = [_pump(reader, far_writer), _pump(far_reader, writer)]
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*pumps)
            self._ends -= {writer, far_writer}

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Cuttable]:
        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._background.start(self._accept(reader, writer), "test-cuttable")

        server = await asyncio.start_server(accept, "127.0.0.1", self._kafka.port)
        try:
            yield self
        finally:
            server.close()
            self.cut()
            await self._background.close()
            await asyncio.sleep(0)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
