"""Notices while a log is open that somebody deleted, re-created or repartitioned its topics."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from eventstore.background import Background
from eventstore.core.errors import ConfigurationError, EventStoreError
from eventstore.environment import Environment
from eventstore.kafka.administration import Administration
from eventstore.kafka.topics import MISSING, Problem, TopicIdentity, identity_problems

INTERVAL_SECONDS: Final = 30.0
_LEAST_SECONDS: Final = 1.0
_LOOKS: Final = 2
_LOOKS_IF_MISSING: Final = 5
_LOGGER: Final = logging.getLogger(__name__)


class TopicWatch:
    """Stops the log within half a minute of a change to its topics; at once if something says that one is missing.

    Args:
        administration: Speaks to the brokers.
        identities: What must not change.
        on_change: Called once, on the loop.
        environment: The clock.
        seconds: How long a change may go unnoticed that nothing hints at.
    """

    def __init__(
        self,
        administration: Administration,
        identities: Mapping[str, TopicIdentity],
        on_change: Callable[[EventStoreError], None],
        environment: Environment,
        seconds: float = INTERVAL_SECONDS,
    ) -> None:
        self._administration: Final = administration
        self._identities: Final = identities
        self._on_change: Final = on_change
        self._clock: Final = environment.clock
        self._seconds: Final = seconds
        self._suspected: Final = asyncio.Event()
        self._background: Final = Background()

    async def __aenter__(self) -> Self:
        """Watch from now on."""
        self._background.start(self._run(), "eventstore-topics")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop watching."""
        await self._background.close()

    def suspect(self) -> None:
        """Look soon: a broker said that a topic or partition is unknown."""
        self._suspected.set()

    async def _run(self) -> None:
        seen: list[Problem] = []
        looks = 0
        while True:
            if not seen:
                await self._next_look()
            problems = await self._look()
            looks = looks + 1 if problems == seen else 1
            if problems and looks >= _looks_until_certain(problems):
                self._on_change(ConfigurationError("\n".join(map(str, problems))))
                return
            seen = problems
            await self._clock.sleep(_LEAST_SECONDS)

    async def _next_look(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._seconds):
                await self._suspected.wait()
        self._suspected.clear()

    async def _look(self) -> list[Problem]:
        try:
            found = await self._administration.find(self._identities, settings=False)
        except EventStoreError as error:
            _LOGGER.warning("the topics could not be looked at: %s", error)
            return []
        return [
            problem
            for name, known in self._identities.items()
            for problem in identity_problems(name, found[name].identity if name in found else None, known)
        ]


def _looks_until_certain(problems: Sequence[Problem]) -> int:
    """A broker may be late to know a new topic; what it says about one that it knows is true."""
    return _LOOKS_IF_MISSING if any(problem.setting == MISSING for problem in problems) else _LOOKS
