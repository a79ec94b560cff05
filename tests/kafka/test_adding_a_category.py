"""A category is added while processes that do not know it go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventstore.kafka import KafkaLog, KafkaOptions
from tests.kafka.logs import create, new_prefix, new_topics, refuse, versions, write_until_done
from tests.kafka.partitions import commit_of

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]


async def test_processes_with_and_without_the_new_category_own_what_they_know(
    tmp_path: Path, kafka_bootstrap: str
) -> None:
    prefix = new_prefix(kafka_bootstrap, 2)

    def log(name: str, *categories: str) -> KafkaLog:
        options = KafkaOptions(partitions=2, directory=tmp_path / name, production=False)
        return KafkaLog(kafka_bootstrap, prefix=prefix, categories=categories, options=options)

    async with log("old", "task") as old:
        old.channel.serve(refuse)
        await old.serving()
        known = {topic.topic for topic in new_topics(prefix, 2)}
        create(kafka_bootstrap, [topic for topic in new_topics(prefix, 2, "order") if topic.topic not in known])
        async with log("new", "task", "order") as new:
            new.channel.serve(refuse)
            await new.serving(["order/0", "order/1"])
            assert await write_until_done(new, commit_of("order-1", 0)) == "Appended"
            assert (old.condition.owned, new.condition.owned) == ({"serving": 2}, {"serving": 2})
            assert await write_until_done(old, commit_of("task-1", 0)) == "Appended"
        assert await write_until_done(old, commit_of("task-1", 1)) == "Appended"
    async with log("newer", "task", "order") as newer:
        newer.channel.serve(refuse)
        await newer.serving()  # what only old processes had as well
        assert await write_until_done(newer, commit_of("task-1", 2)) == "Appended"
        assert await versions(newer, "order-1") == [1]
