"""Servers from Maven Central, fetched once and kept between runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from eventstore.core.errors import ConfigurationError, StoreUnavailableError

_DOWNLOAD_SECONDS: Final = 600.0
_POM: Final = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>eventstore</groupId>
  <artifactId>servers-for-tests</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
{dependencies}  </dependencies>
</project>
"""
_DEPENDENCY: Final = """\
    <dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>
"""


def cache_directory() -> Path:
    """Give the directory for downloads: `EVENTSTORE_CACHE`, or `eventstore` in the user's cache directory."""
    if named := os.environ.get("EVENTSTORE_CACHE"):
        return Path(named).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eventstore"


def fetch(target: Path, what: str, artifact: str) -> None:
    """Fill a directory with an artifact; an archive is unpacked.

    Args:
        target: Appears only when it is complete; left alone if it is there.
        what: What is fetched, for messages.
        artifact: `group:artifact:version`, with type and classifier if it has them.

    Raises:
        ConfigurationError: Maven is missing.
        StoreUnavailableError: Maven could not fetch it; says what it printed.
    """
    _fill(target, what, ["dependency:copy", f"-Dartifact={artifact}"])


def fetch_jars(target: Path, what: str, artifacts: Sequence[str]) -> None:
    """Fill a directory with artifacts and everything that they need to run.

    Args:
        target: Appears only when it is complete; left alone if it is there.
        what: What is fetched, for messages.
        artifacts: Each `group:artifact:version`; where two need different versions of something, the first one's counts.

    Raises:
        ConfigurationError: Maven is missing.
        StoreUnavailableError: Maven could not fetch them; says what it printed.
    """
    dependencies = "".join(_DEPENDENCY.format(*artifact.split(":")) for artifact in artifacts)
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime"]
    _fill(target, what, goal, _POM.format(dependencies=dependencies))


def _fill(target: Path, what: str, goal: Sequence[str], pom: str | None = None) -> None:
    if target.is_dir():
        return
    maven = shutil.which("mvn")
    if maven is None:
        message = f"{target} does not exist yet and there is no mvn on the path to fill it with {what}: install Maven"
        raise ConfigurationError(message)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{target.name}-", dir=target.parent) as scratch:
        if pom is not None:
            (Path(scratch) / "pom.xml").write_text(pom)
        _run([maven, "--quiet", "--batch-mode", *goal, "-DoutputDirectory=fetched"], scratch, what)
        fetched = Path(scratch) / "fetched"
        for archive in fetched.glob("*.tar.gz"):
            with tarfile.open(archive) as packed:
                packed.extractall(fetched, filter="data")
            archive.unlink()
        # Another process may have been faster; its files are as good as these.
        with suppress(OSError):
            fetched.rename(target)
    if not target.is_dir():
        message = f"Maven fetched {what}, but it could not be moved to {target}"
        raise StoreUnavailableError(message)


def _run(command: Sequence[str], directory: str, what: str) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - Maven from the path, with arguments of this package
            command, cwd=directory, capture_output=True, text=True, check=False, timeout=_DOWNLOAD_SECONDS
        )
    except subprocess.TimeoutExpired as cause:
        message = f"Maven did not fetch {what} within {_DOWNLOAD_SECONDS:.0f} s"
        raise StoreUnavailableError(message) from cause
    if done.returncode != 0:
        message = f"Maven could not fetch {what}; it printed:\n{done.stdout[-2000:]}"
        raise StoreUnavailableError(message)
