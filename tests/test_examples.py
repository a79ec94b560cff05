"""The examples do what they say."""

from __future__ import annotations

import subprocess
import sys


def test_the_tour_shows_every_part_of_the_main_job() -> None:
    done = subprocess.run([sys.executable, "-m", "examples.task_domain"], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    for expected in (
        "task.created, version 1",
        "CommandRejectedError: the task is done already",
        "task-report was expected at version 3 but is at version 4",
        "executed once",
        "token 0@13 reached",
        "task.escalated on task-report",
        "2 x changed:title",
        "switched: True",
        "report   Write the whole report  ben       yes        no",
        "task_board     v2   13 of 13 events  complete",
    ):
        assert expected in done.stdout
