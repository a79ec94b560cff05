"""Fourteen years of a real repository as commands: `python -m benchmarks.history --input kafka-history.jsonl.gz`.

Every file change becomes a command to the `file` aggregate of its path, a rename one to each of two. The rejected
commands, the final states and the counters per author and per folder must equal what a few lines of plain Python
compute, and still do after a rebuild to a changed projection while further commands are written.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from eventstore import (
    Aggregate,
    Command,
    CommandRejectedError,
    Event,
    EventStore,
    Projection,
    Recorded,
    Row,
    Settings,
    SqliteLog,
    decides,
    evolves,
    projects,
)

IN_FLIGHT = 500
FURTHER = 5_000


class FileAdded(Event, type="file.added"):
    path: str
    author: str


class FileModified(Event, type="file.modified"):
    path: str
    author: str


class FileDeleted(Event, type="file.deleted"):
    path: str
    author: str


class Add(Command):
    path: str
    author: str


class Modify(Command):
    path: str
    author: str


class Delete(Command):
    path: str
    author: str


class File(Aggregate, category="file"):
    there: bool = False
    changes: int = 0

    @decides
    def add(self, command: Add) -> FileAdded:
        if self.there:
            raise CommandRejectedError("the file is there already")
        return FileAdded(path=command.path, author=command.author)

    @decides
    def modify(self, command: Modify) -> FileModified:
        self._must_be_there()
        return FileModified(path=command.path, author=command.author)

    @decides
    def delete(self, command: Delete) -> FileDeleted:
        self._must_be_there()
        return FileDeleted(path=command.path, author=command.author)

    @evolves
    def added(self, event: FileAdded) -> None:
        self.there = True
        self.changes += 1

    @evolves
    def modified(self, event: FileModified) -> None:
        self.changes += 1

    @evolves
    def deleted(self, event: FileDeleted) -> None:
        self.there = False
        self.changes += 1

    def _must_be_there(self) -> None:
        if not self.there:
            raise CommandRejectedError("there is no such file")


class AuthorRow(Row):
    author: str
    changes: int = 0


class Authors(Projection[AuthorRow], name="authors", version=1, key="author"):
    @projects(key="author")
    def changed(self, row: AuthorRow | None, event: FileAdded | FileModified | FileDeleted, at: Recorded) -> AuthorRow:
        row = row or AuthorRow(author=event.author)
        row.changes += 1
        return row


class RicherAuthorRow(AuthorRow):
    added: int = 0


class RicherAuthors(Projection[RicherAuthorRow], name="authors", version=2, key="author"):
    @projects(key="author")
    def changed(
        self, row: RicherAuthorRow | None, event: FileAdded | FileModified | FileDeleted, at: Recorded
    ) -> RicherAuthorRow:
        row = row or RicherAuthorRow(author=event.author)
        row.changes += 1
        row.added += isinstance(event, FileAdded)
        return row


class FolderRow(Row):
    folder: str
    files: int = 0
    changes: int = 0


def folder_of(path: str) -> str:
    """Give the topmost folder."""
    return path.partition("/")[0] if "/" in path else "."


class Folders(Projection[FolderRow], name="folders", version=1, key="folder"):
    @projects(key=lambda event, at: folder_of(event.path))
    def changed(self, row: FolderRow | None, event: FileAdded | FileModified | FileDeleted, at: Recorded) -> FolderRow:
        row = row or FolderRow(folder=folder_of(event.path))
        row.files += isinstance(event, FileAdded)
        row.files -= isinstance(event, FileDeleted)
        row.changes += 1
        return row


class Expected:
    """The same history in plain Python, without any of the above."""

    def __init__(self) -> None:
        self.there: dict[str, bool] = {}
        self.changes: Counter[str] = Counter()
        self.rejected: list[int] = []
        self.authors: Counter[str] = Counter()
        self.folder_changes: Counter[str] = Counter()
        self.folder_files: Counter[str] = Counter()

    def take(self, number: int, command: Add | Modify | Delete) -> None:
        """Apply a command, or note that it is to be rejected."""
        path, wants_there = command.path, not isinstance(command, Add)
        if self.there.get(path, False) != wants_there:
            self.rejected.append(number)
            return
        folder = path.split("/")[0] if "/" in path else "."
        self.changes[path] += 1
        self.authors[command.author] += 1
        self.folder_changes[folder] += 1
        if isinstance(command, Add):
            self.folder_files[folder] += 1
        if isinstance(command, Delete):
            self.folder_files[folder] -= 1
        if not isinstance(command, Modify):
            self.there[path] = isinstance(command, Add)


class Sent(NamedTuple):
    """What became of the commands."""

    rejected: list[int]
    seconds: float


def commands_of(source: Path) -> Iterator[Add | Modify | Delete]:
    """Read the history."""
    kinds: dict[str, type[Add | Modify | Delete]] = {"added": Add, "modified": Modify, "deleted": Delete}
    with gzip.open(source, "rt", encoding="utf-8") as lines:
        for line in lines:
            change = json.loads(line)
            if change["action"] == "renamed":
                yield Delete(path=change["from"], author=change["author"])
                yield Add(path=change["path"], author=change["author"])
            else:
                yield kinds[change["action"]](path=change["path"], author=change["author"])


def id_of(path: str) -> str:
    """Give the aggregate's id: paths are longer and freer than ids may be."""
    return blake2b(path.encode(), digest_size=16).hexdigest()


async def send(store: EventStore, commands: Iterator[Add | Modify | Delete], first: int = 0) -> Sent:
    """Execute commands in their order, many in flight."""
    rejected: list[int] = []
    started, number = time.perf_counter(), first
    while chunk := [*islice(commands, IN_FLIGHT)]:
        answers = await asyncio.gather(
            *(store.execute(File, id_of(command.path), command) for command in chunk), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, CommandRejectedError):
                rejected.append(number)
            elif isinstance(answer, BaseException):
                raise answer
            number += 1
    return Sent(rejected, time.perf_counter() - started)


async def check(store: EventStore, expected: Expected, authors: Any) -> None:
    """Compare everything with the plain computation."""
    token = await store.present()
    for projection in (authors, Folders):
        await store.wait_for(projection, token, timeout=600)
    found = {row.author: row.changes for row in await store.read_model(authors).all(limit=100_000)}
    assert found == dict(expected.authors), "counters per author"
    folders = await store.read_model(Folders).all(limit=100_000)
    assert {row.folder: row.changes for row in folders} == dict(expected.folder_changes), "changes per folder"
    assert {row.folder: row.files for row in folders} == {f: expected.folder_files[f] for f in expected.folder_changes}
    for path, changes in expected.changes.items():
        file = await store.load(File, id_of(path))
        assert (file.changes, file.there) == (changes, expected.there[path]), path
    assert all(result.clean for result in await store.audit()), "audit"


async def run(source: Path, directory: Path) -> dict[str, Any]:
    """Write the history, check it, rebuild while more is written, and check again."""
    expected = Expected()
    for number, command in enumerate(commands_of(source)):
        expected.take(number, command)
    total = number + 1
    log = SqliteLog(directory / "files.db")
    old = EventStore(log, aggregates=[File], projections=[Authors, Folders])
    async with old as store:
        sent = await send(store, commands_of(source))
        assert sent.rejected == expected.rejected, "other commands were rejected"
        began = time.perf_counter()
        await check(store, expected, Authors)
        checked = time.perf_counter() - began
        further = [
            Modify(path=path, author=f"later-{n % 7}") for n, path in enumerate(islice(expected.changes, FURTHER))
        ]
        for n, command in enumerate(further):
            expected.take(total + n, command)
        new = EventStore(
            SqliteLog(directory / "files.db"), aggregates=[File], projections=[RicherAuthors], settings=Settings()
        )
        async with new, asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(send(store, iter(further), total))
            rebuilt = await new.rebuild(RicherAuthors)
            later = await writing
            assert rebuilt.switched, rebuilt.comparisons
    async with EventStore(log, aggregates=[File], projections=[RicherAuthors, Folders]) as store:
        await check(store, expected, RicherAuthors)
    assert [*sent.rejected, *later.rejected] == expected.rejected
    return {
        "commands": total,
        "rejected": len(sent.rejected),
        "commands_per_second_with_two_read_models": round(total / sent.seconds),
        "seconds_to_check_everything": round(checked, 1),
        "commands_during_the_rebuild": len(further),
        "rebuilt_events": rebuilt.events,
        "rebuilt_events_per_second_meanwhile": round(rebuilt.events / rebuilt.seconds),
        "files": len(expected.changes),
        "authors": len(expected.authors),
        "equal_to_plain_python": True,
    }


def main() -> int:
    """Run and print the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history", description=__doc__)
    parser.add_argument("--input", type=Path, required=True, help="kafka-history.jsonl.gz")
    source: Path = parser.parse_args().input
    if not source.exists():
        print(f"{source} is not there: the data is not part of the repository", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as directory:
        print(json.dumps(asyncio.run(run(source, Path(directory))), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
