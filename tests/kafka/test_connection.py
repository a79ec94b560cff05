"""Connections that are safe, and those that are refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from eventstore.core.errors import ConfigurationError
from eventstore.kafka import Connection, KafkaLog

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
