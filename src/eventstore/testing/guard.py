"""Servers that go away with the process that started them, however that ends."""

from __future__ import annotations

import subprocess
from pathlib import Path

# Its input is written to only by `release`. The end of it without a line means that the process which started the
# servers is gone, so everything that runs in the directory has to go too, and the directory unless it is to be kept.
_WATCH = """
read -r _ && exit
pids() {
    if [ -d /proc/self ]; then
        for cwd in /proc/[0-9]*/cwd; do
            case "$(readlink "$cwd")" in
            "$1" | "$1"/*) cwd=${cwd#/proc/} && echo "${cwd%/cwd}" ;;
            esac
        done
    else
        lsof -t -a -d cwd +D "$1"
    fi
}
eval "$3"
for pid in $(pids "$1"); do kill -KILL "$pid"; done
[ "$2" = keep ] || rm -rf "$1"
"""


class DirectoryGuard:
    """Nothing that runs in a directory outlives this process, even if it is ended by `kill -9`."""

    def __init__(self, directory: Path, *, keep: bool = False, farewell: str = "") -> None:
        """Watch from now on.

        Args:
            directory: The working directory of the servers, or the parent of their working directories.
            keep: Leave the directory itself alone.
            farewell: A shell command to run before everything is killed; `$1` is the directory.
        """
        self._watch = subprocess.Popen(  # noqa: S603 - a fixed script; the directory is an argument of it
            ["/bin/sh", "-c", _WATCH, "server-guard", str(directory), "keep" if keep else "remove", farewell],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )

    def release(self) -> None:
        """Stop watching, once there is nothing left to end; a second call does nothing."""
        if self._watch.poll() is None:
            self._watch.communicate(b"done\n")
