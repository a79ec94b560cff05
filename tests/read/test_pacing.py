"""Batches take no more than their share of the time, however many builders there are."""

from __future__ import annotations

import asyncio

from eventstore.read.pacing import Pace
from eventstore.testing.clock import ManualClock


async def build(pace: Pace, clock: ManualClock, batches: int, seconds: float, share: float) -> None:
    for _ in range(batches):
        while not await pace.turn():
            pass
        await clock.sleep(seconds)
        pace.spent(seconds, share)


async def elapsed(builders: int, seconds: float, share: float) -> float:
    clock = ManualClock()
    pace = Pace(clock)
    work = asyncio.gather(*(build(pace, clock, 10, seconds, share) for _ in range(builders)), pace.turn())
    while not work.done():
        await clock.advance(0.01)
        await asyncio.sleep(0)
    return clock.monotonic()


async def test_one_builder_rests_in_proportion() -> None:
    assert 3.6 <= await elapsed(1, 0.1, 0.25) <= 4.5


async def test_several_builders_share_what_one_would_have() -> None:
    assert 10.0 <= await elapsed(3, 0.1, 0.25) <= 12.5


async def test_long_rests_are_taken_in_pieces() -> None:
    clock = ManualClock()
    pace = Pace(clock)
    pace.spent(0.5, 0.1)
    turns: list[bool] = []
    for _ in range(5):
        turn = asyncio.ensure_future(pace.turn())
        await asyncio.sleep(0)
        await clock.advance(1)
        turns.append(await turn)
    assert turns == [False, False, False, False, True]
