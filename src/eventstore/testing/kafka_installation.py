"""Apache Kafka's jars, fetched from Maven Central once and kept between runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from eventstore.core.errors import ConfigurationError
from eventstore.testing.maven import cache_directory, fetch_jars

KAFKA_VERSION: Final = "4.3.1"
_LOG4J: Final = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4"
_LEAST_JAVA: Final = 17


@dataclass(frozen=True, slots=True)
class KafkaInstallation:
    """What it takes to run a broker.

    Attributes:
        java: The `java` program, version 17 or newer.
        jars: A directory with Kafka's jars, shared and never changed.
        options: Further ones of the Java machine.
    """

    java: Path
    jars: Path
    options: tuple[str, ...] = ()

    def command(self, main_class: str, *arguments: str, log_config: Path) -> list[str]:
        """Give the command line that runs one of Kafka's programs.

        Args:
            main_class: For example `kafka.Kafka`.
            arguments: Its arguments.
            log_config: A log4j2 configuration.
        """
        # Most of a short-lived broker's time is its start, which is half as long with the simplest compiler.
        machine = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true"]
        logs = f"-Dlog4j2.configurationFile={log_config}"
        return [str(self.java), *machine, *self.options, logs, "-cp", f"{self.jars}/*", main_class, *arguments]


def find_installation() -> KafkaInstallation:
    """Find Java and Kafka's jars, which are fetched if this is the first time.

    Raises:
        ConfigurationError: Java, Maven or the client is missing; says what to install.
        StoreUnavailableError: Maven could not fetch the jars; says what it printed.
    """
    require_client()
    java = _find_java()
    target = _directory("kafka")
    if not target.is_dir() and shutil.which("mvn") is None:
        raise ConfigurationError(_missing(f"{target} does not exist yet and there is no mvn on the path to fill it"))
    return KafkaInstallation(java, find_jars("kafka", "Apache Kafka", "kafka_2.13"))


def find_jars(name: str, what: str, *artifacts: str) -> Path:
    """Find the directory with the jars of one of Kafka's programs, which are fetched if this is the first time.

    Args:
        name: Of the directory.
        what: What the program is called, for messages.
        artifacts: Of Kafka's own, in its version.

    Raises:
        ConfigurationError: Maven is missing.
        StoreUnavailableError: Maven could not fetch the jars; says what it printed.
    """
    own = [f"org.apache.kafka:{artifact}:{KAFKA_VERSION}" for artifact in artifacts]
    fetch_jars(_directory(name), what, [*own, _LOG4J])
    return _directory(name)


def _directory(name: str) -> Path:
    return cache_directory() / f"{name}-{KAFKA_VERSION}"


def require_client() -> None:
    """Make sure that the client is installed, which is asked whether a broker is ready.

    Raises:
        ConfigurationError: It is not; says what to install.
    """
    if find_spec("confluent_kafka") is None:
        raise ConfigurationError("tests against Kafka need its client: pip install 'eventstore[kafka]'")


def _find_java() -> Path:
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin") if home else None
    found = found or shutil.which("java")
    if found is None:
        raise ConfigurationError(_missing("there is no java on the path"))
    printed = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', printed)
    if version is None or int(version[1]) < _LEAST_JAVA:
        raise ConfigurationError(_missing(f"{found} is too old ({printed.partition(chr(10))[0]})"))
    return Path(found)


def _missing(what: str) -> str:
    return (
        f"there is no Apache Kafka to run tests against: {what}. Install Java {_LEAST_JAVA} or newer and Maven; "
        "tests that need only an address can also use Docker, or the broker named in KAFKA_BOOTSTRAP"
    )
