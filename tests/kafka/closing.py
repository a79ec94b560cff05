"""A process that opens two stores on a Kafka log, works, closes them, and says what is left of them: nothing, it hopes.

`python -X dev -W error -m tests.kafka.closing BOOTSTRAP DIRECTORY`
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from eventstore import EventStore
from eventstore.kafka import KafkaLog, KafkaOptions
from tests.read.shop import Account, Accounts, Open, Owners


async def work(bootstrap: str, directory: Path) -> set[str]:
    prefix = f"t{uuid4().hex[:8]}"

    def store() -> EventStore:
        options = KafkaOptions(partitions=2, directory=directory)
        log = KafkaLog(bootstrap, prefix=prefix, options=options)
        return EventStore(log, aggregates=[Account], projections=[Accounts, Owners])

    async with store() as first, store() as second:
        await asyncio.gather(
            *(each.execute(Account, str(number), Open(owner="a")) for number in range(20) for each in (first, second))
        )
        for projection in (Accounts, Owners):
            await second.wait_for(projection, await second.present())
    others = asyncio.all_tasks() - {asyncio.current_task()}
    return {f"task {task.get_name()}" for task in others}


def used() -> set[str]:
    files = set[str]()
    for file in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # of the listing itself
            target = str(file.readlink())
            if not target.startswith(("/dev/", "/proc/")):
                files.add(f"file {file.name} {target}")
    return {
        *files,
        *(f"thread {thread.name}" for thread in threading.enumerate()),
        *(f"native thread {task.name}" for task in Path("/proc/self/task").iterdir()),
    }


if __name__ == "__main__":
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # the debug mode tells what took long
    before = used()
    tasks = asyncio.run(work(sys.argv[1], Path(sys.argv[2])))
    gc.collect()
    print(*sorted(tasks | (used() - before)), sep="\n", end="")
