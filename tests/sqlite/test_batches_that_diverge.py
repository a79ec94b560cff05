"""A command may be decided on what an earlier command of its batch would write; if that one fails, so must it."""

from pathlib import Path

import pytest

from eventstore.ports import Appended, CommitOutcome, Conflicted, Duplicated, NewEvent, StreamCommit
from eventstore.sqlite import SqliteLog


def commit(name: int, expected_version: int, stream: str = "task-1") -> StreamCommit:
    event = NewEvent("task.created", 1, bytes([name]) * 16, 1, b"{}")
    return StreamCommit(stream, expected_version, bytes([name]) * 16, (event,))


@pytest.mark.parametrize(
    ("batch", "outcomes"),
    [
        ([commit(2, 0), commit(3, 1)], [Conflicted(1), Conflicted(1)]),
        ([commit(1, 0), commit(3, 1)], [Duplicated(), Conflicted(1)]),
        ([commit(2, 0), commit(1, 1)], [Conflicted(1), Duplicated()]),
        ([commit(2, 0), commit(3, 0, "task-2")], [Conflicted(1), Appended(3)]),
    ],
)
async def test_nothing_is_appended_behind_a_commit_of_the_same_stream_that_was_not(
    tmp_path: Path, batch: list[StreamCommit], outcomes: list[CommitOutcome]
) -> None:
    async with SqliteLog(tmp_path / "log.db") as log:
        await log.commit("0", [commit(1, 0)])

        assert await log.commit("0", batch) == outcomes
