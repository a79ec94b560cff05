"""A topic as a plain consumer sees it, which knows nothing of the product."""

from __future__ import annotations

from collections.abc import Iterator

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

PATIENCE_SECONDS = 30


def read_topic(
    bootstrap: str, topic: str, isolation: str = "read_uncommitted", number: int | None = None
) -> Iterator[Message]:
    """Read from the beginning to the end, each partition in the order of offsets.

    Args:
        bootstrap: The brokers.
        topic: It has to exist.
        isolation: With `read_committed` records of open and of aborted transactions are left out.
        number: Of the only partition to read.
    """
    consumer = Consumer({
        "bootstrap.servers": bootstrap, "group.id": "none", "enable.auto.commit": False,
        "enable.partition.eof": True, "isolation.level": isolation, "auto.offset.reset": "error",
    })  # fmt: skip
    try:
        known = consumer.list_topics(topic, timeout=PATIENCE_SECONDS).topics[topic].partitions
        unread = {*(known if number is None else [number])}
        assert unread, f"{topic} has no partitions"
        consumer.assign([TopicPartition(topic, each, OFFSET_BEGINNING) for each in sorted(unread)])
        while unread:
            first = consumer.poll(PATIENCE_SECONDS)
            assert first is not None, f"{topic} could not be read to its end"
            for message in [first, *consumer.consume(499, 0)]:
                error = message.error()
                if error is None:
                    yield message
                else:
                    assert error.code() == KafkaError._PARTITION_EOF, error
                    unread.discard(message.partition() or 0)
    finally:
        consumer.close()
