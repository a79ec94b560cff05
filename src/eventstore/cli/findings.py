"""What `doctor` and `topics check` found, as a table and an exit code."""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import Literal, NamedTuple

from eventstore.cli.failures import FoundProblemError
from eventstore.cli.output import Output


class Finding(NamedTuple):
    """One line of the report."""

    result: Literal["ok", "warn", "fail"]
    check: str
    found: str


class Limits(NamedTuple):
    """What is still fine.

    Attributes:
        free_bytes: So much room at least on each disk.
        skew_seconds: So many seconds at most between two clocks.
    """

    free_bytes: float
    skew_seconds: float


async def report(output: Output, findings: AsyncIterable[Finding]) -> None:
    """Print all findings.

    Raises:
        FoundProblemError: One of them is a failure.
    """
    all_of_them = [finding async for finding in findings]
    output.rows("findings", Finding._fields, [finding._asdict() for finding in all_of_them])
    if any(finding.result == "fail" for finding in all_of_them):
        raise FoundProblemError
