"""A relay publishes every event once, in order, in every topic or none, and stands still where it must."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, TopicPartition

from eventstore import ConfigurationError, EventStore, OnError, Recorded, SqliteLog
from eventstore.core.checkpoints import Failure
from eventstore.core.ids import derived_id
from eventstore.kafka import KafkaLog
from eventstore.kafka.records import event_records
from eventstore.kafka.relay import Relay
from eventstore.publishing import Publication, publishes, relaying
from tests.kafka.logs import plant
from tests.kafka.partitions import commit_of
from tests.kafka.relaying import Noted, Shop, count, feed_of, notes_by_key, published, seen, shop
from tests.waiting import until
from tests.write.domain import Count, Counted, Counter

pytestmark = pytest.mark.kafka
NOTES = {f"s{number}": [f"{number}:{version}" for version in range(1, 6)] for number in range(8)}
ALL = 40


@asynccontextmanager
async def written(place: Shop, notes: dict[str, list[str]] | None = None) -> AsyncGenerator[EventStore]:
    """Open a store that owns everything, after some notes were written."""
    async with place.store() as store:
        await store.log.serving()
        await count(store, NOTES if notes is None else notes)
        yield store


async def relayed(place: Shop, events: int) -> None:
    """Publish so many, and stop."""
    store = place.store()
    async with relaying(store, "feed") as relay:
        await published(relay, events)


async def test_every_event_is_published_once_and_in_order(kafka_bootstrap: str, tmp_path: Path) -> None:
    place = shop(kafka_bootstrap, tmp_path)
    async with written(place):
        await relayed(place, ALL)
    records = await asyncio.to_thread(seen, kafka_bootstrap, place.notes)
    assert notes_by_key(records) == NOTES
    assert len({record.value["event_id"] for record in records}) == ALL


async def test_a_record_says_without_decoding_what_it_is_and_where_it_comes_from(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    place = shop(kafka_bootstrap, tmp_path)
    async with written(place, {"s1": ["one"]}) as store:
        await relayed(place, 1)
        ((_, at),) = await store.history(Counter, "s1")
    (record,) = await asyncio.to_thread(seen, kafka_bootstrap, place.notes)
    identity = derived_id(at.event_id, "feed:noted:0")
    assert record.headers == {
        "event_id": str(identity),
        "event_type": "public.noted",
        "schema_version": "1",
        "content_type": "application/json",
        "correlation_id": str(at.metadata.correlation_id),
        "causation_id": str(at.event_id),
        "occurred_at": str(at.stored.occurred_at),
    }
    assert record.value == {
        "event_id": str(identity),
        "event_type": "public.noted",
        "occurred_at": at.occurred_at.isoformat(timespec="microseconds"),
        "data": {"version": 1, "note": "one"},
        "metadata": {"correlation_id": str(at.metadata.correlation_id), "causation_id": str(at.event_id)},
    }


async def test_an_event_goes_to_several_topics_under_one_id_and_a_key_of_its_own(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    place = shop(kafka_bootstrap, tmp_path)
    async with written(place, {}) as store:
        await store.execute(Counter, "s1", Count(by=20))
        await relayed(place, 1)
    large = await asyncio.to_thread(seen, kafka_bootstrap, f"{place.prefix}.public.large")
    ledger = await asyncio.to_thread(seen, kafka_bootstrap, f"{place.prefix}.public.ledger")
    assert [record.key for record in large] == ["1", "1"]
    ids = [record.headers["event_id"] for record in large]
    assert len(set(ids)) == 2
    assert ids == [record.headers["event_id"] for record in ledger]
    assert await asyncio.to_thread(seen, kafka_bootstrap, place.notes) == []


async def test_a_relay_goes_on_where_the_last_one_stopped_under_another_owners_lease(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    place = shop(kafka_bootstrap, tmp_path)
    async with written(place, {"s1": ["one"]}):
        await relayed(place, 1)
    async with written(place, {"s1": ["two"]}):
        await relayed(place, 1)
        async with relaying(place.store(), "feed") as relay, place.store(session_seconds=3.0) as other:
            await count(other, {"s1": ["three"]})
            await published(relay, 1)
    records = await asyncio.to_thread(seen, kafka_bootstrap, place.notes)
    assert notes_by_key(records) == {"s1": ["one", "two", "three"]}


async def test_what_a_deposed_owner_wrote_late_is_never_published(
    kafka_bootstrap: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = shop(kafka_bootstrap, tmp_path)
    async with written(place, {"s1": ["one"]}) as store:
        await relayed(place, 1)
        assert isinstance(store.log, KafkaLog)
        partition = store.log.names.parse(store.log.partition_of("counter-s1"))
        late = event_records(commit_of("counter-s1", 1, note="late"), "f" * 16)
        await asyncio.to_thread(plant, kafka_bootstrap, partition.topic, late, partition.number)
        await count(store, {"s1": ["two"]})
        await relayed(place, 1)  # from a position in the middle, of which only the text beside it tells the lease
    records = await asyncio.to_thread(seen, kafka_bootstrap, place.notes)
    assert notes_by_key(records) == {"s1": ["one", "two"]}
    assert "1 records so far that no reader counts" in caplog.text


async def test_a_position_that_was_set_by_hand_is_gone_on_from(kafka_bootstrap: str, tmp_path: Path) -> None:
    place = shop(kafka_bootstrap, tmp_path)
    async with written(place, {"s1": ["one", "two", "three"]}) as store:
        await relayed(place, 3)
        assert isinstance(store.log, KafkaLog)
        partition = store.log.names.parse(store.log.partition_of("counter-s1"))
        ((_, _), (_, at), _) = await store.history(Counter, "s1")

        def reset() -> None:
            consumer = Consumer({"bootstrap.servers": kafka_bootstrap, "group.id": f"{place.prefix}.relay.feed"})
            consumer.commit(offsets=[TopicPartition(partition.topic, partition.number, at.offset)], asynchronous=False)
            consumer.close()

        await asyncio.to_thread(reset)
        await relayed(place, 2)
    records = await asyncio.to_thread(seen, kafka_bootstrap, place.notes)
    assert notes_by_key(records) == {"s1": ["one", "two", "three", "two", "three"]}
    assert records[1].value["event_id"] == records[3].value["event_id"]


async def test_a_handler_that_raises_halts_its_partition_and_no_other(kafka_bootstrap: str, tmp_path: Path) -> None:
    place = shop(kafka_bootstrap, tmp_path)
    notes = {**NOTES, "s1": ["1:1", "1:2", "bad", "1:4"]}
    halts: list[tuple[str, Failure]] = []
    async with written(place, notes) as store:
        halted = store.log.partition_of("counter-s1")
        expected = {
            key: texts if store.log.partition_of(f"counter-{key}") != halted else None for key, texts in notes.items()
        }
        others = sum(len(texts) for texts in expected.values() if texts)
        async with relaying(place.store(), "feed", on_halt=lambda *found: halts.append(found)) as relay:
            await until(lambda: bool(halts), seconds=10)
            await published(relay, others)
            ((partition, failure),) = halts
        assert (partition, failure.cause) == (halted, "BadNoteError: bad")
        assert failure.place.startswith("counter.counted at counter-s1 version 3")
        assert "Fix the handler" in failure.remedy
        assert isinstance(store.log, KafkaLog)
        status = {
            one.partition: one for one in await store.log.relay_status(store.application.publication("feed")[1], 10)
        }
        assert status[halted].state == "halted"
        assert status[halted].failure == failure
        seen_so_far = notes_by_key(await asyncio.to_thread(seen, kafka_bootstrap, place.notes))
        assert seen_so_far["s1"] == ["1:1", "1:2"]
        assert all(seen_so_far[key] == texts for key, texts in expected.items() if texts)

        mended = place.store(feed_of(place.prefix, bad="none"))
        async with relaying(mended, "feed") as relay:
            await until(lambda: notes_by_key(seen(kafka_bootstrap, place.notes)) == notes)


async def test_a_publication_may_skip_what_its_handler_cannot_do(
    kafka_bootstrap: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = shop(kafka_bootstrap, tmp_path)
    async with written(place, {"s1": ["one", "bad", "three"]}):
        store = place.store(feed_of(place.prefix, OnError.skip(attempts=2, backoff=0.01)))
        async with relaying(store, "feed") as relay:
            await published(relay, 3)
    assert notes_by_key(await asyncio.to_thread(seen, kafka_bootstrap, place.notes)) == {"s1": ["one", "three"]}
    assert "skips counter.counted at counter-s1 version 2" in caplog.text


async def test_positions_move_over_events_that_lead_to_nothing(kafka_bootstrap: str, tmp_path: Path) -> None:
    place = shop(kafka_bootstrap, tmp_path)
    async with written(place, {"s1": [""] * 3}) as store:
        await relayed(place, 3)
        assert isinstance(store.log, KafkaLog)
        status = await store.log.relay_status(store.application.publication("feed")[1], 10)
    assert {one.state for one in status} == {"idle"}
    assert await asyncio.to_thread(seen, kafka_bootstrap, place.notes) == []


async def test_what_nobody_publishes_is_stalled(kafka_bootstrap: str, tmp_path: Path) -> None:
    place = shop(kafka_bootstrap, tmp_path)
    async with written(place, {"s1": ["one"]}) as store:
        await relayed(place, 1)
        await count(store, {"s1": ["two"]})
        assert isinstance(store.log, KafkaLog)
        definition = store.application.publication("feed")[1]
        stalled = await store.log.relay_status(definition, 0.1)
        assert [one.behind for one in stalled if one.state == "stalled"] == [1]
        async with relaying(place.store(), "feed"):
            assert "stalled" not in {one.state for one in await store.log.relay_status(definition, 3)}


@pytest.mark.timeout(90)  # two rebalances, and a busy machine takes its time for each
async def test_a_second_relay_takes_its_share_while_the_first_goes_on(kafka_bootstrap: str, tmp_path: Path) -> None:
    place = shop(kafka_bootstrap, tmp_path)
    rounds, enough = 0, asyncio.Event()

    async with written(place, {}) as store, relaying(place.store(), "feed") as first:

        async def write() -> None:
            nonlocal rounds
            while not enough.is_set():
                rounds += 1
                await count(store, {f"s{number}": [f"{number}:{rounds}"] for number in range(8)})

        writing = asyncio.create_task(write())
        await published(first, 80)
        async with relaying(place.store(), "feed") as second:
            await published(second, 80)
            before = first.published
            await published(first, before + 80)
        before = first.published
        await published(first, before + 80)
        enough.set()
        await writing
        await until(lambda: first.published + second.published >= 8 * rounds)
    found = notes_by_key(await asyncio.to_thread(seen, kafka_bootstrap, place.notes))
    assert found == {f"s{number}": [f"{number}:{n}" for n in range(1, rounds + 1)] for number in range(8)}


async def test_an_unknown_position_is_no_reason_to_publish_everything_in_production(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    place = shop(kafka_bootstrap, tmp_path)
    async with written(place, {"s1": ["one"]}):
        with pytest.raises(ConfigurationError, match=r"no position is known.*--begin"):
            async with relaying(place.store(), "feed", begin=False) as relay:
                await relay.failed()
        async with relaying(place.store(), "feed", begin=True) as relay:
            await published(relay, 1)
        async with relaying(place.store(), "feed", begin=False) as relay:  # all partitions have one now
            await count_and_publish(place, relay)


async def count_and_publish(place: Shop, relay: Relay) -> None:
    async with place.store() as store:
        await count(store, {"s1": ["two"], "s2": ["one"], "s3": ["one"], "s4": ["one"]})
        await published(relay, 4)


async def test_a_position_in_a_topic_that_was_made_anew_is_refused(kafka_bootstrap: str, tmp_path: Path) -> None:
    place = shop(kafka_bootstrap, tmp_path)
    async with written(place, {"s1": ["one"]}) as store:
        assert isinstance(store.log, KafkaLog)
        topic = store.log.names.events("counter")
        position = (
            f'{{"lease":"{"0" * 16}","topic":"{uuid4()}","at":"2026-01-01T00:00:00Z"}}'  # of another topic's time
        )

        def commit() -> None:
            consumer = Consumer({"bootstrap.servers": kafka_bootstrap, "group.id": f"{place.prefix}.relay.feed"})
            offsets = [TopicPartition(topic, number, 1, position) for number in range(4)]
            consumer.commit(offsets=offsets, asynchronous=False)
            consumer.close()

        await asyncio.to_thread(commit)
        with pytest.raises(ConfigurationError, match=r"position is one in a former .*--delete-offsets"):
            async with relaying(place.store(), "feed") as relay:
                await relay.failed()


async def test_public_topics_are_verified_in_production(kafka_bootstrap: str, tmp_path: Path) -> None:
    place = shop(kafka_bootstrap, tmp_path)
    async with written(place, {}):
        store = place.store(production=True)
        with pytest.raises(ConfigurationError, match=rf"{place.notes} does not exist. Fix: eventstore topics apply"):
            async with relaying(store, "feed"):
                pass
        assert isinstance(store.log, KafkaLog)
        plan = await store.log.topics.of(store.application.inventory(inboxes=False)).plan()
        (wanted,) = [topic for topic in plan.missing if topic.name == place.notes]
        assert wanted.settings["cleanup.policy"] == "delete"
        assert int(wanted.settings["retention.ms"]) > 0


async def test_nothing_is_ever_published_to_a_topic_of_the_log_itself(kafka_bootstrap: str, tmp_path: Path) -> None:
    place = shop(kafka_bootstrap, tmp_path)

    class Mad(Publication, name="mad"):
        @publishes(f"{place.prefix}.other.events")
        def counted(self, event: Counted, at: Recorded) -> Noted: ...

    with pytest.raises(ConfigurationError, match=r"other\.events'\): that is a topic of the log itself"):
        async with relaying(place.store(Mad), Mad):
            pass


async def test_an_embedded_log_has_no_relays(tmp_path: Path) -> None:
    feed = feed_of("t")
    store = EventStore(SqliteLog(tmp_path / "log.db"), aggregates=[Counter], publications=[feed])
    with pytest.raises(ConfigurationError, match="SqliteLog has nothing to publish to"):
        async with relaying(store, feed):
            pass
