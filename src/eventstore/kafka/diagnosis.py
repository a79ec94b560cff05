"""Finds out why brokers do not answer a client that only says so: connects once, step by step, and looks."""

# aiokafka has no types.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest
from confluent_kafka import KafkaError as Codes

from eventstore.core.errors import EventStoreError
from eventstore.kafka.connection import Connection
from eventstore.kafka.reconnecting import login_of, reason_in, refusal_in

_SECONDS: Final = 3.0
_BROKEN: Final = (OSError, TimeoutError, KafkaError, EventStoreError)


async def diagnose(connection: Connection) -> Codes | None:
    """Give the error that keeps this connection from ever being made; None if there is none, or it may pass.

    Args:
        connection: Where and how.
    """
    found: Codes | None = None
    for host, port, _ in collect_hosts(connection.bootstrap):
        try:
            async with _connected(host, port, **login_of(connection)) as made:
                try:
                    await made.send(MetadataRequest([]))
                except (KafkaError, TimeoutError):
                    text = f"{host}:{port} wants a login, and this connection has none"
                    found = Codes(Codes._AUTHENTICATION, text)  # noqa: SLF001 - its public name
                else:
                    return None  # whatever it was, it has passed
        except ConnectionRefusedError:
            continue
        except _BROKEN as error:
            found = found or await _explained(connection, host, port, error)
    return found


async def _explained(connection: Connection, host: str, port: int, error: BaseException) -> Codes | None:
    if connection.encrypted and await _speaks_plaintext(host, port):
        return Codes(Codes._SSL, f"{host}:{port} does not speak TLS")  # noqa: SLF001
    if not connection.encrypted and await _speaks_tls(host, port):
        return Codes(Codes._SSL, f"{host}:{port} speaks TLS, and this connection does not")  # noqa: SLF001
    code = refusal_in(error)
    return None if code is None else Codes(code, f"{host}:{port}: {reason_in(error) or error}")


@asynccontextmanager
async def _connected(host: str, port: int, **how: Any) -> AsyncGenerator[Any]:
    made: Any = await create_conn(host, port, request_timeout_ms=int(_SECONDS * 1000), **how)
    try:
        yield made
    finally:
        await made.close()


async def _speaks_plaintext(host: str, port: int) -> bool:
    try:
        async with _connected(host, port):
            return True
    except _BROKEN:
        return False


async def _speaks_tls(host: str, port: int) -> bool:
    # Nothing is verified, and nothing said or believed: only whether there is a handshake.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except (OSError, TimeoutError):
        return False
    writer.transport.abort()
    return True
