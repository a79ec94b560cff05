"""Where streams stand, and which commits of a batch may be appended: what the index would say, without asking it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from eventstore.core.records import StoredEvent
from eventstore.ports import Appended, CommitOutcome, Conflicted, Duplicated, StreamCommit

_MOST: Final = 200_000


class Heads:
    """The versions of the streams written or asked for lately; exact, since nobody else writes to the partition."""

    def __init__(self) -> None:
        self._versions: Final[OrderedDict[str, int]] = OrderedDict()
        self._ends: Final[OrderedDict[str, int]] = OrderedDict()
        self._commands: Final[dict[bytes, Sequence[StoredEvent]]] = {}
        self.forgotten = 0

    def get(self, stream: str) -> int | None:
        """Give a stream's version, or None if the index has to be asked."""
        return self._versions.get(stream)

    def stands_at(self, stream: str, version: int) -> bool:
        """Tell whether a stream is known to have nothing after a version."""
        known = self._versions.get(stream)
        return known is not None and known <= version

    def learn(self, versions: Mapping[str, int], forgotten: int) -> None:
        """Take over what the index said about streams that nothing is known of.

        Args:
            versions: What it said.
            forgotten: The attribute's value before it was asked. If anything was forgotten since, the answer may be
                older than what was forgotten, and is not used.
        """
        if forgotten == self.forgotten:
            for stream, version in versions.items():
                self._versions.setdefault(stream, version)
            self._bound()

    def moved(self, events: Sequence[StoredEvent]) -> None:
        """Note that a command's events were appended; the index does not have them yet."""
        last = events[-1]
        self._versions[last.stream] = last.version
        self._versions.move_to_end(last.stream)
        self._ends[last.stream] = last.offset + 1
        self._ends.move_to_end(last.stream)
        self._commands[last.command_id] = events

    def recent(self, command_ids: Sequence[bytes]) -> dict[bytes, Sequence[StoredEvent]]:
        """Give the events of commands that the index may not have yet."""
        return {key: self._commands[key] for key in command_ids if key in self._commands}

    def behind_until(self, streams: Sequence[str]) -> int:
        """Give the offset that the index must have reached to be complete for some streams; 0 if it is."""
        ends = self._ends
        return max((ends.get(stream, 0) for stream in streams), default=0) if ends else 0

    def forget_before(self, position: int) -> None:
        """Forget what is in the index: the ends are in order of the log."""
        while self._ends:
            stream, end = next(iter(self._ends.items()))
            if end > position:
                break
            del self._ends[stream]
        while self._commands:
            key, events = next(iter(self._commands.items()))
            if events[-1].offset >= position:
                break
            del self._commands[key]
        self._bound()

    def clear(self) -> None:
        """Know nothing any more."""
        self.forgotten += 1
        self._versions.clear()
        self._ends.clear()
        self._commands.clear()

    def _bound(self) -> None:
        while len(self._versions) > _MOST:
            stream = next(iter(self._versions))
            if stream in self._ends:  # the index would give an outdated answer
                break
            del self._versions[stream]
            self.forgotten += 1


def arbitrate(
    commits: Sequence[StreamCommit], versions: Mapping[str, int], known: Collection[bytes]
) -> tuple[list[CommitOutcome], list[tuple[int, StreamCommit]]]:
    """Decide what becomes of each commit of a batch.

    Args:
        commits: The batch.
        versions: Where the streams stand.
        known: Command ids that are in the log already.

    Returns:
        The outcomes, and the commits to append with their places among the outcomes.
    """
    now = dict(versions)
    # A later command of the batch was decided on what an earlier one of its stream would have written.
    diverged: set[str] = set()
    seen: set[bytes] = set()
    outcomes: list[CommitOutcome] = []
    accepted: list[tuple[int, StreamCommit]] = []
    for position, commit in enumerate(commits):
        stream, actual = commit.stream, now[commit.stream]
        if commit.command_id in known or commit.command_id in seen:
            diverged.add(stream)
            outcomes.append(Duplicated())
        elif actual != commit.expected_version or stream in diverged:
            diverged.add(stream)
            outcomes.append(Conflicted(actual))
        else:
            outcomes.append(Appended(0))
            if commit.events:
                now[stream] = actual + len(commit.events)
                seen.add(commit.command_id)
                accepted.append((position, commit))
    return outcomes, accepted
