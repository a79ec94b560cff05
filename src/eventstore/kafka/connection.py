"""How to reach the brokers, said once and translated for both clients."""

from __future__ import annotations

import ipaddress
import re
import ssl
from dataclasses import dataclass, field
from os import PathLike, fspath
from typing import Any, Final, Literal, TypeAlias

from pydantic import SecretStr

from eventstore.core.errors import ConfigurationError

Mechanism: TypeAlias = Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"]

_MECHANISMS: Final = ("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN")
_SERVER: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")
_HIGHEST_PORT: Final = 65_535


@dataclass(frozen=True, slots=True)
class Connection:
    """Reaches the brokers in a way that nobody on the network can read or pretend to be; hosts are always verified.

    A user, an authority or a certificate means TLS. Without it only this machine's own brokers are spoken to.

    Attributes:
        bootstrap: Where to ask first, `"host:9092,host:9093"`.
        user: Who logs in; None for nobody, or for whom the client certificate names.
        password: The user's; never shown again.
        mechanism: How the user logs in; `PLAIN` hands the password to the broker.
        tls: Whether to encrypt; None for yes if there is a user, an authority or a certificate.
        authority: PEM file of the authorities to trust; None for the system's.
        certificate: PEM file of the client certificate.
        key: PEM file of its key; None if the certificate's file has it too.
        key_password: Of the key file.
        allow_insecure: Speak to other machines without TLS: everybody on the way can read and forge every event.

    Raises:
        ConfigurationError: It is incomplete, contradicts itself or is not safe.
    """

    bootstrap: str
    user: str | None = None
    password: str | SecretStr | None = field(default=None, repr=False)
    mechanism: Mechanism = "SCRAM-SHA-512"
    tls: bool | None = None
    authority: str | PathLike[str] | None = None
    certificate: str | PathLike[str] | None = None
    key: str | PathLike[str] | None = None
    key_password: str | SecretStr | None = field(default=None, repr=False)
    allow_insecure: bool = False

    def __post_init__(self) -> None:
        """Refuse what is incomplete or not safe, and keep secrets where nothing prints them."""
        hosts = [_host(server) for server in self.bootstrap.split(",")]
        for name in ("password", "key_password"):
            value = getattr(self, name)
            if isinstance(value, str):
                object.__setattr__(self, name, SecretStr(value))
        for what, wrong in self._contradictions().items():
            if wrong:
                message = f"Connection({self.bootstrap!r}): {what}"
                raise ConfigurationError(message)
        remote = [host for host in hosts if not _is_loopback(host)]
        if remote and not self.encrypted and not self.allow_insecure:
            message = (
                f"Connection({self.bootstrap!r}): without TLS everybody on the way to {remote[0]} can read and forge "
                "events. Give Connection(..., user=..., password=...) or tls=True; allow_insecure=True accepts the risk"
            )
            raise ConfigurationError(message)

    def _contradictions(self) -> dict[str, bool]:
        no_tls = self.tls is False
        return {
            "user and password belong together: give both or neither": (self.user is None) != (self.password is None),
            f"mechanism: use one of {', '.join(_MECHANISMS)}": self.mechanism not in _MECHANISMS,
            "PLAIN sends the password itself, so it needs TLS: leave tls=False out": no_tls
            and self.mechanism == "PLAIN",
            "tls=False and TLS files contradict each other: leave one out": no_tls
            and (self.authority is not None or self.certificate is not None),
            "a key needs its certificate: give certificate=...": self.key is not None and self.certificate is None,
        }

    @property
    def encrypted(self) -> bool:
        """Whether TLS is used."""
        if self.tls is not None:
            return self.tls
        return any(given is not None for given in (self.user, self.authority, self.certificate))

    def confluent(self) -> dict[str, str]:
        """Give the settings for confluent-kafka's clients.

        Raises:
            ConfigurationError: A certificate file cannot be read or used.
        """
        settings = {"bootstrap.servers": self.bootstrap, "security.protocol": self._protocol}
        if self.user is not None:
            settings |= {"sasl.mechanism": self.mechanism, "sasl.username": self.user}
            settings |= {"sasl.password": _revealed(self.password) or ""}
        if self.encrypted:
            self._tls_context()  # its messages name the file that is wrong
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
        if self.encrypted and self.key_password is not None:
            settings["ssl.key.password"] = _revealed(self.key_password) or ""
        return settings

    def aiokafka(self) -> dict[str, Any]:
        """Give the arguments for aiokafka's clients.

        Raises:
            ConfigurationError: A certificate file cannot be read or used.
        """
        arguments: dict[str, Any] = {"bootstrap_servers": self.bootstrap, "security_protocol": self._protocol}
        if self.user is not None:
            arguments |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.user,
                "sasl_plain_password": _revealed(self.password),
            }
        if self.encrypted:
            arguments["ssl_context"] = self._tls_context()
        return arguments

    @property
    def _protocol(self) -> str:
        if self.user is not None:
            return "SASL_SSL" if self.encrypted else "SASL_PLAINTEXT"
        return "SSL" if self.encrypted else "PLAINTEXT"

    def _tls_context(self) -> ssl.SSLContext:
        """Verify chain and host name, from TLS 1.2 on: what Python's default context does."""
        try:
            context = ssl.create_default_context(cafile=self.authority)
        except OSError as cause:
            message = f"authority={fspath(self.authority or '')!r} is no readable PEM file of certificates: {cause}"
            raise ConfigurationError(message) from cause
        if self.certificate is not None:
            try:
                # Never asks at the terminal: an encrypted key without its password is an error.
                context.load_cert_chain(self.certificate, self.key, _revealed(self.key_password) or "")
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


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _revealed(secret: str | SecretStr | None) -> str | None:
    return secret.get_secret_value() if isinstance(secret, SecretStr) else secret
