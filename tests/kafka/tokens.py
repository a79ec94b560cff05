"""A server that gives tokens, with TLS, and what a broker needs to believe them."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from eventstore.kafka.tokens import ClientCredentials
from eventstore.testing.kafka_security import TOKEN_AUDIENCE
from tests.kafka.certificates import Authority


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _number(number: int) -> str:
    return _encoded(number.to_bytes((number.bit_length() + 7) // 8, "big"))


class TokenServer:
    """Gives tokens for the length of a `running` block.

    Attributes:
        seconds: How long they are good for.
        fails: So many of the next requests are answered with `failure`.
        asked: How many requests came.
    """

    def __init__(self, directory: Path) -> None:
        self._key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
        numbers = self._key.public_key().public_numbers()
        self.keys = directory / "jwks.json"
        jwk = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "1", "n": _number(numbers.n), "e": _number(numbers.e)}
        self.keys.write_text(json.dumps({"keys": [jwk]}))
        self.authority = Authority.new(directory / "tokens-ca.pem")
        self._certificate = self.authority.issue("localhost", directory / "tokens.pem")
        self.secrets: dict[str, str] = {}
        self.seconds = 3600.0
        self.fails = 0
        self.failure: tuple[int, bytes] = (503, b"{}")
        self.asked = 0
        self._server: ThreadingHTTPServer | None = None

    @contextmanager
    def running(self) -> Generator[None]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._certificate)
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that hang up are none of its business
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        self._server = server
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
            self._server = None

    @property
    def endpoint(self) -> str:
        assert self._server is not None
        return f"https://localhost:{self._server.server_address[1]}/token"

    def credentials(self, client: str, **changes: Any) -> ClientCredentials:
        self.secrets.setdefault(client, f"secret of {client}/+%")
        given = {"secret": self.secrets[client], "authority": self.authority.file}
        return ClientCredentials(self.endpoint, client, **(given | changes))

    def token(self, subject: str, seconds: float | None = None) -> str:
        now = int(time.time())
        header = {"alg": "RS256", "kid": "1", "typ": "JWT"}
        claims = {"sub": subject, "aud": TOKEN_AUDIENCE, "iat": now, "exp": now + (seconds or self.seconds)}
        signed = f"{_encoded(json.dumps(header).encode())}.{_encoded(json.dumps(claims).encode())}"
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_encoded(signature)}"

    def answer(self, authorization: str, form: dict[str, list[str]]) -> tuple[int, bytes]:
        self.asked += 1
        if self.fails:
            self.fails -= 1
            return self.failure
        pair = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        client, _, secret = (
            parse_qs(f"v={part}")["v"][0] for part in (*pair.partition(":")[:1], "x", pair.partition(":")[2])
        )
        if form["grant_type"] != ["client_credentials"] or self.secrets.get(client) != secret:
            return 401, b'{"error": "invalid_client", "error_description": "the secret %s is wrong"}' % secret.encode()
        return 200, json.dumps({
            "access_token": self.token(client), "expires_in": self.seconds, "token_type": "Bearer",
        }).encode()  # fmt: skip


def _handler_of(server: TokenServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            status, body = server.answer(self.headers["Authorization"], form)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if status == 302:
                self.send_header("Location", "https://localhost:1/stolen")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
