"""aiokafka's client, which logs in with what the files hold when it connects, and remembers why it was refused."""

# aiokafka has no types.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportIncompatibleMethodOverride=false

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from typing import Any, Final

from aiokafka.abc import AbstractTokenProvider
from aiokafka.client import AIOKafkaClient, ConnectionGroup, create_conn
from aiokafka.errors import KafkaError, StaleMetadata
from confluent_kafka import KafkaError as Codes

from eventstore.core.errors import ConfigurationError, EventStoreError
from eventstore.kafka.answers import NOT_SENT
from eventstore.kafka.connection import Connection
from eventstore.kafka.credentials import revealed
from eventstore.kafka.tokens import TokenKeeper

_LOGGER: Final = logging.getLogger(__name__)
_GRACE_SECONDS: Final = 3.0
"""So long a login that is refused may be one that is just being rotated: brokers and files do not change together."""
_LOGIN: Final = (Codes.SASL_AUTHENTICATION_FAILED, Codes.UNSUPPORTED_SASL_MECHANISM, Codes.ILLEGAL_SASL_STATE)


class _NamesOnly(logging.Filter):
    """Lets aiokafka log which requests it sends, and not what is in them: events, passwords and tokens."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.msg.startswith(("Request to", "Response from")) and isinstance(record.args, tuple):
            record.args = (*record.args[:-1], type(record.args[-1]).__name__)
        return True


logging.getLogger("aiokafka.conn").addFilter(_NamesOnly())


class ReconnectingClient(AIOKafkaClient):  # type: ignore[misc]  # aiokafka has no types
    """Connects as the connection says at that time.

    Args:
        connection: Where and how.
        options: Other arguments of aiokafka's client.
    """

    def __init__(self, connection: Connection, **options: Any) -> None:
        self._connection: Final = connection
        self._login_stamp, self._tls_stamp = connection.login_stamp, connection.tls_stamp
        self._refusal = NOT_SENT
        self._refused_since = 0.0
        super().__init__(bootstrap_servers=connection.bootstrap, **login_of(connection), **options)

    @property
    def not_sent(self) -> int:
        """Why there is no connection: the code of a refusal that has lasted for a while, or that there is none."""
        lasts = time.monotonic() - self._refused_since > _GRACE_SECONDS
        return self._refusal if lasts else NOT_SENT

    async def _get_conn(self, node_id: Any, *, group: Any = ConnectionGroup.DEFAULT, no_hint: bool = False) -> Any:  # noqa: ARG002 - as aiokafka calls it
        """Give the connection to a broker, or None if there is none; aiokafka's own tells nobody why."""
        place = node_id, group
        if (found := self._conns.get(place)) is not None and found.connected():
            return found
        try:
            async with self._get_conn_lock:
                if (found := self._conns.get(place)) is not None and found.connected():
                    return found
                self._conns.pop(place, None)
                self._conns[place] = made = await self._connect(node_id)
        except (OSError, TimeoutError, KafkaError, EventStoreError) as error:
            self._note(error)
            _LOGGER.warning("there is no connection to broker %s: %s", node_id, reason_in(error) or error)
            self.force_metadata_update()  # it may be elsewhere by now
            return None
        self._refusal = NOT_SENT
        return made

    async def _connect(self, node_id: Any) -> Any:
        broker = self.cluster.broker_metadata(node_id)
        if broker is None:
            raise StaleMetadata
        self._log_in_anew()
        return await create_conn(
            broker.host,
            broker.port,
            client_id=self._client_id,
            request_timeout_ms=self._request_timeout_ms,
            ssl_context=self._ssl_context,
            security_protocol=self._security_protocol,
            on_close=self._on_connection_closed,
            max_idle_ms=self._connections_max_idle_ms,
            sasl_mechanism=self._sasl_mechanism,
            sasl_plain_username=self._sasl_plain_username,
            sasl_plain_password=self._sasl_plain_password,
            sasl_oauth_token_provider=self._sasl_oauth_token_provider,
        )

    def _log_in_anew(self) -> None:
        """Take over what was rotated; while a file cannot be used, what it held before is."""
        connection = self._connection
        login, tls = connection.login_stamp, connection.tls_stamp
        try:
            if login != self._login_stamp:
                self._sasl_plain_password, self._login_stamp = connection.current_password(), login
            if tls != self._tls_stamp:
                self._ssl_context, self._tls_stamp = connection.tls_context(), tls
        except ConfigurationError as error:
            _LOGGER.warning("what was there before is used: %s", error)

    def _note(self, error: BaseException) -> None:
        refusal = refusal_in(error)
        if refusal is None:
            return
        if self._refusal == NOT_SENT:
            self._refused_since = time.monotonic()
        self._refusal = refusal


def login_of(connection: Connection) -> dict[str, Any]:
    """Give the arguments of aiokafka's connections.

    Args:
        connection: How to log in.
    """
    arguments = connection.aiokafka()
    if connection.keeper is not None:
        arguments["sasl_oauth_token_provider"] = _Provider(connection.keeper)
    return arguments


def refusal_in(error: BaseException) -> int | None:
    """Give the code of what makes no sense to be tried again for long, if it is such a thing."""
    if isinstance(error, ConfigurationError):  # no token
        return int(Codes.SASL_AUTHENTICATION_FAILED)
    if reason_in(error) is not None:
        return int(Codes._SSL)  # noqa: SLF001 - its public name
    code = getattr(error, "errno", None)
    return code if isinstance(error, KafkaError) and code in _LOGIN else None


def reason_in(error: BaseException) -> ssl.SSLError | None:
    """Find what TLS said: a broker refuses a certificate only after the handshake."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__
    return cause


class _Provider(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types
    """Gives aiokafka the tokens of a keeper.

    Args:
        keeper: Keeps them.
    """

    def __init__(self, keeper: TokenKeeper) -> None:
        self._keeper: Final = keeper

    async def token(self) -> str:
        token = await asyncio.to_thread(self._keeper.current)
        return revealed(token.value)
