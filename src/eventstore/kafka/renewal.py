"""Keeps clients of librdkafka logged in while passwords and certificates are rotated in their files."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from confluent_kafka import KafkaError

from eventstore.core.errors import ConfigurationError
from eventstore.kafka.connection import Connection

_LOGGER: Final = logging.getLogger(__name__)
_LOOK_SECONDS: Final = 0.5
_TROUBLE_SECONDS: Final = 30.0
"""The client waits up to ten seconds between its tries, so one that is in trouble says so at least this often."""


class LoggedIn(Protocol):
    """A client that logs in."""

    def set_sasl_credentials(self, username: str, password: str) -> None:
        """Use these for new connections."""
        ...


class Renewal:
    """Looks after one client at a time; for the thread that polls it.

    A new password is handed to the client. Certificates it reads only when it is made: it is to be replaced once they
    have changed and a connection has failed; until then what it has is good, and leaving a group would cost a hand-over.

    Args:
        connection: Where and how.
        note: Is also told what the client says about its connections.
    """

    def __init__(self, connection: Connection, note: Callable[[KafkaError], None] | None = None) -> None:
        self._connection: Final = connection
        self._note_too: Final = note
        self._look_at = 0.0
        self._troubled_at = -_TROUBLE_SECONDS
        self._login: object = None
        self._tls: object = None

    def settings(self) -> dict[str, Any]:
        """Give the connection's settings for a new client, from the files as they are now.

        Raises:
            ConfigurationError: A file cannot be read or used.
        """
        self._login, self._tls = self._connection.login_stamp, self._connection.tls_stamp
        self._troubled_at = -_TROUBLE_SECONDS
        return {**self._connection.confluent(), "error_cb": self._note}

    def is_due(self, client: LoggedIn) -> bool:
        """Hand the client a new password if there is one, and tell whether it has to be replaced."""
        now = time.monotonic()
        if now < self._look_at:
            return False
        self._look_at = now + _LOOK_SECONDS
        if self.has_new_login:
            self._log_in_anew(client)
        return now - self._troubled_at < _TROUBLE_SECONDS and self.has_new_certificates

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
            self._connection.tls_context()
        except ConfigurationError as error:
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

    def _note(self, error: KafkaError) -> None:
        self._troubled_at = time.monotonic()
        if self._note_too is not None:
            self._note_too(error)
