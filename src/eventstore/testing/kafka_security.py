"""TLS, SCRAM users and ACLs of a cluster for tests, all made up for the occasion."""

# The client's annotations leave out what its futures hold and which names it exports.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportPrivateImportUsage=false

from __future__ import annotations

import logging
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from eventstore.core.errors import ConfigurationError, StoreUnavailableError
from eventstore.testing.kafka_config import ADMIN, Resource

_MECHANISM: Final = "SCRAM-SHA-512"
_ITERATIONS: Final = 4096
_PATIENCE_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.05
_NODE_NAME: Final = "localhost"
_UNHEARD = logging.getLogger(__name__)
_EXTENSIONS: Final = "subjectAltName=DNS:localhost,IP:127.0.0.1\n"
_NEW_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class ClusterSecurity:
    """One certificate for all nodes, and users with passwords nobody else knows."""

    def __init__(self, directory: Path) -> None:
        """Make the certificates.

        Args:
            directory: Where to put them; it has to exist.

        Raises:
            ConfigurationError: There is no openssl.
        """
        self._passwords = {ADMIN: secrets.token_hex(16)}
        self._keystore_password = secrets.token_hex(16)
        self._directory = directory
        self._make_certificates()

    @property
    def format_arguments(self) -> list[str]:
        """Arguments of Kafka's `StorageTool format` that make the super user."""
        return ["--add-scram", f"{_MECHANISM}=[name={ADMIN},password={self._passwords[ADMIN]}]"]

    def server_properties(self) -> dict[str, str]:
        """Give the settings in which a node differs from one that trusts everybody."""
        login = "org.apache.kafka.common.security.scram.ScramLoginModule required"
        return {
            "listener.security.protocol.map": "CLIENT:SASL_SSL,CONTROLLER:SSL",
            "listener.name.controller.ssl.client.auth": "required",
            "sasl.enabled.mechanisms": _MECHANISM,
            "sasl.mechanism.inter.broker.protocol": _MECHANISM,
            f"listener.name.client.{_MECHANISM.lower()}.sasl.jaas.config": (
                f'{login} username="{ADMIN}" password="{self._passwords[ADMIN]}";'
            ),
            "ssl.keystore.type": "PKCS12",
            "ssl.keystore.location": str(self._directory / "node.p12"),
            "ssl.keystore.password": self._keystore_password,
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self._directory / "ca.pem"),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "false",
            # Controllers know each other, and brokers them, by certificate.
            "super.users": f"User:{ADMIN};User:CN={_NODE_NAME}",
        }

    def client_settings(self, user: str) -> dict[str, str]:
        """Give how a user connects, without the address.

        Raises:
            ConfigurationError: Nobody created that user.
        """
        if user not in self._passwords:
            message = f"there is no user {user!r}: create_user({user!r}) first; there are {sorted(self._passwords)}"
            raise ConfigurationError(message)
        return {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": _MECHANISM,
            "sasl.username": user,
            "sasl.password": self._passwords[user],
            "ssl.ca.location": str(self._directory / "ca.pem"),
        }

    def create_user(self, user: str, nodes: Sequence[str]) -> None:
        """Make a user who may do nothing yet, known to all nodes when this returns.

        Args:
            user: A name.
            nodes: The addresses of all nodes that run.
        """
        password = secrets.token_hex(16)
        credentials = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, _ITERATIONS)
        wanted = UserScramCredentialUpsertion(user, credentials, password.encode())
        admin = self._admin(nodes)
        admin.alter_user_scram_credentials([wanted])[user].result(_PATIENCE_SECONDS)
        self._passwords[user] = password
        for node in nodes:
            _wait_until(partial(self._can_log_in, user, node), f"node {node} does not know user {user}")

    def allow(self, user: str, resource: Resource, name: str, operation: str, nodes: Sequence[str]) -> None:
        """Grant something, in force on all nodes when this returns.

        Args:
            user: Who.
            resource: On what kind of thing.
            name: Which; `shop.*` means all that begin with `shop.`, and `*` all.
            operation: To do what, for example `write`.
            nodes: The addresses of all nodes that run.
        """
        is_prefix = name.endswith("*") and name != "*"
        pattern = ("prefixed", name[:-1]) if is_prefix else ("literal", name)
        kind = "broker" if resource == "cluster" else resource
        permission = (kind, pattern[1], pattern[0], f"User:{user}", "*", operation, "allow")
        binding = AclBinding(*permission)
        admin = self._admin(nodes)
        admin.create_acls([binding])[binding].result(_PATIENCE_SECONDS)
        same = AclBindingFilter(*permission)
        for node in nodes:
            _wait_until(partial(self._is_in_force, same, node), f"{binding} is not in force on node {node}")

    def _admin(self, nodes: Sequence[str], user: str = ADMIN) -> AdminClient:
        return AdminClient({**self.client_settings(user), "bootstrap.servers": ",".join(nodes)}, logger=_UNHEARD)

    def _can_log_in(self, user: str, node: str) -> bool:
        admin = self._admin([node], user)
        with suppress(KafkaException):
            admin.list_topics(timeout=1.0)
            return True
        return False

    def _is_in_force(self, permission: AclBindingFilter, node: str) -> bool:
        admin = self._admin([node])
        return len(admin.describe_acls(permission).result(_PATIENCE_SECONDS)) > 0

    def _make_certificates(self) -> None:
        (self._directory / "extensions").write_text(_EXTENSIONS)
        authority = ["-keyout", "ca.key", "-out", "ca.pem", "-days", "3650", "-subj", "/CN=eventstore tests"]
        self._openssl("req", "-x509", *_NEW_KEY, *authority)
        self._openssl("req", *_NEW_KEY, "-keyout", "node.key", "-out", "node.csr", "-subj", f"/CN={_NODE_NAME}")
        signature = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "3650", "-extfile", "extensions"]
        self._openssl("x509", "-req", "-in", "node.csr", "-out", "node.pem", *signature)
        keystore = ["-in", "node.pem", "-inkey", "node.key", "-certfile", "ca.pem", "-out", "node.p12"]
        self._openssl("pkcs12", "-export", *keystore, "-passout", "stdin", given=self._keystore_password)

    def _openssl(self, *arguments: str, given: str = "") -> None:
        program = shutil.which("openssl")
        if program is None:
            raise ConfigurationError("a secure Kafka cluster for tests needs certificates: install openssl")
        done = subprocess.run(
            [program, *arguments], cwd=self._directory, input=given, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise ConfigurationError(f"openssl {arguments[0]} failed: {done.stderr[-1000:]}")


def _wait_until(holds: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise StoreUnavailableError(f"{complaint} after {_PATIENCE_SECONDS:.0f} s")
        time.sleep(_POLL_SECONDS)
