"""Connections that are safe, and those that are refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from eventstore.core.errors import ConfigurationError
from eventstore.kafka import Connection, KafkaLog
from eventstore.kafka.tokens import ClientCredentials
from eventstore.kafka.variables import NAMES

CANARY = "canary-8d1f"


@pytest.mark.parametrize("bootstrap", ["localhost:9092", "127.0.0.1:9092,127.0.0.2:9093", "[::1]:9092"])
def test_this_machine_s_brokers_need_no_tls(bootstrap: str) -> None:
    connection = Connection(bootstrap)
    assert connection.confluent()["security.protocol"] == connection.aiokafka()["security_protocol"] == "PLAINTEXT"


@pytest.mark.parametrize("bootstrap", ["broker:9092", "localhost:9092,10.0.0.1:9092", "localhost.evil.example:9092"])
def test_plaintext_to_another_machine_is_refused(bootstrap: str) -> None:
    with pytest.raises(ConfigurationError, match="allow_insecure=True accepts the risk"):
        KafkaLog(bootstrap, prefix="shop")


def test_plaintext_to_another_machine_can_be_insisted_on() -> None:
    assert Connection("broker:9092", allow_insecure=True).confluent()["security.protocol"] == "PLAINTEXT"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"user": "me"}, "user and password belong together"),
        ({"password": "x"}, "user and password belong together"),
        ({"user": "me", "password": "x", "mechanism": "GSSAPI"}, "use one of SCRAM-SHA-512"),
        ({"user": "me", "password": "x", "mechanism": "PLAIN", "tls": False}, "PLAIN sends the password itself"),
        ({"tls": False, "authority": "ca.pem"}, "contradict"),
        ({"key": "key.pem"}, "a key needs its certificate"),
    ],
)
def test_what_contradicts_itself_is_refused(arguments: dict[str, str], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        Connection("localhost:9092", **arguments)


@pytest.mark.parametrize(
    "bootstrap", ["", "localhost", "localhost:0", "localhost:99999", "http://localhost:9092", "a b:1"]
)
def test_what_is_no_address_is_refused(bootstrap: str) -> None:
    with pytest.raises(ConfigurationError, match="write host:port"):
        Connection(bootstrap)


@pytest.mark.parametrize("name", ["authority", "certificate"])
def test_a_file_that_is_no_certificate_is_named(name: str, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("no certificate")
    connection = Connection("broker:9092", **{name: wrong})
    for translate in (connection.confluent, connection.aiokafka):
        with pytest.raises(ConfigurationError, match=r"wrong\.pem"):
            translate()


def test_secrets_are_not_shown() -> None:
    connection = Connection("broker:9092", user="me", password=CANARY, key_password=CANARY, tls=True)
    assert (
        CANARY
        not in f"{connection!r} {connection} {dataclasses.asdict(connection)} {vars(KafkaLog(connection, prefix='a'))}"
    )
    assert connection.confluent()["sasl.password"] == CANARY


def test_the_environment_says_how_to_reach_the_brokers(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text(f"{CANARY}\n")
    connection = Connection.from_environment(
        {
            "EVENTSTORE_BOOTSTRAP": "broker:9093",
            "EVENTSTORE_USER": "shop",
            "EVENTSTORE_PASSWORD_FILE": str(secret),
            "EVENTSTORE_MECHANISM": "SCRAM-SHA-256",
            "EVENTSTORE_KEY": "",
            "EVENTSTORE_APP": "of no interest:here",
        }
    )
    assert connection == Connection("broker:9093", "shop", None, str(secret), "SCRAM-SHA-256")
    assert connection.confluent()["sasl.password"] == connection.aiokafka()["sasl_plain_password"] == CANARY
    assert CANARY not in repr(connection)


def test_certificates_and_tokens_can_be_named_in_the_environment() -> None:
    token = {"ENDPOINT": "https://idp.example/token", "CLIENT_ID": "shop", "CLIENT_SECRET_FILE": "s", "SCOPE": "kafka"}
    connection = Connection.from_environment(
        {
            "EVENTSTORE_BOOTSTRAP": "broker:9093",
            "EVENTSTORE_AUTHORITY": "ca.crt",
            **{f"EVENTSTORE_TOKEN_{name}": value for name, value in token.items()},
        }
    )
    assert connection.mechanism == "OAUTHBEARER"
    assert connection.token == ClientCredentials("https://idp.example/token", "shop", None, "s", "kafka")
    certified = {"CERTIFICATE": "user.crt", "KEY": "user.key", "KEY_PASSWORD_FILE": "p", "ALLOW_INSECURE": "false"}
    found = Connection.from_environment(
        {"EVENTSTORE_BOOTSTRAP": "broker:9093", **{f"EVENTSTORE_{name}": value for name, value in certified.items()}}
    )
    assert found == Connection("broker:9093", certificate="user.crt", key="user.key", key_password_file="p")


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({}, "EVENTSTORE_BOOTSTRAP is not set"),
        ({"BOOTSTRAP": " "}, "EVENTSTORE_BOOTSTRAP is not set"),
        ({"BOOTSTRAP": "broker"}, "write host:port"),
        ({"BOOTSTRAP": "b:1", "USER": "x", "PASSWORD": "y", "PASSWORD_FILE": "z"}, "PASSWORD_FILE are two ways"),
        ({"BOOTSTRAP": "b:1", "USER": "x"}, "user and password belong together"),
        ({"BOOTSTRAP": "b:1", "USER": "x", "PASSWORD": "y", "MECHANISM": "GSSAPI"}, "use one of SCRAM-SHA-512"),
        ({"BOOTSTRAP": "b:1", "ALLOW_INSECURE": "maybe"}, "EVENTSTORE_ALLOW_INSECURE='maybe': write 1 or true"),
        ({"BOOTSTRAP": "b:1", "TOKEN_ENDPOINT": "https://x"}, "EVENTSTORE_TOKEN_CLIENT_ID and EVENTSTORE_TOKEN_CLIENT"),
        ({"BOOTSTRAP": "b:1", "MECHANISM": "OAUTHBEARER"}, "OAUTHBEARER logs in with a token"),
        ({"BOOTSTRAP": "b:1"}, "allow_insecure=True accepts the risk"),
    ],
)
def test_variables_that_make_no_sense_are_refused(variables: dict[str, str], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        Connection.from_environment({f"EVENTSTORE_{name}": value for name, value in variables.items()})


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(None, "cannot be read"), (b"", "is empty"), (b"\n", "is empty"), (b"\xff", "is no text")],
)
def test_a_password_file_that_holds_none_is_named(content: bytes | None, complaint: str, tmp_path: Path) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    connection = Connection("broker:9093", user="me", password_file=file)
    with pytest.raises(ConfigurationError, match=f"password_file=.*{complaint}"):
        connection.confluent()


def test_the_environment_of_the_process_is_read_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENTSTORE_BOOTSTRAP", "localhost:9092")
    assert Connection.from_environment() == Connection("localhost:9092")


def test_every_variable_is_in_the_guide() -> None:
    guide = (Path(__file__).parent.parent.parent / "docs" / "security.md").read_text()
    assert [name for name in NAMES if name not in guide] == []
