"""A few pages over HTTP in a thread of their own, for processes that serve nothing else: metrics and health."""

from __future__ import annotations

import socket
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import ClassVar, Final, NamedTuple

from eventstore.core.errors import ConfigurationError

_REQUEST_SECONDS: Final = 10.0


class Page(NamedTuple):
    """An answer.

    Attributes:
        status: Of HTTP.
        content_type: Of the body.
        body: What is shown.
    """

    status: int
    content_type: str
    body: bytes


@contextmanager
def endpoint(pages: Mapping[str, Callable[[], Page]], port: int, address: str = "127.0.0.1") -> Generator[int]:
    """Serve pages until the block ends; they are made in a thread of each request.

    Args:
        pages: By path.
        port: Where to listen; 0 for any free port.
        address: On which address; by default only this machine's.

    Yields:
        The port.

    Raises:
        ConfigurationError: The port cannot be listened on.
    """
    try:
        server = _server(pages, port, address)
    except OSError as cause:
        message = f"{', '.join(pages)} cannot be served at {address}:{port} ({cause}): choose another port or address"
        raise ConfigurationError(message) from cause
    thread = Thread(target=server.serve_forever, name="eventstore-endpoint", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _server(pages: Mapping[str, Callable[[], Page]], port: int, address: str) -> ThreadingHTTPServer:
    (family, *_, place), *_ = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)

    class Server(ThreadingHTTPServer):
        address_family = family
        daemon_threads = True
        block_on_close = False  # a request that hangs must not keep the process from ending

    return Server((str(place[0]), port), partial(_Handler, pages))


class _Handler(BaseHTTPRequestHandler):
    timeout: ClassVar[float | None] = _REQUEST_SECONDS
    server_version = "eventstore"
    sys_version = ""

    def __init__(self, pages: Mapping[str, Callable[[], Page]], *arguments: object) -> None:
        self._pages = pages
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Answer with the page, or say which ones there are."""
        make = self._pages.get(self.path.partition("?")[0])
        known = f"there is {', '.join(self._pages)}\n".encode()
        page = Page(404, "text/plain; charset=utf-8", known) if make is None else make()
        self.send_response(page.status)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(page.body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(page.body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class names it
        """Say nothing: probes come every few seconds."""
