"""A proxy before a Kafka broker that loses, delays and holds back what a test says, request by request.

It understands the frame of Kafka's protocol and the beginning of each request: `int32 size, int16 api key, int16
version, int32 correlation id`. Start the broker with `KafkaCluster(proxies=[port])`: it then tells clients that come
over the proxy to stay with it.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Literal, Self, TypeAlias

from eventstore.background import Background
from eventstore.core.errors import ConfigurationError
from eventstore.testing.kafka_config import HOST

# Numbers of requests: https://kafka.apache.org/protocol#protocol_api_keys
PRODUCE: Final = 0
FETCH: Final = 1
LIST_OFFSETS: Final = 2
FIND_COORDINATOR: Final = 10
INIT_PRODUCER_ID: Final = 22

Fault: TypeAlias = Literal["cut before", "cut after", "lose answer", "delay", "hold"]

_HEADER: Final = struct.Struct(">hhi")
_SIZE: Final = struct.Struct(">i")
_BROKEN: Final = (OSError, asyncio.IncompleteReadError)


@dataclass(eq=False, slots=True)
class Rule:
    """What happens to requests of one kind; see `KafkaProxy.on`.

    Attributes:
        api: The kind.
        fault: What happens.
        times: To how many of them it still happens; None for all.
        seconds: How long an answer is delayed.
        when: Asked about each of them.
        hits: How many it has happened to.
    """

    api: int
    fault: Fault
    times: int | None
    seconds: float
    when: Callable[[], bool]
    hits: int = 0
    _hit: asyncio.Event = field(default_factory=asyncio.Event)
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    def applies(self, api: int) -> bool:
        """Tell whether it happens to this request, and count it if so."""
        if api != self.api or self.times == 0 or not self.when():
            return False
        self.times = None if self.times is None else self.times - 1
        self.hits += 1
        self._hit.set()
        return True

    async def hit(self) -> None:
        """Return once it has happened to a request."""
        await self._hit.wait()

    def release(self) -> None:
        """Let requests that are held go on to the broker, and hold no more."""
        self._released.set()

    async def released(self) -> None:
        """Return once `release` was called."""
        await self._released.wait()


class KafkaProxy:
    """Passes everything on between clients and one broker, except for the faults that were asked for.

    Args:
        port: Where it listens; None for any free port.
    """

    def __init__(self, port: int | None = None) -> None:
        self._port: Final = port or 0
        self._upstream: tuple[str, int] | None = None
        self._server: asyncio.Server | None = None
        self._background: Final = Background()
        self._links: Final[set[_Link]] = set()
        self._clients: Final[set[asyncio.StreamWriter]] = set()
        self._is_cut = False
        self._flowing: Final = asyncio.Event()
        self._flowing.set()
        self.rules: Final[list[Rule]] = []

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, HOST, self._port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every connection."""
        assert self._server is not None
        self._server.close()
        self._is_cut = True
        await self._background.close()
        # Those whose task was cancelled before it began, too; the loop closes them in its next turn.
        for client in self._clients:
            client.transport.abort()
        await asyncio.sleep(0)

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def address(self) -> str:
        """What clients need to find it: `host:port`."""
        return f"{HOST}:{self.port}"

    def lead_to(self, address: str) -> None:
        """Name the broker behind it.

        Args:
            address: The `proxied_address` of a `KafkaNode`.
        """
        host, _, port = address.rpartition(":")
        self._upstream = host, int(port)

    def on(
        self,
        api: int,
        fault: Fault,
        *,
        times: int | None = None,
        seconds: float = 0.0,
        when: Callable[[], bool] = lambda: True,
    ) -> Rule:
        """Let something happen to requests of one kind from now on; the first rule that applies counts.

        Args:
            api: The kind, for example `PRODUCE`.
            fault: `cut before`: the connection breaks and the broker never sees the request; `cut after`: the broker
                has answered, and the connection breaks instead; `lose answer`: neither the answer nor anything after
                it on this connection arrives; `delay`: the answer arrives `seconds` later; `hold`: the request reaches
                the broker only after `Rule.release`, even if the client has gone meanwhile.
            times: To how many of them; None for all.
            seconds: How long `delay` takes.
            when: Asked about each of them, for faults by chance.

        Returns:
            The rule, which counts its hits.
        """
        rule = Rule(api, fault, times, seconds, when)
        self.rules.append(rule)
        return rule

    def cut(self) -> None:
        """Break every connection and refuse new ones until `heal`."""
        self._is_cut = True
        for link in self._links:
            link.cut()

    def stall(self) -> None:
        """Pass nothing on in either direction, and break nothing, until `heal`; what was held arrives then."""
        self._flowing.clear()

    def heal(self) -> None:
        """Accept connections again after `cut`, pass on what was held after `stall`, and forget all rules."""
        self._is_cut = False
        self._flowing.set()
        self.rules.clear()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        self._clients.add(writer)
        self._background.start(self._serve(reader, writer), "kafka-proxy")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._upstream is None:
            message = "the proxy does not know its broker: call lead_to(node.proxied_address)"
            raise ConfigurationError(message)
        try:
            with suppress(*_BROKEN):
                link = _Link(
                    (reader, writer), await asyncio.open_connection(*self._upstream), self.rules, self._flowing
                )
                self._links.add(link)
                try:
                    await link.run()
                finally:
                    self._links.discard(link)
        finally:
            await _closed(writer)
            self._clients.discard(writer)


class _Link:
    """A client's connection and the one to the broker behind it."""

    def __init__(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        broker: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        rules: list[Rule],
        flowing: asyncio.Event,
    ) -> None:
        self._client_reader, self._client = client
        self._broker_reader, self._broker = broker
        self._rules = rules
        self._flowing = flowing
        self._unanswered: dict[int, Rule | None] = {}
        self._answered = asyncio.Event()
        self._is_silent = False

    def cut(self) -> None:
        """Break both connections at once."""
        self._client.transport.abort()
        self._broker.transport.abort()

    async def run(self) -> None:
        """Pass frames on until one side ends; requests that a gone client sent are passed on all the same."""
        try:
            async with asyncio.TaskGroup() as tasks:
                answering = tasks.create_task(self._pass_answers())
                await self._pass_requests()
                while self._unanswered and not answering.done():
                    self._answered.clear()
                    await self._answered.wait()
                answering.cancel()
        except asyncio.CancelledError:
            self.cut()
            raise
        finally:
            await _closed(self._broker)
            await _closed(self._client)

    async def _pass_requests(self) -> None:
        with suppress(*_BROKEN):
            while True:
                frame = await _read_frame(self._client_reader)
                await self._flowing.wait()
                api, _, correlation = _HEADER.unpack_from(frame)
                rule = next((rule for rule in self._rules if rule.applies(api)), None)
                if rule is not None and rule.fault == "cut before":
                    self.cut()
                    return
                if rule is not None and rule.fault == "hold":
                    await rule.released()
                self._unanswered[correlation] = rule
                self._broker.write(_SIZE.pack(len(frame)) + frame)
                await self._broker.drain()

    async def _pass_answers(self) -> None:
        try:
            while True:
                frame = await _read_frame(self._broker_reader)
                await self._flowing.wait()
                rule = self._unanswered.pop(_SIZE.unpack_from(frame)[0], None)
                self._answered.set()
                match rule.fault if rule is not None else None:
                    case "cut after":
                        return
                    case "lose answer":
                        self._is_silent = True
                    case "delay" if rule is not None:
                        await asyncio.sleep(rule.seconds)
                    case _:
                        pass
                if not self._is_silent:
                    # A client that has gone does not keep the broker's answers from being counted.
                    self._client.write(_SIZE.pack(len(frame)) + frame)
        except _BROKEN:
            pass
        finally:
            self._unanswered.clear()
            self._answered.set()
            self._client.close()


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def _read_frame(reader: asyncio.StreamReader) -> bytes:
    (size,) = _SIZE.unpack(await reader.readexactly(_SIZE.size))
    return await reader.readexactly(size)
