"""Passwords, tokens and keys are in no log line, error, metric, trace or page, whatever goes wrong."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from eventstore import ConfigurationError, EventStore, Settings
from eventstore.core.inventory import Inventory
from eventstore.kafka import Connection, KafkaLog, KafkaOptions
from eventstore.kafka.administration import Administration
from eventstore.kafka.credentials import revealed
from eventstore.kafka.names import Names
from eventstore.kafka.rights import rights_of
from eventstore.kafka.tokens import Token
from eventstore.telemetry import Telemetry
from eventstore.telemetry.prometheus import exposition
from tests.kafka.certificates import Authority
from tests.kafka.connections import connection_to, permissions_of
from tests.kafka.securing import SecureKafka
from tests.kafka.tokens import TokenServer
from tests.write.domain import Count, Counter

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]
PREFIX = "hidden"
RIGHTS = permissions_of(rights_of("writer", Names(PREFIX), Inventory(("counter",))))
CANARY = "canary-8d1f"


@pytest.mark.parametrize("login", ["password", "token"])
async def test_a_session_shows_no_secret(
    secure_kafka: SecureKafka, token_server: TokenServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, login: str
) -> None:
    cluster, user, secrets = secure_kafka.cluster, f"u-{uuid4().hex[:8]}", list[str]()
    await cluster.create_user(user)
    await cluster.allow(user, RIGHTS)

    def source() -> Token:
        token = token_server.credentials(user)()
        secrets.append(revealed(token.value))
        return token

    connection = connection_to(cluster, user)
    if login == "token":
        connection = Connection(cluster.bootstrap, token=source, authority=connection.authority)
    else:
        secrets.append(cluster.client_settings(user)["sasl.password"])
    options = KafkaOptions(partitions=1, directory=tmp_path)
    maker = KafkaLog(connection_to(cluster, "admin"), prefix=PREFIX, categories=["counter"], options=options)
    await maker.topics.apply()
    caplog.set_level(logging.DEBUG)
    telemetry = Telemetry()
    log = KafkaLog(connection, prefix=PREFIX, options=options)
    async with EventStore(log, aggregates=[Counter], settings=Settings(telemetry=telemetry)) as store:
        await store.log.serving()
        done = await store.execute(Counter, "1", Count(note=CANARY))
        shown = f"{connection!r} {log!r} {vars(log)} {store.settings!r} {done.token}"
    metrics = exposition(telemetry.measurements).decode()
    assert secrets
    assert "Request to" in caplog.text  # the clients said all that they ever say
    for secret in (*secrets, CANARY):
        assert secret not in caplog.text
        assert secret not in f"{shown} {metrics}"


def hopeless(login: str, kafka: SecureKafka, server: TokenServer, directory: Path) -> Connection:
    """Give a connection with a wrong secret; of a test's own variables pytest shows everything."""
    authority = kafka.cluster.client_settings()["ssl.ca.location"]
    if login == "password":
        return Connection(kafka.cluster.bootstrap, user="admin", password=CANARY, authority=authority)
    if login == "token":
        token = server.credentials("shop", secret=CANARY)
        return Connection(kafka.cluster.bootstrap, token=token, authority=authority)
    certificate = Authority.of(Path(authority)).issue("x", directory / "x.pem", password="right")
    return Connection(kafka.cluster.bootstrap, certificate=certificate, key_password=CANARY, authority=authority)


@pytest.mark.parametrize("login", ["password", "token", "key"])
async def test_a_refused_login_shows_no_secret(
    secure_kafka: SecureKafka, token_server: TokenServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, login: str
) -> None:
    caplog.set_level(logging.DEBUG)
    connection = hopeless(login, secure_kafka, token_server, tmp_path)
    with pytest.raises(ConfigurationError) as error:
        await Administration(connection).cluster()
    assert CANARY not in f"{error.getrepr(chain=True, showlocals=True)} {caplog.text}"


@pytest.mark.parametrize(("login", "command"), [("password", ["doctor"]), ("token", ["topics", "check"])])
async def test_the_command_line_shows_no_secret(
    secure_kafka: SecureKafka, token_server: TokenServer, tmp_path: Path, login: str, command: list[str]
) -> None:
    (tmp_path / "secret").write_text(CANARY)
    token_server.secrets.setdefault("shop", "another one")
    passwords = {"USER": "admin", "PASSWORD": CANARY}
    tokens = {
        "TOKEN_ENDPOINT": token_server.endpoint,
        "TOKEN_CLIENT_ID": "shop",
        "TOKEN_CLIENT_SECRET_FILE": str(tmp_path / "secret"),
        "TOKEN_AUTHORITY": str(token_server.authority.file),
    }
    variables = {
        "BOOTSTRAP": secure_kafka.cluster.bootstrap,
        "AUTHORITY": secure_kafka.cluster.client_settings()["ssl.ca.location"],
        **(passwords if login == "password" else tokens),
    }
    environment = {**os.environ, **{f"EVENTSTORE_{name}": value for name, value in variables.items()}}
    app = ["--app", "examples.task_domain.app:store", "--debug"]
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-m", "eventstore.cli", *app, *command],
        env=environment, capture_output=True, text=True, check=False, timeout=40,
    )  # fmt: skip
    assert done.returncode != 0
    assert CANARY not in done.stdout + done.stderr
    assert "login refused" in done.stdout + done.stderr or "answered 401" in done.stdout + done.stderr
