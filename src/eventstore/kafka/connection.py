"""How to reach the brokers, said once and translated for both clients."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import fspath
from typing import Any, Final, Literal, Self, TypeAlias

from pydantic import SecretStr

from eventstore.core.errors import ConfigurationError
from eventstore.kafka.credentials import FilePath, authorities, is_loopback, read_secret, revealed, stamp
from eventstore.kafka.tokens import TokenKeeper, TokenSource
from eventstore.kafka.variables import settings_in

Mechanism: TypeAlias = Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN", "OAUTHBEARER"]

_PASSWORDS: Final = ("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN")
_TOKENS: Final = "OAUTHBEARER"
_SERVER: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")
_HIGHEST_PORT: Final = 65_535


@dataclass(frozen=True, slots=True)
class Connection:
    """Reaches the brokers in a way that nobody on the network can read or pretend to be; hosts are always verified.

    A login, an authority or a certificate means TLS. Without it only this machine's own brokers are spoken to. Files
    are read whenever a client connects, so that what is rotated in them is used from then on.

    Attributes:
        bootstrap: Where to ask first, `"host:9092,host:9093"`.
        user: Who logs in with a password; None for nobody, or for whom the client certificate names.
        password: The user's; never shown again.
        password_file: A file that holds it instead, and nothing else.
        mechanism: How to log in; None for `OAUTHBEARER` with a token, else `SCRAM-SHA-512`. `PLAIN` hands the password
            to the broker.
        token: Gives tokens to log in with, for example `ClientCredentials(...)`; see `TokenSource`.
        tls: Whether to encrypt; None for yes if there is a login, an authority or a certificate.
        authority: PEM file of the authorities to trust; None for the system's.
        certificate: PEM file of the client certificate.
        key: PEM file of its key; None if the certificate's file has it too.
        key_password: Of the key file.
        key_password_file: A file that holds it instead, and nothing else.
        allow_insecure: Speak to other machines without TLS: everybody on the way can read and forge every event.

    Raises:
        ConfigurationError: It is incomplete, contradicts itself or is not safe.
    """

    bootstrap: str
    user: str | None = None
    password: str | SecretStr | None = field(default=None, repr=False)
    password_file: FilePath | None = None
    mechanism: Mechanism | None = None
    token: TokenSource | None = None
    tls: bool | None = None
    authority: FilePath | None = None
    certificate: FilePath | None = None
    key: FilePath | None = None
    key_password: str | SecretStr | None = field(default=None, repr=False)
    key_password_file: FilePath | None = None
    allow_insecure: bool = False
    _keeper: TokenKeeper | None = field(default=None, init=False, repr=False, compare=False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read `EVENTSTORE_BOOTSTRAP`, `EVENTSTORE_USER`, ... ; the security page of the guide lists them all.

        Args:
            environment: The variables; None for those of this process. An empty one counts as not set.

        Raises:
            ConfigurationError: One is missing or makes no sense, or they contradict each other.
        """
        return cls(**settings_in(os.environ if environment is None else environment))

    def __post_init__(self) -> None:
        """Refuse what is incomplete or not safe, and keep secrets where nothing prints them."""
        hosts = [_host(server) for server in self.bootstrap.split(",")]
        for name in ("password", "key_password"):
            value = getattr(self, name)
            if isinstance(value, str):
                object.__setattr__(self, name, SecretStr(value))
        if self.token is not None:
            object.__setattr__(self, "_keeper", TokenKeeper(self.token))
        if self.mechanism is None:
            object.__setattr__(self, "mechanism", _PASSWORDS[0] if self.token is None else _TOKENS)
        for what, wrong in self._contradictions().items():
            if wrong:
                message = f"Connection({self.bootstrap!r}): {what}"
                raise ConfigurationError(message)
        remote = [host for host in hosts if not is_loopback(host)]
        if remote and not self.encrypted and not self.allow_insecure:
            message = (
                f"Connection({self.bootstrap!r}): without TLS everybody on the way to {remote[0]} can read and forge "
                "events. Give Connection(..., user=..., password=...) or tls=True; allow_insecure=True accepts the risk"
            )
            raise ConfigurationError(message)

    def _contradictions(self) -> dict[str, bool]:
        no_tls, passwords = self.tls is False, (self.password, self.password_file)
        known, with_token = ", ".join((*_PASSWORDS, _TOKENS)), self.mechanism == _TOKENS
        return {
            "password and password_file are two ways to say the same: give one": None not in passwords,
            "key_password and key_password_file are two ways to say the same: give one": self.key_password is not None
            and self.key_password_file is not None,
            "user and password belong together: give both or neither": (self.user is None)
            != (passwords == (None, None)),
            f"mechanism: use one of {known}": self.mechanism not in {*_PASSWORDS, _TOKENS},
            "OAUTHBEARER logs in with a token: give token=ClientCredentials(...), and no user": with_token
            and (self.token is None or self.user is not None),
            "a token is for the mechanism OAUTHBEARER: leave mechanism out": self.token is not None and not with_token,
            "PLAIN sends the password itself, so it needs TLS: leave tls=False out": no_tls
            and self.mechanism == "PLAIN",
            "OAUTHBEARER sends the token itself, so it needs TLS: leave tls=False out": no_tls and with_token,
            "tls=False and TLS files contradict each other: leave one out": no_tls
            and (self.authority is not None or self.certificate is not None),
            "a key needs its certificate: give certificate=...": self.key is not None and self.certificate is None,
        }

    @property
    def encrypted(self) -> bool:
        """Whether TLS is used."""
        if self.tls is not None:
            return self.tls
        return self._logs_in or self.authority is not None or self.certificate is not None

    @property
    def _logs_in(self) -> bool:
        return self.user is not None or self.token is not None

    @property
    def keeper(self) -> TokenKeeper | None:
        """Keeps the token that all clients of this connection log in with."""
        return self._keeper

    @property
    def login_stamp(self) -> object:
        """What changes when the file of the password is replaced."""
        return stamp((self.password_file,))

    @property
    def tls_stamp(self) -> object:
        """What changes when a file of certificates or keys is replaced."""
        return stamp((self.authority, self.certificate, self.key, self.key_password_file))

    def current_password(self) -> str:
        """Give the user's password as it is now.

        Raises:
            ConfigurationError: Its file cannot be read.
        """
        if self.password_file is not None:
            return revealed(read_secret("password_file", self.password_file))
        return revealed(self.password or "")

    def _current_key_password(self) -> str:
        if self.key_password_file is not None:
            return revealed(read_secret("key_password_file", self.key_password_file))
        return revealed(self.key_password or "")

    def confluent(self) -> dict[str, Any]:
        """Give the settings for confluent-kafka's clients; with a token it may block until there is one.

        Raises:
            ConfigurationError: A file cannot be read or used, or nobody gives a token.
            LogUnavailableError: No token can be had now.
        """
        settings: dict[str, Any] = {"bootstrap.servers": self.bootstrap, "security.protocol": self._protocol}
        if self.encrypted:
            self.tls_context()  # its messages name the file that is wrong
            files = {
                "ssl.ca.location": self.authority,
                "ssl.certificate.location": self.certificate,
                "ssl.key.location": self.key or self.certificate,
            }
            settings |= {name: fspath(file) for name, file in files.items() if file is not None}
            settings |= {
                "ssl.endpoint.identification.algorithm": "https",
                "enable.ssl.certificate.verification": "true",
            }
        if self._keeper is not None:
            # Asked for here, too: the client itself would wait ten seconds and then not say what is wrong.
            self._keeper.current()
            settings["oauth_cb"] = self._keeper.for_confluent
        if self._logs_in:
            settings["sasl.mechanism"] = self.mechanism
        # Last: what fails before shows its variables in reports of crashes.
        if self.user is not None:
            settings |= {"sasl.username": self.user, "sasl.password": self.current_password()}
        if self.encrypted and (key_password := self._current_key_password()):
            settings["ssl.key.password"] = key_password
        return settings

    def aiokafka(self) -> dict[str, Any]:
        """Give the arguments for aiokafka's connections, but for the provider of tokens.

        Raises:
            ConfigurationError: A file cannot be read or used.
        """
        arguments: dict[str, Any] = {"security_protocol": self._protocol}
        if self._logs_in:
            arguments["sasl_mechanism"] = self.mechanism
        if self.encrypted:
            arguments["ssl_context"] = self.tls_context()
        if self.user is not None:
            arguments |= {"sasl_plain_username": self.user, "sasl_plain_password": self.current_password()}
        return arguments

    @property
    def _protocol(self) -> str:
        if self._logs_in:
            return "SASL_SSL" if self.encrypted else "SASL_PLAINTEXT"
        return "SSL" if self.encrypted else "PLAINTEXT"

    def tls_context(self) -> ssl.SSLContext:
        """Give what verifies chain and host name, and shows the client certificate, from the files as they are now.

        Raises:
            ConfigurationError: A file cannot be read or used.
        """
        context = authorities(self.authority)
        if self.certificate is not None:
            try:
                # Never asks at the terminal: an encrypted key without its password is an error.
                context.load_cert_chain(self.certificate, self.key, self._current_key_password())
            except (OSError, ValueError) as cause:
                message = (
                    f"certificate={fspath(self.certificate)!r} and key={fspath(self.key or self.certificate)!r} are not "
                    f"readable PEM files that fit each other, or key_password is wrong: {cause}"
                )
                raise ConfigurationError(message) from cause
        return context


def _host(server: str) -> str:
    found = _SERVER.fullmatch(server.strip())
    if found is None or not 0 < int(found["port"]) <= _HIGHEST_PORT:
        message = f"bootstrap: {server.strip()!r} is no address: write host:port, several separated by commas"
        raise ConfigurationError(message)
    return found["host"].strip("[]")
