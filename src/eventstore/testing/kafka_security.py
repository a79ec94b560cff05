"""TLS, SCRAM users and ACLs of a cluster for tests, all made up for the occasion."""

# The client's annotations leave out what its futures hold and which names it exports.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportPrivateImportUsage=false

from __future__ import annotations

import logging
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, cast

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)

from eventstore.core.errors import ConfigurationError, StoreUnavailableError
from eventstore.testing.kafka_config import ADMIN, Permission

Logins: TypeAlias = Literal["passwords", "certificates"]
TOKEN_AUDIENCE: Final = "kafka"  # noqa: S105 - no secret
"""What tokens have to be made for."""
_MECHANISM: Final = "SCRAM-SHA-512"
_TOKENS: Final = "OAUTHBEARER"
_ITERATIONS: Final = 4096
_PATIENCE_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.05
_NODE_NAME: Final = "localhost"
_Futures: TypeAlias = Mapping[object, Future[object]]
_UNHEARD = logging.getLogger(__name__)
_EXTENSIONS: Final = "subjectAltName=DNS:localhost,IP:127.0.0.1\n"
_NEW_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class ClusterSecurity:
    """One certificate for all nodes, and users with passwords or certificates of their own."""

    def __init__(self, directory: Path, logins: Logins, token_keys: Path | None) -> None:
        """Make the certificates.

        Args:
            directory: Where to put them; it has to exist.
            logins: How users log in.
            token_keys: A JWKS file with the keys of tokens that users may log in with instead of a password.

        Raises:
            ConfigurationError: There is no openssl.
        """
        self._passwords: dict[str, str] = {}
        self._keystore_password = secrets.token_hex(16)
        self._directory = directory
        self._logins: Final = logins
        self._token_keys: Final = token_keys
        self._make_authority()
        self._passwords[ADMIN] = secrets.token_hex(16)
        if logins == "certificates":
            self._issue(ADMIN)

    @property
    def format_arguments(self) -> list[str]:
        """Arguments of Kafka's `StorageTool format` that make the super user."""
        if self._logins == "certificates":
            return []
        return ["--add-scram", f"{_MECHANISM}=[name={ADMIN},password={self._passwords[ADMIN]}]"]

    @property
    def java_options(self) -> tuple[str, ...]:
        """Options of the nodes' Java machines."""
        if self._token_keys is None:
            return ()
        return (f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={self._token_keys.as_uri()}",)

    def server_properties(self) -> dict[str, str]:
        """Give the settings in which a node differs from one that trusts everybody."""
        return {
            **(self._certificate_logins() if self._logins == "certificates" else self._password_logins()),
            "listener.name.controller.ssl.client.auth": "required",
            "ssl.keystore.type": "PKCS12",
            "ssl.keystore.location": str(self._directory / "node.p12"),
            "ssl.keystore.password": self._keystore_password,
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self._directory / "ca.pem"),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "false",
            # Controllers know each other, and brokers them, by certificate.
            "super.users": f"User:{ADMIN};User:CN={ADMIN};User:CN={_NODE_NAME}",
        }

    def _certificate_logins(self) -> dict[str, str]:
        protocols = "CLIENT:SSL,CONTROLLER:SSL,PROXIED:SSL"
        clients = {f"listener.name.{name}.ssl.client.auth": "required" for name in ("client", "proxied")}
        return {"listener.security.protocol.map": protocols, **clients}

    def _password_logins(self) -> dict[str, str]:
        login = "org.apache.kafka.common.security.scram.ScramLoginModule required"
        properties = {
            "listener.security.protocol.map": "CLIENT:SASL_SSL,CONTROLLER:SSL,PROXIED:SASL_SSL",
            "sasl.enabled.mechanisms": _MECHANISM,
            "sasl.mechanism.inter.broker.protocol": _MECHANISM,
        }
        for name in ("client", "proxied"):
            properties[f"listener.name.{name}.{_MECHANISM.lower()}.sasl.jaas.config"] = (
                f'{login} username="{ADMIN}" password="{self._passwords[ADMIN]}";'
            )
        if self._token_keys is not None:
            module = "org.apache.kafka.common.security.oauthbearer"
            properties["sasl.enabled.mechanisms"] += f",{_TOKENS}"
            for name in ("client", "proxied"):
                begin = f"listener.name.{name}.{_TOKENS.lower()}"
                properties |= {
                    f"{begin}.sasl.jaas.config": f"{module}.OAuthBearerLoginModule required;",
                    f"{begin}.sasl.server.callback.handler.class": f"{module}.OAuthBearerValidatorCallbackHandler",
                    f"{begin}.sasl.oauthbearer.jwks.endpoint.url": self._token_keys.as_uri(),
                    f"{begin}.sasl.oauthbearer.expected.audience": TOKEN_AUDIENCE,
                }
        return properties

    def client_settings(self, user: str) -> dict[str, str]:
        """Give how a user connects, without the address.

        Raises:
            ConfigurationError: Nobody created that user.
        """
        if user not in self._passwords:
            message = f"there is no user {user!r}: create_user({user!r}) first; there are {sorted(self._passwords)}"
            raise ConfigurationError(message)
        authority = {"ssl.ca.location": str(self._directory / "ca.pem")}
        if self._logins == "certificates":
            certificate = {
                "ssl.certificate.location": str(self._directory / f"{user}.pem"),
                "ssl.key.location": str(self._directory / f"{user}.key"),
            }
            return {"security.protocol": "SSL", **authority, **certificate}
        password = {"sasl.username": user, "sasl.password": self._passwords[user]}
        return {"security.protocol": "SASL_SSL", "sasl.mechanism": _MECHANISM, **password, **authority}

    def create_user(self, user: str, nodes: Sequence[str]) -> None:
        """Make a user who may do nothing yet, or give one a new password or certificate; all nodes know when it returns.

        Args:
            user: A name.
            nodes: The addresses of all nodes that run.
        """
        self._passwords[user] = secrets.token_hex(16)
        if self._logins == "certificates":
            self._issue(user)
            return
        credentials = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, _ITERATIONS)
        wanted = UserScramCredentialUpsertion(user, credentials, self._passwords[user].encode())
        admin = self._admin(nodes)
        admin.alter_user_scram_credentials([wanted])[user].result(_PATIENCE_SECONDS)
        for node in nodes:
            _wait_until(partial(self._can_log_in, user, node), f"node {node} does not know user {user}")

    def remove_user(self, user: str, nodes: Sequence[str]) -> None:
        """Let a user log in no more; connections that are open stay so. All nodes know when this returns.

        Args:
            user: A name.
            nodes: The addresses of all nodes that run.
        """
        unwanted = UserScramCredentialDeletion(user, ScramMechanism.SCRAM_SHA_512)
        admin = self._admin(nodes)
        admin.alter_user_scram_credentials([unwanted])[user].result(_PATIENCE_SECONDS)
        for node in nodes:
            _wait_until(partial(self._cannot_log_in, user, node), f"node {node} still knows user {user}")

    def allow(self, user: str, permissions: Iterable[Permission], nodes: Sequence[str]) -> None:
        """Grant something, in force on all nodes when this returns.

        Args:
            user: Who.
            permissions: What.
            nodes: The addresses of all nodes that run.
        """
        wanted = {AclBinding(*_words(user, permission)) for permission in permissions}
        admin = self._admin(nodes)
        creating = cast("_Futures", admin.create_acls(list(wanted)))
        for created in creating.values():
            created.result(_PATIENCE_SECONDS)
        for node in nodes:
            _wait_until(partial(self._has, user, wanted, node), f"{user}'s rights are not in force on node {node}")

    def forbid(self, user: str, permissions: Iterable[Permission], nodes: Sequence[str]) -> None:
        """Take back what was granted; in force on all nodes when this returns.

        Args:
            user: Who.
            permissions: What.
            nodes: The addresses of all nodes that run.
        """
        words = [_words(user, permission) for permission in permissions]
        unwanted = {AclBinding(*each) for each in words}
        admin = self._admin(nodes)
        deleting = cast("_Futures", admin.delete_acls([AclBindingFilter(*each) for each in words]))
        for deleted in deleting.values():
            deleted.result(_PATIENCE_SECONDS)
        for node in nodes:
            _wait_until(partial(self._lacks, user, unwanted, node), f"{user} keeps rights on node {node}")

    def _admin(self, nodes: Sequence[str], user: str = ADMIN) -> AdminClient:
        return AdminClient({**self.client_settings(user), "bootstrap.servers": ",".join(nodes)}, logger=_UNHEARD)

    def _can_log_in(self, user: str, node: str) -> bool:
        admin = self._admin([node], user)
        with suppress(KafkaException):
            admin.list_topics(timeout=1.0)
            return True
        return False

    def _cannot_log_in(self, user: str, node: str) -> bool:
        return not self._can_log_in(user, node)

    def _has(self, user: str, wanted: set[AclBinding], node: str) -> bool:
        return wanted <= self._granted(user, node)

    def _lacks(self, user: str, unwanted: set[AclBinding], node: str) -> bool:
        return not unwanted & self._granted(user, node)

    def _granted(self, user: str, node: str) -> set[AclBinding]:
        anything: Any = None  # the annotations leave out that a filter need not name everything
        everything = AclBindingFilter("any", anything, "any", f"User:{user}", anything, "any", "any")
        admin = self._admin([node])
        return set(admin.describe_acls(everything).result(_PATIENCE_SECONDS))

    def _make_authority(self) -> None:
        (self._directory / "extensions").write_text(_EXTENSIONS)
        authority = ["-keyout", "ca.key", "-out", "ca.pem", "-days", "3650", "-subj", "/CN=eventstore tests"]
        self._openssl("req", "-x509", *_NEW_KEY, *authority)
        self._issue("node", _NODE_NAME)
        keystore = ["-in", "node.pem", "-inkey", "node.key", "-certfile", "ca.pem", "-out", "node.p12"]
        self._openssl("pkcs12", "-export", *keystore, "-passout", "stdin", given=self._keystore_password)

    def _issue(self, file: str, name: str = "") -> None:
        """Make a key and a certificate for a name, that of the files if none is given."""
        request = ["-keyout", f"{file}.key", "-out", f"{file}.csr", "-subj", f"/CN={name or file}"]
        self._openssl("req", *_NEW_KEY, *request)
        signature = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "3650", "-extfile", "extensions"]
        self._openssl("x509", "-req", "-in", f"{file}.csr", "-out", f"{file}.pem", *signature)

    def _openssl(self, *arguments: str, given: str = "") -> None:
        program = shutil.which("openssl")
        if program is None:
            raise ConfigurationError("a secure Kafka cluster for tests needs certificates: install openssl")
        done = subprocess.run(
            [program, *arguments], cwd=self._directory, input=given, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise ConfigurationError(f"openssl {arguments[0]} failed: {done.stderr[-1000:]}")


def _words(user: str, permission: Permission) -> tuple[str, str, str, str, str, str, str]:
    kind = "broker" if permission.resource == "cluster" else permission.resource
    return kind, permission.name, permission.pattern, f"User:{user}", "*", _snake(permission.operation), "allow"


def _snake(operation: str) -> str:
    """Write Kafka's name of an operation as the client does: `DescribeConfigs` is `describe_configs`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).lower()


def _wait_until(holds: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise StoreUnavailableError(f"{complaint} after {_PATIENCE_SECONDS:.0f} s")
        time.sleep(_POLL_SECONDS)
