"""Hearing of a shutdown in time: servers end the lifespan only after every response, and streams have no end."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def told_of_shutdown(tell: Callable[[], None]) -> Generator[None]:
    """Call a function when the process is asked to end, during the block; the server's own handling goes on as it was.

    Args:
        tell: Is called in the event loop, perhaps more than once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals; whoever runs the server elsewhere ends it elsewhere
        return
    loop = asyncio.get_running_loop()
    before: dict[signal.Signals, Any] = {number: signal.getsignal(number) for number in _SIGNALS}

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(tell)
        former = before[signal.Signals(number)]
        if callable(former):
            former(number, frame)

    # What is ignored stays ignored, and where nobody handles it, it ends the process at once, as before.
    chained = [number for number, former in before.items() if callable(former)]
    for number in chained:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in chained:
            if signal.getsignal(number) is handle:
                signal.signal(number, before[number])
