"""Provisional."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from eventstore.kafka.connection import Connection
from eventstore.kafka.names import Names
from eventstore.kafka.options import KafkaOptions


class Topics(NamedTuple):
    log_id: str
    partitions: Mapping[str, int]
    replies: int


async def open_topics(connection: Connection, names: Names, categories: Sequence[str], options: KafkaOptions) -> Topics:
    def work() -> Topics:
        admin = AdminClient(connection.confluent())
        new = [NewTopic(names.replies, 16, 1, config={"retention.ms": "600000"})]
        for c in categories:
            new.append(
                NewTopic(
                    names.events(c),
                    options.partitions,
                    1,
                    config={
                        "cleanup.policy": "compact",
                        "message.timestamp.type": "LogAppendTime",
                        "max.message.bytes": "25165824",
                        "min.compaction.lag.ms": "604800000",
                    },
                )
            )
            new.append(NewTopic(names.commands(c), options.partitions, 1))
        for topic, f in admin.create_topics(new, operation_timeout=10).items():
            try:
                f.result()
            except KafkaException as e:
                if e.args[0].code() != 36:
                    raise
        cid = admin.describe_cluster(request_timeout=10).result().cluster_id
        md = admin.list_topics(timeout=10)
        return Topics(f"{cid}/{names.prefix}", {c: len(md.topics[names.events(c)].partitions) for c in categories}, 16)

    return await asyncio.to_thread(work)
