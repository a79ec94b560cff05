"""What `make demo-kafka` needs around the tour: a broker, and three worker processes of the application."""

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from eventstore.kafka import KafkaLog, KafkaOptions
from eventstore.testing.kafka import kafka_server

WORKERS = 3


@dataclass(frozen=True)
class Workers:
    """Three processes on one broker."""

    bootstrap: str
    pids: list[int]
    log: KafkaLog


@contextmanager
def three_workers(directory: Path) -> Generator[Workers]:
    with kafka_server() as bootstrap, ExitStack() as processes:
        environment = {
            **os.environ,
            "EVENTSTORE_BOOTSTRAP": bootstrap,
            "EVENTSTORE_DIRECTORY": str(directory),
            "EVENTSTORE_PARTITIONS": "4",
        }
        notes = processes.enter_context((directory / "workers.log").open("w"))
        pids = [processes.enter_context(_worker(environment, notes)) for _ in range(WORKERS)]
        options = KafkaOptions(partitions=4, directory=directory)
        yield Workers(bootstrap, pids, KafkaLog(bootstrap, prefix="tasks", options=options))


@contextmanager
def _worker(environment: dict[str, str], notes: TextIO) -> Generator[int]:
    command = [sys.executable, "-m", "eventstore.cli", "--app", "examples.task_domain.app:store", "worker"]
    with subprocess.Popen(command, env=environment, stdout=notes, stderr=notes) as process:
        try:
            yield process.pid
        finally:
            process.send_signal(signal.SIGTERM)
