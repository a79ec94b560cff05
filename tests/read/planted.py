"""Logs that a worker reads wrongly, as a defect would: what an audit has to find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eventstore.core.records import Partition
from eventstore.ports import EventLog, Page


def reading_wrongly(log: type[EventLog], times: Mapping[str, int]) -> type[EventLog]:
    """Give a class of logs whose readers get some events not once.

    Args:
        log: The class of a log that is right.
        times: How often by place, for example `{"account-1 version 2": 0}`.
    """

    class Misreading(log):  # type: ignore[misc,valid-type]
        async def read(
            self, partition: Partition, offset: int, limit: int, categories: Sequence[str] | None = None
        ) -> Page:
            page: Page = await super().read(partition, offset, limit, categories)
            events = [e for e in page.events for _ in range(times.get(f"{e.stream} version {e.version}", 1))]
            return page._replace(events=events)

    return Misreading
