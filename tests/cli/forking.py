"""Runs the command line many times: one process has imported it, and forks a child for each run.

A child is what a shell starts: file descriptors, signals and the end of the interpreter are its own. It only does not
import everything again, which would take most of the time.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, NoReturn


class Ended(NamedTuple):
    """What a run left behind."""

    code: int
    out: str
    err: str


class Forks:
    """Asks the process that forks."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        directory: Path,
        given: str = "",
        *,
        stop: bool = False,
        deaf: bool = False,
    ) -> Ended:
        """Run the command line in a pipe.

        Args:
            arguments: Of the command line.
            environment: Changes of the environment.
            directory: Where.
            given: The standard input.
            stop: It runs until it is told to stop, so it is.
            deaf: Whoever was to read its output is gone before it begins.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        job = {"arguments": [*arguments], "environment": {**environment}, "directory": f"{directory}"}
        print(json.dumps({**job, "given": given, "stop": stop, "deaf": deaf}), file=self._process.stdin, flush=True)
        return Ended(*json.loads(self._process.stdout.readline()))


@contextmanager
def forking() -> Generator[Forks]:
    """Start the process that forks."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.cli.forking"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Forks(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()


def main() -> None:
    import examples.task_domain.app  # noqa: F401

    gc.freeze()  # children share what is there already
    for line in sys.stdin:
        job = json.loads(line)
        with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as given:
            given.write(job["given"].encode())
            given.seek(0)
            reading, writing = os.pipe()
            if job["deaf"]:
                os.close(reading)
            pid = os.fork()
            if pid == 0:
                for source, target in ((given.fileno(), 0), (writing, 1), (errors.fileno(), 2)):
                    os.dup2(source, target)
                _child(job)
            os.close(writing)
            if job["stop"]:
                _stop(pid)
            out = b"" if job["deaf"] else _read(reading)
            _, status = os.waitpid(pid, 0)
            errors.seek(0)
            code = os.waitstatus_to_exitcode(status)
            print(json.dumps([code, out.decode(), errors.read().decode()]), flush=True)


def _child(job: Mapping[str, Any]) -> NoReturn:
    from eventstore.cli.app import run

    # As at the start of an interpreter: nothing is kept of what was read for the next job.
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    os.environ.update(job["environment"])
    os.chdir(job["directory"])
    sys.argv = ["eventstore", *job["arguments"]]
    try:
        run()
    except SystemExit:
        raise
    except BaseException:  # noqa: BLE001 - what the interpreter does
        traceback.print_exc()
        sys.exit(1)
    sys.exit(0)


def _read(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as pipe:
        return pipe.read()


def _stop(pid: int) -> None:
    """Tell a process to stop as soon as it listens to that."""
    wanted = 1 << (signal.SIGTERM - 1)
    while True:
        status = Path(f"/proc/{pid}/status").read_text()
        if "\nState:\tZ" in status:
            return
        caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
        if int(caught.split()[1], 16) & wanted:
            os.kill(pid, signal.SIGTERM)
            return
        time.sleep(0.01)


if __name__ == "__main__":
    main()
