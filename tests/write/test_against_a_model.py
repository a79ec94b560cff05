"""A store and twenty lines of plain Python get the same random orders, and must give the same answers."""

from __future__ import annotations

import asyncio
import time
from collections import Counter as Tally
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from eventstore import (
    NEW,
    Aggregate,
    AppendOutcomeUnknownError,
    Command,
    CommandRejectedError,
    Event,
    EventStore,
    Projection,
    Recorded,
    Row,
    Settings,
    SqliteLog,
    Token,
    WrongExpectedVersionError,
    decides,
    evolves,
    projects,
)
from eventstore.core.errors import InvalidIdError, LogUnavailableError
from eventstore.environment import Environment
from eventstore.ports import EventLog
from eventstore.testing.clock import ManualClock
from eventstore.testing.faults import FaultyLog
from eventstore.testing.memory import MemoryLog


class Paid(Event, type="till.paid"):
    payer: str
    amount: int


class Pay(Command):
    payer: str
    amounts: tuple[int, ...]


class Till(Aggregate, category="till", snapshot_every=4):
    balance: int = 0

    @decides
    def pay(self, command: Pay) -> list[Paid]:
        if self.balance + sum(command.amounts) < 0:
            raise CommandRejectedError("there is not so much in the till")
        return [Paid(payer=command.payer, amount=amount) for amount in command.amounts]

    @evolves
    def paid(self, event: Paid) -> None:
        self.balance += event.amount


class BalanceRow(Row):
    till: str
    balance: int


class Balances(Projection[BalanceRow], name="balances", version=1, key="till"):
    """One row per till, none while it is empty."""

    @projects
    def paid(self, row: BalanceRow | None, event: Paid, at: Recorded) -> BalanceRow | None:
        balance = (row.balance if row else 0) + event.amount
        return BalanceRow(till=at.stream.id, balance=balance) if balance else None


class PayerRow(Row):
    payer: str
    payments: int = 0


class Payers(Projection[PayerRow], name="payers", version=1, key="payer"):
    """One row per payer, shared by all tills."""

    @projects(key="payer")
    def paid(self, row: PayerRow | None, event: Paid, at: Recorded) -> PayerRow:
        row = row or PayerRow(payer=event.payer)
        row.payments += 1
        return row


class Order(NamedTuple):
    till: str
    command: Pay
    key: UUID | None
    expected: int | None


class Fact(NamedTuple):
    payer: str
    amount: int
    occurred_at: datetime


@dataclass
class Model:
    """What a store promises, without a log, a cache, a batch or a second process."""

    tills: dict[str, list[Fact]] = field(default_factory=dict)
    answers: dict[UUID, tuple[str, tuple[Any, ...]]] = field(default_factory=dict)

    def execute(self, order: Order, now: datetime) -> tuple[Any, ...]:
        till, (payer, amounts) = order.till, (order.command.payer, order.command.amounts)
        if order.key in self.answers:
            first_till, first = self.answers[order.key]
            return first if first_till == till else ("misused",)
        facts = self.tills.setdefault(till, [])
        if order.expected not in (None, len(facts)):
            return ("conflict", order.expected, len(facts))
        if self.balance(till) + sum(amounts) < 0:
            return ("rejected",)
        facts.extend(Fact(payer, amount, now) for amount in amounts)
        answer = ("done", len(facts), tuple((payer, amount) for amount in amounts))
        if amounts and order.key is not None:
            self.answers[order.key] = (till, answer)
        return answer

    def execute_at_once(self, orders: Sequence[Order], now: datetime) -> list[tuple[Any, ...]]:
        """In the order of arrival; who repeats what is underway gets the answer of that."""
        underway: dict[UUID, tuple[str, tuple[Any, ...]]] = {}
        answers: list[tuple[Any, ...]] = []
        for order in orders:
            till, shared = underway.get(order.key, ("", ())) if order.key else ("", ())
            answers.append(shared if till == order.till else self.execute(order, now))
            if order.key is not None:
                underway.setdefault(order.key, (order.till, answers[-1]))
        return answers

    def balance(self, till: str) -> int:
        return sum(fact.amount for fact in self.tills.get(till, []))


TILLS = ["a", "b", "c"]
KEYS = st.none() | st.integers(1, 6).map(lambda number: UUID(int=number))
COMMANDS = st.builds(
    Pay, payer=st.sampled_from(["ann", "bob"]), amounts=st.lists(st.integers(-4, 5), max_size=3).map(tuple)
)
# None: whatever the version is; "new": a new stream; a number: so far from the version that is there now.
EXPECTED = st.none() | st.just("new") | st.integers(-1, 2)
ORDERS = st.tuples(st.sampled_from(TILLS), COMMANDS, KEYS, EXPECTED)


class Comparison(RuleBasedStateMachine):
    """Two stores on one log, as two processes would open it, and the model."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.directory = TemporaryDirectory()
        self.path = Path(self.directory.name)
        self.memory = MemoryLog() if kind == "memory" else None
        self.clock = ManualClock()
        self.model = Model()
        self.token = Token({})
        self.loop = asyncio.Runner()
        self.logs: list[FaultyLog] = []
        self.stores: list[EventStore] = []

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run(asyncio.wait_for(work, 10))

    @initialize()
    def open(self) -> None:
        self.run(self._open())

    async def _open(self) -> None:
        # A log in memory belongs to one process.
        opened: list[EventLog] = [self.memory] if self.memory else [SqliteLog(self.path / "log.db") for _ in range(2)]
        self.logs = [FaultyLog(log) for log in opened]
        self.stores = [
            EventStore(
                log,
                aggregates=[Till],
                projections=[Balances, Payers],
                query_store=str(self.path / "read.db"),
                settings=Settings(environment=Environment(clock=self.clock), cache_size=2, workers=number == 0),
            )
            for number, log in enumerate(self.logs)
        ]
        for store in self.stores:
            await store.__aenter__()

    async def _close(self) -> None:
        for store in reversed(self.stores):
            await store.__aexit__(None, None, None)
        self.stores = []

    def teardown(self) -> None:
        try:
            self.run(self._close())
        finally:
            self.loop.close()
            self.directory.cleanup()

    def place(self, drawn: tuple[str, Pay, UUID | None, str | int | None]) -> Order:
        till, command, key, expected = drawn
        if isinstance(expected, int):
            expected = max(0, len(self.model.tills.get(till, [])) + expected)
        return Order(till, command, key, NEW if expected == "new" else expected)

    async def answer(self, store: EventStore, order: Order) -> tuple[Any, ...]:
        try:
            done = await store.execute(
                Till, order.till, order.command, command_id=order.key, expected_version=order.expected
            )
        except CommandRejectedError:
            return ("rejected",)
        except WrongExpectedVersionError as conflict:
            return ("conflict", conflict.expected, conflict.actual)
        except InvalidIdError:
            return ("misused",)
        assert bool(done.token.positions) == bool(done.events)
        self.token = self.token.merge(done.token)
        return ("done", done.version, tuple((event.payer, event.amount) for event in done.events))

    def pick(self, number: int) -> EventStore:
        return self.stores[number % len(self.stores)]

    @rule(number=st.integers(0, 1), drawn=ORDERS)
    def execute(self, number: int, drawn: Any) -> None:
        order = self.place(drawn)
        assert self.run(self.answer(self.pick(number), order)) == self.model.execute(order, self.clock.now())

    @rule(number=st.integers(0, 1), drawn=st.lists(ORDERS, min_size=2, max_size=8))
    def execute_at_once(self, number: int, drawn: list[Any]) -> None:
        orders = [self.place(one) for one in drawn]
        # Between streams there is no order that would tell who used an id first.
        first: dict[UUID | None, str] = {}
        orders = [o if first.setdefault(o.key, o.till) == o.till else o._replace(key=None) for o in orders]
        store = self.pick(number)

        async def together() -> list[tuple[Any, ...]]:
            return await asyncio.gather(*(self.answer(store, order) for order in orders))

        assert self.run(together()) == self.model.execute_at_once(orders, self.clock.now())

    @rule(number=st.integers(0, 1), drawn=ORDERS, fault=st.sampled_from(["refuse", "lose answer"]))
    def fail_and_repeat(self, number: int, drawn: Any, fault: Any) -> None:
        order = self.place(drawn)._replace(key=uuid4())
        store = self.pick(number)
        self.logs[number % len(self.logs)].fail("commit", fault)
        with pytest.raises(LogUnavailableError if fault == "refuse" else AppendOutcomeUnknownError):
            self.run(self.answer(store, order))
        if fault == "lose answer":
            self.model.execute(order, self.clock.now())
        assert self.run(self.answer(store, order)) == self.model.execute(order, self.clock.now())

    @rule(number=st.integers(0, 1), till=st.sampled_from(TILLS), at=st.none() | st.integers(0, 20))
    def load_a_version(self, number: int, till: str, at: int | None) -> None:
        facts, store = self.model.tills.get(till, []), self.pick(number)
        if at is not None and at > len(facts):
            with pytest.raises(WrongExpectedVersionError):
                self.run(store.load(Till, till, at=at))
            return
        loaded = self.run(store.load(Till, till, at=at))
        wanted = facts[:at]
        assert (loaded.version, loaded.balance) == (len(wanted), sum(fact.amount for fact in wanted))

    @rule(till=st.sampled_from(TILLS), ago=st.integers(0, 100))
    def load_a_time(self, till: str, ago: int) -> None:
        at = datetime.fromtimestamp(self.clock.now().timestamp() - ago, tz=self.clock.now().tzinfo)
        loaded = self.run(self.stores[0].load(Till, till, at=at))
        wanted = [fact for fact in self.model.tills.get(till, []) if fact.occurred_at <= at]
        assert (loaded.version, loaded.balance) == (len(wanted), sum(fact.amount for fact in wanted))

    @rule(number=st.integers(0, 1), till=st.sampled_from(TILLS), after=st.integers(0, 10))
    def read_the_history(self, number: int, till: str, after: int) -> None:
        history = self.run(self.pick(number).history(Till, till, after=after))
        facts = self.model.tills.get(till, [])
        assert [Fact(event.payer, event.amount, at.occurred_at) for event, at in history] == facts[after:]
        assert [at.version for _, at in history] == [*range(after + 1, len(facts) + 1)]

    @rule()
    def read_your_writes(self) -> None:
        self.run(self._read_your_writes())

    async def _read_your_writes(self) -> None:
        store, model = self.stores[0], self.model
        await store.wait_for(Balances, self.token)
        await store.wait_for(Payers, self.token)
        balances = {row.till: row.balance for row in await store.read_model(Balances).all()}
        assert balances == {till: model.balance(till) for till in model.tills if model.balance(till)}
        payers = {row.payer: row.payments for row in await store.read_model(Payers).all()}
        assert payers == Tally(fact.payer for facts in model.tills.values() for fact in facts)

    @rule(seconds=st.integers(1, 30))
    def let_time_pass(self, seconds: int) -> None:
        self.run(self.clock.advance(seconds))

    @precondition(lambda self: any(self.model.tills.values()))
    @rule()
    def close_and_open_again(self) -> None:
        self.run(self._close())
        self.run(self._open())


@pytest.mark.timeout(120)  # a failure is made smaller first; each step has a limit of its own
@pytest.mark.parametrize("kind", ["sqlite", "memory"])
def test_a_store_answers_like_a_model_in_plain_python(kind: str) -> None:
    compare(kind, examples=12, steps=20)


@pytest.mark.campaign
@pytest.mark.parametrize("kind", ["sqlite", "memory"])
def test_a_store_answers_like_a_model_thousands_of_times(kind: str) -> None:
    compare(kind, examples=2_000, steps=20)


def compare(kind: str, examples: int, steps: int) -> None:
    bounds = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=[*HealthCheck]
    )
    started = time.monotonic()
    run_state_machine_as_test(partial(Comparison, kind), settings=bounds)
    print(f"{kind}: {examples:,} histories of up to {steps} steps in {time.monotonic() - started:,.0f} s")
