"""An application on a test's own topics, for processes that the test starts: `tests.kafka.audited:store`."""

from __future__ import annotations

import os

from eventstore import EventStore, Settings
from eventstore.kafka import KafkaLog, KafkaOptions
from tests.read.shop import Account, Accounts, Owners


def store(log: type[KafkaLog] = KafkaLog, directory: str = "auditor", **settings: bool) -> EventStore:
    place = os.environ["AUDITED_DIRECTORY"]
    options = KafkaOptions(partitions=2, directory=f"{place}/{directory}")
    return EventStore(
        log(os.environ["AUDITED_KAFKA"], prefix=os.environ["AUDITED_PREFIX"], options=options),
        aggregates=[Account],
        projections=[Accounts, Owners],
        query_store=f"{place}/read.db",
        settings=Settings(**settings),
    )
