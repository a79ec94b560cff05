"""The environment variables that say how to reach the brokers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from eventstore.core.errors import ConfigurationError
from eventstore.kafka.tokens import ClientCredentials

_BEGIN: Final = "EVENTSTORE_"
_BOOTSTRAP: Final = "BOOTSTRAP"
_SETTINGS: Final = {
    "USER": "user",
    "PASSWORD": "password",
    "PASSWORD_FILE": "password_file",
    "MECHANISM": "mechanism",
    "AUTHORITY": "authority",
    "CERTIFICATE": "certificate",
    "KEY": "key",
    "KEY_PASSWORD_FILE": "key_password_file",
}
_TOKEN: Final = {
    "TOKEN_ENDPOINT": "endpoint",
    "TOKEN_CLIENT_ID": "client_id",
    "TOKEN_CLIENT_SECRET_FILE": "secret_file",
    "TOKEN_SCOPE": "scope",
    "TOKEN_AUTHORITY": "authority",
}
_INSECURE: Final = "ALLOW_INSECURE"
_YES: Final = ("1", "true", "yes")
_NO: Final = ("0", "false", "no")
NAMES: Final = tuple(_BEGIN + name for name in (_BOOTSTRAP, *_SETTINGS, _INSECURE, *_TOKEN))
"""Every variable there is."""


def settings_in(environment: Mapping[str, str]) -> dict[str, Any]:
    """Give the arguments of a `Connection`.

    Args:
        environment: The variables; an empty one counts as not set.

    Raises:
        ConfigurationError: One is missing or makes no sense; the message names it.
    """
    # Of a password every character counts.
    given = {
        name: value if name == f"{_BEGIN}PASSWORD" else value.strip()
        for name in NAMES
        if (value := environment.get(name, "")).strip()
    }
    if _BEGIN + _BOOTSTRAP not in given:
        message = f"{_BEGIN}{_BOOTSTRAP} is not set: write host:port of the brokers, several separated by commas"
        raise ConfigurationError(message)
    found: dict[str, Any] = {"bootstrap": given[_BEGIN + _BOOTSTRAP]} | _named(_SETTINGS, given)
    if "password" in found and "password_file" in found:
        message = f"{_BEGIN}PASSWORD and {_BEGIN}PASSWORD_FILE are two ways to say the same: set one"
        raise ConfigurationError(message)
    if insecure := given.get(_BEGIN + _INSECURE, "").lower():
        if insecure not in {*_YES, *_NO}:
            message = f"{_BEGIN}{_INSECURE}={insecure!r}: write {' or '.join(_YES)} to accept the risk"
            raise ConfigurationError(message)
        found["allow_insecure"] = insecure in _YES
    if token := _named(_TOKEN, given):
        missing = [name for name in ("endpoint", "client_id", "secret_file") if name not in token]
        if missing:
            unset = [_BEGIN + name for name, field in _TOKEN.items() if field in missing]
            message = f"{' and '.join(unset)} is not set: tokens are asked for with all of them"
            raise ConfigurationError(message)
        found["token"] = ClientCredentials(**token)
    return found


def _named(names: Mapping[str, str], given: Mapping[str, str]) -> dict[str, Any]:
    return {field: given[_BEGIN + name] for name, field in names.items() if _BEGIN + name in given}
