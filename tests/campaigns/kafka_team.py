"""Several processes of one Kafka event store under load, to be killed, paused and replaced."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import UUID, uuid4

from tests.campaigns.kafka_judge import Evidence, Written, read_events, violations
from tests.campaigns.kafka_member import JUMPS

PARTITIONS = 4
POLL_SECONDS = 0.02


@dataclass
class Load:
    """How hard the members work, and how soon their death is noticed."""

    members: int = 3
    callers: int = 12
    session_seconds: float = 2.0


@dataclass(eq=False)
class Running:
    """One process."""

    process: asyncio.subprocess.Process
    name: str | None
    log: Path
    heard: asyncio.Task[None] | None = None
    opened: bool = False
    closed: bool = False
    gave_up: bool = False
    acked_sent_at: int = 0
    serves: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class Healing:
    """After a fault: when each partition first acknowledged a command that was sent after it."""

    since: int = field(default_factory=time.monotonic_ns)
    acks: dict[str, int] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        return (max(self.acks.values()) - self.since) / 1e9


class Team:
    """Members on one prefix, and what they said; ends them all when left."""

    module = "tests.campaigns.kafka_member"

    def __init__(self, bootstrap: str, directory: Path, load: Load) -> None:
        self.seed = int(os.environ.get("SEED", random.randrange(2**32)))
        self.chance = random.Random(self.seed)
        self.bootstrap = bootstrap
        self.directory = directory
        self.load = load
        self.prefix = f"c{uuid4().hex[:10]}"
        self.evidence = Evidence()
        self.members: list[Running] = []
        self.healing = Healing()
        self.healed: list[float] = []
        self.python = sys.executable
        self._started = 0

    async def __aenter__(self) -> Self:
        print(f"seed {self.seed}, {self.directory}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for member in self.members:
            await self.kill(member)

    async def start(self, names: Sequence[str | None] = (), first_over: str | None = None) -> None:
        """Start all members; each serves some partitions, and every partition acknowledges, when this returns.

        Args:
            names: For static members.
            first_over: Where the first one reaches the brokers, if it is not where the others do.
        """
        self.healing = Healing()
        for number, name in enumerate(names or [None] * self.load.members):
            await self.join(name, None if number else first_over)
        await self._wait(lambda: all(m.serves and m.serves[-1][1] for m in self.members), 40, "not all serve")
        await self.heal(40)
        self.healed.clear()

    async def join(self, name: str | None = None, over: str | None = None) -> Running:
        """Start a member; it opens and works by itself."""
        self._started += 1
        settings = {
            "bootstrap": over or self.bootstrap, "prefix": self.prefix, "partitions": PARTITIONS,
            "directory": str(self.directory / "index"), "session_seconds": self.load.session_seconds,
            "member": name, "callers": self.load.callers, "seed": self.chance.random(),
        }  # fmt: skip
        path = self.directory / f"member-{self._started}.log"
        with path.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                self.python, "-m", self.module, json.dumps(settings),
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=log,
            )  # fmt: skip
        member = Running(process, name, path)
        member.heard = asyncio.create_task(self._hear(member))
        self.members.append(member)
        return member

    async def kill(self, member: Running) -> None:
        """End it at once; everything it said has been heard when this returns."""
        self.members = [other for other in self.members if other is not member]
        if member.process.returncode is None:
            member.process.kill()
        assert member.heard is not None
        await member.heard

    def jump(self, member: Running, jump: str) -> None:
        """Let a member's clock jump; one that is stopped finds so when it goes on."""
        member.process.send_signal(signal.SIGRTMIN + [*JUMPS].index(jump))

    async def stop(self, member: Running) -> None:
        """Ask it to stop once it works; fails if it does not end, or not in order."""
        await self.opened(member)
        member.process.send_signal(signal.SIGTERM)
        assert member.heard is not None
        async with asyncio.timeout(45):
            await asyncio.shield(member.heard)
        await self.kill(member)
        assert member.closed, f"a member ended with {member.process.returncode}: {member.log.read_text()[-3_000:]}"

    async def stop_all(self) -> None:
        await asyncio.gather(*map(self.stop, list(self.members)))

    async def opened(self, member: Running) -> None:
        await self._wait(lambda: member.opened, 40, "a member does not open")

    async def owner(self, seconds: float) -> Running:
        """Choose a member that owns partitions, once another one does, too: without a survivor nothing heals."""

        def owners() -> list[Running]:
            return [member for member in self.members if member.serves and member.serves[-1][1]]

        await self._wait(lambda: len(owners()) > 1, seconds, "less than two members serve")
        return self.chance.choice(owners())

    async def heal(self, seconds: float) -> None:
        """Return when every partition has acknowledged a command that was sent after `healing` began."""
        await self._wait(lambda: len(self.healing.acks) == PARTITIONS, seconds, "a partition does not acknowledge")
        self.healed.append(self.healing.seconds)

    async def _wait(self, holds: Callable[[], bool], seconds: float, otherwise: str) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not holds():
                    self._check()
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            served = {member.process.pid: member.serves[-3:] for member in self.members}
            found = f"{otherwise} {seconds} s after the fault; acknowledging: {self.healing.acks.keys()}, {served}"
            raise AssertionError(found) from None

    async def acknowledges(self, member: Running, seconds: float) -> None:
        """Return when a member is answered a command that it sent from now on."""
        since = time.monotonic_ns()
        await self._wait(lambda: member.acked_sent_at >= since, seconds, "a member's commands are not answered")

    async def gives_up(self, member: Running, seconds: float) -> None:
        """Return when a member's callers are told that it can no longer be used."""
        await self._wait(lambda: member.gave_up, seconds, "a member does not give up")

    async def serves(self, member: Running, seconds: float) -> None:
        """Return when a member owns some partition: only then is there anything to depose."""
        await self._wait(lambda: bool(member.serves and member.serves[-1][1]), seconds, "a member owns nothing")

    async def serves_again(self, member: Running, since: int, seconds: float) -> None:
        """Return when a member has given up all partitions after a moment, and serves some again."""

        def again() -> bool:
            changes = [owned for at, owned in member.serves if at >= since]
            return 0 in changes and changes[-1] > 0

        await self._wait(again, seconds, "a member does not serve again")

    def _check(self) -> None:
        for member in self.members:
            if member.process.returncode is not None:
                found = f"a member ended by itself: {member.log.read_text()[-3_000:]}"
                raise AssertionError(found)

    def heard(self, member: Running, text: str) -> None:
        """Take a line of a member's; for teams whose members say more."""

    async def _hear(self, member: Running) -> None:
        assert member.process.stdout is not None
        async for line in member.process.stdout:
            text = line.decode()
            if not text.endswith("\n"):
                break
            self.evidence.hear(text)
            self.heard(member, text)
            match text.split():
                case ["opened"]:
                    member.opened = True
                case ["serves", at, owned]:
                    member.serves.append((int(at), int(owned)))
                case ["broken", *_] if "StoreClosedError" in text:
                    member.gave_up = True
                case ["closed"]:
                    member.closed = True
                case ["done", key, at, _, partition]:
                    sent_at = self.evidence.sent[UUID(key)].at
                    member.acked_sent_at = max(member.acked_sent_at, sent_at)
                    if sent_at > self.healing.since:
                        self.healing.acks.setdefault(partition, int(at))
                case _:
                    pass
        await member.process.wait()

    async def judge(self) -> Written:
        """Check every promise and give what the log holds."""
        written = await asyncio.to_thread(read_events, self.bootstrap, f"{self.prefix}.counter.events")
        broken = violations(written, self.evidence)
        assert not broken, f"{len(broken)} violations, seed {self.seed}, {self.directory}:\n" + "\n".join(broken[:20])
        return written

    def result(self, written: Written) -> str:
        """Say what happened, in a line."""
        times = sorted(self.healed)
        healing = f"healing p50 {times[len(times) // 2]:.1f} s, max {times[-1]:.1f} s" if times else "no fault"
        return (
            f"{len(self.evidence.acks):,} acknowledged of {len(self.evidence.sent):,} commands, "
            f"{len(written.valid):,} events, {len(written.void)} void, {len(self.evidence.loads):,} loads, "
            f"{sum(map(len, written.claims.values())):,} claims, {healing}, "
            f"retried {dict(self.evidence.errors)}, 0 violations"
        )
