"""Keeps clients of librdkafka logged in while passwords and certificates are rotated in their files."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from confluent_kafka import KafkaError

from eventstore.core.errors import ConfigurationError, EventStoreError
from eventstore.kafka.connection import Connection

_LOGGER: Final = logging.getLogger(__name__)
_LOOK_SECONDS: Final = 0.5
_SPREAD_SECONDS: Final = 3.0
"""The clients of all processes are not replaced at the same moment: each that leaves a group costs a hand-over."""


class LoggedIn(Protocol):
    """A client that logs in."""

    def set_sasl_credentials(self, username: str, password: str) -> None:
        """Use these for new connections."""
        ...


class Renewal:
    """Looks after one client at a time; for the thread that polls it.

    A new password is handed to the client. Certificates it reads only when it is made, so that it has to be replaced:
    while the old ones are good still, so that it can leave its group properly.

    Args:
        connection: Where and how.
        note: Is told what the client says about its connections.
    """

    def __init__(self, connection: Connection, note: Callable[[KafkaError], None] | None = None) -> None:
        self._connection: Final = connection
        self._note: Final = note
        self._look_at = 0.0
        self._replace_at: float | None = None
        self._login: object = None
        self._tls: object = None

    def settings(self) -> dict[str, Any]:
        """Give the connection's settings for a new client, from the files as they are now.

        Raises:
            ConfigurationError: A file cannot be read or used, or nobody gives a token.
            LogUnavailableError: No token can be had now.
        """
        self._login, self._tls = self._connection.login_stamp, self._connection.tls_stamp
        self._replace_at = None
        settings = self._connection.confluent()
        return settings if self._note is None else {**settings, "error_cb": self._note}

    def is_due(self, client: LoggedIn) -> bool:
        """Hand the client a new password if there is one, and tell whether it has to be replaced."""
        now = time.monotonic()
        if now < self._look_at:
            return False
        self._look_at = now + _LOOK_SECONDS
        if self.has_new_login:
            self._log_in_anew(client)
        if not self.has_new_certificates:
            return False
        if self._replace_at is None:
            self._replace_at = now + random.random() * _SPREAD_SECONDS  # noqa: S311 - nothing is to be kept secret
        return now >= self._replace_at

    @property
    def has_new_login(self) -> bool:
        """Whether the file of the password has changed since the client got it."""
        return self._connection.login_stamp != self._login

    @property
    def has_new_certificates(self) -> bool:
        """Whether the files have changed since the client was made, and can be used."""
        if self._connection.tls_stamp == self._tls:
            return False
        try:
            self._connection.confluent()
        except EventStoreError as error:
            _LOGGER.warning("the new certificates are not used: %s", error)
            return False
        return True

    def _log_in_anew(self, client: LoggedIn) -> None:
        stamp = self._connection.login_stamp
        try:
            password = self._connection.current_password()
        except ConfigurationError as error:
            _LOGGER.warning("the old password is kept: %s", error)
        else:
            assert self._connection.user is not None  # noqa: S101 - who has a password's file has a user
            client.set_sasl_credentials(self._connection.user, password)
            self._login = stamp
            _LOGGER.info("%s logs in with a new password from now on", self._connection.user)
