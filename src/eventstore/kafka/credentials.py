"""What connections keep from everybody else, and the files that it is read from."""

from __future__ import annotations

import ipaddress
import ssl
from os import PathLike, fspath
from pathlib import Path
from typing import TypeAlias

from pydantic import SecretStr

from eventstore.core.errors import ConfigurationError

FilePath: TypeAlias = str | PathLike[str]
_MOST_BYTES = 10_000


def revealed(secret: str | SecretStr) -> str:
    """Give a secret to whoever has to log in with it."""
    return secret.get_secret_value() if isinstance(secret, SecretStr) else secret


def read_secret(name: str, path: FilePath) -> SecretStr:
    """Read a file that holds nothing but a secret; one line break at its end does not count.

    Args:
        name: Of the setting, for messages.
        path: The file.

    Raises:
        ConfigurationError: It cannot be read, or holds no text or none.
    """
    shown = f"{name}={fspath(path)!r}"
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MOST_BYTES).decode()
    except UnicodeDecodeError:
        message = f"{shown} is no text: it has to hold the secret and nothing else"
        raise ConfigurationError(message) from None
    except OSError as cause:
        message = f"{shown} cannot be read: {cause.strerror}"
        raise ConfigurationError(message) from cause
    secret = content.removesuffix("\n").removesuffix("\r")
    if not secret:
        message = f"{shown} is empty: it has to hold the secret and nothing else"
        raise ConfigurationError(message)
    return SecretStr(secret)


def stamp(paths: tuple[FilePath | None, ...]) -> tuple[tuple[int, int, int] | None, ...]:
    """Give what changes whenever a file is replaced or written; None for one that is not there."""
    return tuple(None if path is None else _stamp(path) for path in paths)


def _stamp(path: FilePath) -> tuple[int, int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def authorities(path: FilePath | None) -> ssl.SSLContext:
    """Verify chain and host name, from TLS 1.2 on: what Python's default context does.

    Args:
        path: PEM file of the authorities to trust; None for the system's.

    Raises:
        ConfigurationError: It is no such file.
    """
    try:
        return ssl.create_default_context(cafile=path)
    except OSError as cause:
        message = f"authority={fspath(path or '')!r} is no readable PEM file of certificates: {cause}"
        raise ConfigurationError(message) from cause


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine whatever the name service says."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
