"""One process per measurement: no warm caches and no memory left over from an earlier one.

Not part of `__main__`, because a spawned process cannot import a package's `__main__` to find its functions.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from benchmarks.peer.contract import Side


def side(name: str) -> Side:
    """Import a side only when it is used, so that one can be measured without the other installed."""
    return cast("Side", import_module(f"benchmarks.peer.{name}_side"))


def call(name: str, function: str, arguments: tuple[object, ...]) -> Any:
    """Run one function of one side in this process."""
    return getattr(side(name), function)(*arguments)


def isolated(name: str, function: str, *arguments: object) -> Any:
    """Run one function of one side in a process of its own and return what it returned."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        return executor.submit(call, name, function, arguments).result()
