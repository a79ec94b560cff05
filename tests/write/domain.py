"""A counter: the smallest domain that can reject, do nothing, fail, and emit several events."""

from __future__ import annotations

from eventstore import Aggregate, Command, CommandRejectedError, Event, decides, evolves


class Counted(Event, type="counter.counted"):
    by: int
    note: str = ""


class Count(Command):
    by: int = 1
    times: int = 1
    note: str = ""


class CountUpTo(Command):
    limit: int


class Fail(Command):
    pass


class Counter(Aggregate, category="counter"):
    total: int = 0

    @decides
    def count(self, command: Count) -> list[Counted]:
        return [Counted(by=command.by, note=command.note)] * command.times

    @decides
    def count_up_to(self, command: CountUpTo) -> Counted:
        if self.total >= command.limit:
            raise CommandRejectedError("the limit is reached", code="limit")
        return Counted(by=1)

    @decides
    def fail(self, command: Fail) -> None:
        raise ZeroDivisionError

    @evolves
    def counted(self, event: Counted) -> None:
        self.total += event.by


class Remembered(Aggregate, category="remembered", snapshot_every=5):
    total: int = 0

    @decides
    def count(self, command: Count) -> list[Counted]:
        return [Counted(by=command.by)] * command.times

    @evolves
    def counted(self, event: Counted) -> None:
        self.total += event.by
