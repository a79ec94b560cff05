"""Tokens: asked for over verified TLS, kept until three quarters of their time are over, and never shown."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

import pytest

from eventstore.core.errors import ConfigurationError, LogUnavailableError
from eventstore.kafka.credentials import revealed
from eventstore.kafka.tokens import ClientCredentials, Token, TokenKeeper
from tests.kafka.tokens import TokenServer

CANARY = "canary-8d1f"


@pytest.fixture
def server(token_server: TokenServer) -> TokenServer:
    return token_server


def test_a_token_comes_with_its_end_and_whose_it_is(server: TokenServer) -> None:
    token = server.credentials("shop", scope="kafka")()
    assert token.principal == "shop"
    assert token.expires == pytest.approx(time.time() + server.seconds, abs=5)
    assert revealed(token.value) not in f"{token!r} {token}"


def test_a_secret_in_a_file_is_read_for_each_token(server: TokenServer, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("first\n")
    server.secrets["filed"] = "first"
    source = server.credentials("filed", secret=None, secret_file=file)
    source()
    server.secrets["filed"] = "second"
    with pytest.raises(ConfigurationError, match="answered 401 invalid_client"):
        source()
    file.write_text("second\n")
    source()


def test_a_wrong_secret_is_refused_at_once_and_not_shown(server: TokenServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    source, before = server.credentials("shop", secret=CANARY), server.asked
    with pytest.raises(ConfigurationError, match=r"401 invalid_client: check client_id, the secret and scope") as error:
        TokenKeeper(source).current()
    assert server.asked == before + 1
    assert CANARY not in f"{error.getrepr(chain=True)} {caplog.text} {source!r}"


def test_an_endpoint_that_fails_is_asked_again(server: TokenServer) -> None:
    server.fails, before = 2, server.asked
    server.credentials("shop")()
    assert server.asked == before + 3


def test_an_endpoint_that_goes_on_failing_is_unavailable(server: TokenServer) -> None:
    server.fails = 3
    with pytest.raises(LogUnavailableError, match="answered 503: it usually passes by itself"):
        server.credentials("shop")()
    assert server.fails == 0


def test_an_endpoint_that_nobody_listens_at_is_unavailable(server: TokenServer) -> None:
    source = ClientCredentials("https://localhost:1/token", "shop", secret=CANARY)
    with pytest.raises(LogUnavailableError, match="cannot be reached.*Connection refused"):
        source()


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ((302, b""), "answered 302: check"),
        ((400, b'{"error": "<b>no</b>"}'), "answered 400: check"),
        ((200, b'{"access_token": "%s"}' % CANARY.encode()), "did not answer with access_token and expires_in"),
        ((200, b"<html>"), "did not answer with access_token"),
    ],
)
def test_an_answer_that_is_no_token_is_refused_and_not_shown(
    server: TokenServer, answer: tuple[int, bytes], complaint: str
) -> None:
    server.fails, server.failure = 3, answer
    try:
        with pytest.raises((ConfigurationError, LogUnavailableError), match=complaint) as error:
            server.credentials("shop")()
    finally:
        server.fails, server.failure = 0, (503, b"{}")
    assert CANARY not in str(error.getrepr(chain=True))


def test_an_endpoint_of_an_unknown_authority_is_not_given_the_secret(server: TokenServer) -> None:
    before = server.asked
    with pytest.raises(ConfigurationError, match="is not to be trusted: .*check authority"):
        server.credentials("shop", authority=None)()
    assert server.asked == before


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"endpoint": "http://idp.example/token", "secret": "x"}, "without TLS the secret can be read"),
        ({"endpoint": "idp.example/token", "secret": "x"}, "give the token endpoint's https"),
        ({"endpoint": "https://me:x@idp.example/token", "secret": "x"}, "without user or password"),
        ({"endpoint": "https://idp.example/token"}, "either secret or secret_file"),
        ({"endpoint": "https://idp.example/token", "secret": "x", "secret_file": "y"}, "either secret or secret_file"),
    ],
)
def test_credentials_that_are_not_safe_are_refused(arguments: dict[str, str], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        ClientCredentials(client_id="shop", **arguments)


class Source:
    """Gives tokens that are good for a while, or fails."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.given = 0
        self.fails = False

    def __call__(self) -> Token:
        if self.fails:
            raise LogUnavailableError("not now")
        self.given += 1
        return Token(f"token {self.given}", time.time() + self.seconds)


def test_a_token_is_used_until_three_quarters_of_its_time_are_over() -> None:
    source = Source(seconds=1.0)
    keeper = TokenKeeper(source)
    first = keeper.current()
    time.sleep(0.3)
    assert keeper.current() is first
    time.sleep(0.5)
    assert keeper.current() is not first


def test_while_no_new_token_can_be_had_the_old_one_is_used_to_its_end() -> None:
    source = Source(seconds=0.4)
    keeper = TokenKeeper(source)
    first, source.fails = keeper.current(), True
    time.sleep(0.32)
    assert keeper.current() is first
    time.sleep(0.1)
    with pytest.raises(LogUnavailableError, match="not now"):
        keeper.current()


def test_a_token_that_has_expired_already_is_refused() -> None:
    with pytest.raises(LogUnavailableError, match="expired already: check the clocks"):
        TokenKeeper(Source(seconds=-1)).current()


def test_a_coroutine_may_give_the_token() -> None:
    async def give() -> Token:
        await asyncio.sleep(0)
        return Token("x", time.time() + 60, "me")

    assert TokenKeeper(give).current().principal == "me"


def test_what_a_source_raises_is_not_shown() -> None:
    def fail() -> Token:
        raise ValueError(CANARY)

    with pytest.raises(LogUnavailableError, match="raised ValueError instead of giving a token") as error:
        TokenKeeper(fail).current()
    assert CANARY not in str(error.getrepr(chain=True))
