"""A process that does everything at once, run by an old version of the package or by this one, until told to stop.

It owns partitions and executes the commands of others there, sends commands and loads as `kafka_member` does, keeps read
models up to date, and relays. It uses only what both versions have, and says moreover:

    version PATH        where it has the package from
    published n         so many events were relayed by this process, at the end
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import eventstore
from eventstore import EventStore, Settings
from eventstore.kafka import KafkaLog, KafkaOptions
from tests.campaigns.kafka_member import Caller, read, say, watch
from tests.campaigns.workers import Notes, Totals
from tests.write.domain import Counter


def log_of(settings: dict[str, Any]) -> KafkaLog:
    options = KafkaOptions(
        partitions=settings["partitions"],
        directory=Path(settings["directory"]),
        session_seconds=settings["session_seconds"],
        member=settings["member"],
    )
    return KafkaLog(settings["bootstrap"], prefix=settings["prefix"], options=options)


async def relay(settings: dict[str, Any], resources: AsyncExitStack) -> Any:
    """Publish, if the version of the package can."""
    try:
        from eventstore.publishing import relaying
        from tests.campaigns.relays import feed_of
    except ImportError:
        return None
    store = EventStore(log_of(settings), aggregates=[Counter], publications=[feed_of(settings["prefix"])])
    return await resources.enter_async_context(relaying(store, "feed"))


async def run(settings: dict[str, Any]) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    say("version", eventstore.__file__)
    chance = random.Random(settings["seed"])
    async with AsyncExitStack() as resources:
        store = EventStore(
            log_of(settings),
            aggregates=[Counter],
            projections=[Totals, Notes],
            query_store=str(Path(settings["directory"]).parent / "read.db"),
            settings=Settings(timeout=10, batch_size=50, lease=2.0),
        )
        await resources.enter_async_context(store)
        relaying = await relay(settings, resources)
        say("opened")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(watch(store.log, stopping))  # type: ignore[arg-type]
            tasks.create_task(read(store, random.Random(chance.random()), stopping))
            for _ in range(settings["callers"]):
                tasks.create_task(Caller(store, random.Random(chance.random()), stopping).work())
        if relaying is not None:
            say("published", relaying.published)
    say("closed")


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("eventstore").setLevel(logging.INFO)
    asyncio.run(run(json.loads(sys.argv[1])))
