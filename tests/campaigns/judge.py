"""What must be true of a log after anything at all happened to its writer."""

from __future__ import annotations

from collections import Counter as Tally
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from eventstore import SqliteLog
from eventstore.ports import StreamQuery

TYPED = {
    "LogUnavailableError",
    "AppendOutcomeUnknownError",
    "CorruptLogError",
    "ConfigurationError",
    "StoreClosedError",
}


@dataclass
class Evidence:
    """What writers said."""

    sent: dict[UUID, int] = field(default_factory=dict)
    done: set[UUID] = field(default_factory=set)
    rejected: set[UUID] = field(default_factory=set)
    errors: Tally[str] = field(default_factory=Tally)

    def hear(self, text: str) -> None:
        """Take a writer's lines; the last may be cut off."""
        for line in text.splitlines():
            match line.split():
                case ["sent", key, _, size]:
                    self.sent[UUID(key)] = int(size)
                case ["done", key] if len(key) == 36:
                    self.done.add(UUID(key))
                case ["rejected", key] if len(key) == 36:
                    self.rejected.add(UUID(key))
                case ["error" | "closed", _, kind]:
                    self.errors[kind] += 1
                case _:
                    pass


async def judge(path: Path, evidence: Evidence) -> int:
    """Check every promise and give the number of events in the log."""
    if not path.exists() or (path.stat().st_size == 0 and not evidence.done):
        assert not evidence.done
        return 0
    async with SqliteLog(path) as log:
        assert await log.check() == "ok"
        names = [found.stream for found in await log.list_streams("", "", 1_000)]
        streams = await log.read_streams([StreamQuery(name) for name in names])
    commands: dict[UUID, int] = {}
    for events in streams:
        assert [event.version for event in events] == list(range(1, len(events) + 1)), "versions are 1..n"
        for event in events:
            key = UUID(bytes=event.command_id)
            commands[key] = commands.get(key, 0) + 1
            assert event.command_index == commands[key], "a command's events follow each other"
    assert evidence.done <= commands.keys(), "an acknowledged command is missing"
    assert not evidence.rejected & commands.keys(), "a rejected command left events"
    for key, size in commands.items():
        assert evidence.sent.get(key) == size, "a command is there in part"
    assert evidence.errors.keys() <= TYPED, evidence.errors
    return sum(commands.values())
