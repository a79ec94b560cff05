"""Tokens of OAUTHBEARER: where they come from, and one keeper that gives every client one that is good for a while."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias
from urllib.error import HTTPError, URLError
from urllib.parse import quote_plus, urlencode, urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from pydantic import SecretStr

from eventstore.core.errors import ConfigurationError, EventStoreError, LogUnavailableError
from eventstore.kafka.credentials import FilePath, authorities, is_loopback, read_secret, revealed

_LOGGER: Final = logging.getLogger(__name__)
_SHARE: Final = 0.75
"""Of a token's time it is used for new logins; librdkafka asks again after 0.8 of it."""
_PAUSE_SECONDS: Final = 1.0
_REQUEST_SECONDS: Final = 5.0
_TRIES: Final = 3
_RETRY_SECONDS: Final = 0.2
_SERVER_ERRORS: Final = range(500, 600)
_TOO_MANY: Final = 429
_CODE: Final = re.compile(r"[a-z_]{1,40}")
_MOST_BYTES: Final = 100_000


@dataclass(frozen=True, slots=True)
class Token:
    """What a client logs in with for a while.

    Attributes:
        value: The token; never shown again.
        expires: When it ends, in seconds since 1970.
        principal: Whose it is; for messages, the brokers read it from the token.
    """

    value: str | SecretStr = field(repr=False)
    expires: float
    principal: str = "oauth"

    def __post_init__(self) -> None:
        """Keep the secret where nothing prints it."""
        if isinstance(self.value, str):
            object.__setattr__(self, "value", SecretStr(self.value))


TokenSource: TypeAlias = Callable[[], Token | Awaitable[Token]]
"""Gives a new token. It is called on threads of the clients: a coroutine is run there, on a loop of its own."""


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """Gets tokens by the client credentials grant; the endpoint's certificate and name are verified.

    Attributes:
        endpoint: The token endpoint, `https://`; `http://` only on this machine.
        client_id: Who asks.
        secret: The client's; never shown again.
        secret_file: A file that holds it instead, read anew for each token.
        scope: What is asked for; None for what the endpoint gives by default.
        authority: PEM file of the authorities to trust; None for the system's.

    Raises:
        ConfigurationError: It is incomplete or not safe.
    """

    endpoint: str
    client_id: str
    secret: str | SecretStr | None = field(default=None, repr=False)
    secret_file: FilePath | None = None
    scope: str | None = None
    authority: FilePath | None = None

    def __post_init__(self) -> None:
        """Refuse what is incomplete or not safe, and keep the secret where nothing prints it."""
        if isinstance(self.secret, str):
            object.__setattr__(self, "secret", SecretStr(self.secret))
        url = urlsplit(self.endpoint)
        faults = {
            "endpoint: give the token endpoint's https:// address, without user or password": url.scheme
            not in {"https", "http"}
            or not url.hostname
            or url.username is not None,
            "endpoint: without TLS the secret can be read on the way: give an https:// address": url.scheme == "http"
            and not is_loopback(url.hostname or ""),
            "give either secret or secret_file": (self.secret is None) == (self.secret_file is None),
        }
        for what, wrong in faults.items():
            if wrong:
                message = f"ClientCredentials(client_id={self.client_id!r}): {what}"
                raise ConfigurationError(message)

    def __call__(self) -> Token:
        """Ask for a token; blocks.

        Raises:
            ConfigurationError: The endpoint refuses this client, or its certificate is not to be trusted.
            LogUnavailableError: It does not answer properly, three times in a row.
        """
        for attempt in range(_TRIES):
            try:
                return self._ask()
            except LogUnavailableError:
                if attempt == _TRIES - 1:
                    raise
                time.sleep(_RETRY_SECONDS * 2**attempt)
        raise AssertionError  # pragma: no cover - the last try returns or raises

    def _ask(self) -> Token:
        asked_at = time.time()
        answer = self._post()
        try:
            found: dict[str, Any] = json.loads(answer)
            seconds = float(found["expires_in"])
            value = str(found["access_token"])
        except (ValueError, KeyError, TypeError):
            # Without the cause, and without what came: it may hold the token.
            message = f"{self._label} did not answer with access_token and expires_in"
            raise LogUnavailableError(message) from None
        return Token(value, asked_at + seconds, self.client_id)

    def _request(self) -> Request:
        """Make the request; nobody else has the secret in a variable, which is what reports of crashes show."""
        given = self.secret if self.secret is not None else read_secret("secret_file", self.secret_file or "")
        # As RFC 6749, 2.3.1 wants it: each part encoded as in a form, then both as in basic authentication.
        pair = f"{quote_plus(self.client_id)}:{quote_plus(revealed(given))}"
        form = {"grant_type": "client_credentials"} | ({"scope": self.scope} if self.scope else {})
        request = Request(self.endpoint, urlencode(form).encode(), method="POST")  # noqa: S310 - checked at the beginning
        request.add_header("Authorization", f"Basic {b64encode(pair.encode()).decode()}")
        request.add_header("Accept", "application/json")
        return request

    def _post(self) -> bytes:
        request, opener = self._request(), _opener(self.authority)
        try:
            with opener.open(request, timeout=_REQUEST_SECONDS) as response:
                return bytes(response.read(_MOST_BYTES))
        except HTTPError as error:
            with error:
                code = _error_code(error.read(_MOST_BYTES))
            passing = error.code in _SERVER_ERRORS or error.code == _TOO_MANY
            remedy = "it usually passes by itself" if passing else "check client_id, the secret and scope"
            message = f"{self._label} answered {error.code}{f' {code}' if code else ''}: {remedy}"
            raise (LogUnavailableError if passing else ConfigurationError)(message) from None
        except (URLError, OSError) as error:
            reason = error.reason if isinstance(error, URLError) else error
            if isinstance(reason, ssl.SSLCertVerificationError):
                message = f"{self._label} is not to be trusted: {reason.verify_message}: check authority and the name"
                raise ConfigurationError(message) from None
            message = f"{self._label} cannot be reached: {reason}"
            raise LogUnavailableError(message) from None

    @property
    def _label(self) -> str:
        return f"the token endpoint {self.endpoint}"


def _opener(authority: FilePath | None) -> OpenerDirector:
    """Make what asks: as urllib's own, but nobody is redirected. The secret goes to the address given, or nowhere."""
    opener = OpenerDirector()
    secured = HTTPSHandler(context=authorities(authority))
    for handler in (ProxyHandler(), HTTPHandler(), secured, HTTPDefaultErrorHandler(), HTTPErrorProcessor()):
        opener.add_handler(handler)
    return opener


def _error_code(body: bytes) -> str:
    try:
        found = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return ""
    return found if isinstance(found, str) and _CODE.fullmatch(found) else ""


class TokenKeeper:
    """Gives the newest token to whoever logs in; fetches one when three quarters of the last one's time are over.

    Args:
        source: Gives a new one.
    """

    def __init__(self, source: TokenSource) -> None:
        self._source: Final = source
        self._lock: Final = threading.Lock()
        self._token: Token | None = None
        self._refresh_at = 0.0
        self._failure: EventStoreError | None = None
        self._ask_again_at = 0.0

    def __repr__(self) -> str:
        """Say what it keeps tokens of."""
        return f"TokenKeeper({self._source!r})"

    def current(self) -> Token:
        """Give a token that is valid now; blocks; for any thread but one with a running loop.

        Raises:
            ConfigurationError: Nobody gives this client a token.
            LogUnavailableError: None can be had now.
        """
        with self._lock:
            if self._token is not None and time.time() < self._refresh_at:
                return self._token
            if self._failure is None or time.monotonic() >= self._ask_again_at:
                self._fetch()
            if self._token is not None and time.time() < self._token.expires:
                return self._token
            if self._failure is None:
                message = f"{self._source!r} gave a token that has expired already: check the clocks"
                raise LogUnavailableError(message)
            raise self._failure

    def _fetch(self) -> None:
        try:
            self._token = token = self._new()
        except EventStoreError as error:
            self._failure, self._ask_again_at = error, time.monotonic() + _PAUSE_SECONDS
            _LOGGER.warning("no new token yet: %s", error)
        else:
            now = time.time()
            self._failure, self._refresh_at = None, now + _SHARE * (token.expires - now)

    def _new(self) -> Token:
        try:
            given = self._source()
            return given if isinstance(given, Token) else asyncio.run(_awaited(given))
        except EventStoreError:
            raise
        except Exception as error:  # noqa: BLE001 - the user's code; what it says may hold secrets
            message = f"{self._source!r} raised {type(error).__name__} instead of giving a token"
            raise LogUnavailableError(message) from None

    def for_confluent(self, _config: str) -> tuple[str, float, str, dict[str, str]]:
        """Give a token as confluent-kafka's `oauth_cb` has to."""
        token = self.current()
        return revealed(token.value), token.expires, token.principal, {}


async def _awaited(given: Awaitable[Token]) -> Token:
    return await given
