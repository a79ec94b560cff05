"""A real MirrorMaker 2 that copies topics from one cluster to another, with the settings that the documentation names."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from eventstore.testing.kafka_config import write_log_config, write_properties
from eventstore.testing.kafka_installation import KafkaInstallation, find_installation, find_jars

PAGE = Path(__file__).parent.parent.parent / "docs/operations/moving.md"


def find_mirror_maker() -> KafkaInstallation:
    """Find its jars, which are fetched if this is the first time."""
    return KafkaInstallation(find_installation().java, find_jars("mirror-maker", "MirrorMaker 2", "connect-mirror"))


def shown_settings() -> dict[str, str]:
    """Give the settings on the page about moving, of which addresses and the prefix are examples."""
    (block,) = re.findall(r"```properties\n(.*?)```", PAGE.read_text(), re.DOTALL)
    lines = [line.strip().replace("\\\\", "\\") for line in block.splitlines()]
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@contextmanager
def mirroring(source: str, target: str, prefix: str) -> Generator[None]:
    """Copy the events topics of a prefix for as long as the block runs."""
    copies = ("offset-syncs.topic", "offset.storage", "status.storage", "config.storage")
    one_node: Mapping[str, str] = {f"{what}.replication.factor": "1" for what in copies}
    settings = {
        **{name: value.replace("shop", prefix) for name, value in shown_settings().items()},
        **one_node,
        "old.bootstrap.servers": source,
        "new.bootstrap.servers": target,
    }
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        write_properties(directory / "mm2.properties", settings)
        write_log_config(directory / "log4j2.properties", directory / "mm2.log")
        command = find_mirror_maker().command(
            "org.apache.kafka.connect.mirror.MirrorMaker",
            str(directory / "mm2.properties"),
            log_config=directory / "log4j2.properties",
        )
        with (
            (directory / "output").open("wb") as output,
            subprocess.Popen(command, stdout=output, stderr=output) as running,
        ):
            try:
                yield
            finally:
                running.kill()
