"""One writer per partition: what the broker itself refuses, and what a writer concludes from its answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from confluent_kafka.admin import AdminClient

from eventstore.core.errors import LogUnavailableError, OwnershipLostError
from eventstore.environment import Environment
from eventstore.kafka.answers import NO_ANSWER
from eventstore.kafka.connection import Connection
from eventstore.kafka.fence import IDLE_SECONDS, RENEWAL_SECONDS, AppendInDoubtError, FencedWriter, State
from eventstore.kafka.names import PartitionName
from eventstore.kafka.records import Record
from eventstore.kafka.wire import ProducerIdentity, Wire, encode_batch
from eventstore.testing.clock import ManualClock
from eventstore.testing.kafka import KafkaCluster
from eventstore.testing.proxy import INIT_PRODUCER_ID, PRODUCE, KafkaProxy
from tests.conftest import ProxiedKafka
from tests.kafka.partitions import new_partition, notes_that_count, plain_notes, read_all, records_of, soon, writer_of

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]


@pytest.fixture
def bootstrap(proxied_kafka: ProxiedKafka) -> str:
    return proxied_kafka.bootstrap


@pytest.fixture
def name(bootstrap: str) -> PartitionName:
    return new_partition(bootstrap)


@asynccontextmanager
async def wire_to(address: str) -> AsyncGenerator[Wire]:
    async with Wire(Connection(address)) as wire:
        yield wire


@pytest.fixture
async def wire(bootstrap: str) -> AsyncGenerator[Wire]:
    async with wire_to(bootstrap) as wire:
        yield wire


@pytest.fixture
async def proxy(proxied_kafka: ProxiedKafka) -> AsyncGenerator[KafkaProxy]:
    async with KafkaProxy(proxied_kafka.port) as proxy:
        proxy.lead_to(proxied_kafka.cluster.nodes[0].proxied_address)
        yield proxy


@pytest.fixture
async def proxied_wire(proxy: KafkaProxy) -> AsyncGenerator[Wire]:
    async with wire_to(proxy.address) as wire:
        yield wire


async def send_as(writer: FencedWriter, name: PartitionName, wire: Wire, sequence: int) -> int:
    """Send a batch under a writer's identity, whatever the writer itself thinks, and give the broker's code."""
    batch = encode_batch(records_of(writer, "late"), writer._identity, sequence)
    return (await wire.produce(name.topic, name.number, batch, 5)).code


INVALID_PRODUCER_EPOCH = 47
LAST_EPOCHS = 32_750


# -- the fence


async def test_a_former_owner_is_refused_with_its_next_sequence_and_with_sequence_0(
    wire: Wire, name: PartitionName, bootstrap: str
) -> None:
    old, new = await writer_of(wire, name), await writer_of(wire, name)
    await old.claim((), soon())
    await old.append(records_of(old, "a", "b"), soon())
    await new.claim((), soon())
    assert await send_as(old, name, wire, sequence=old._sequence) == INVALID_PRODUCER_EPOCH
    assert await send_as(old, name, wire, sequence=0) == INVALID_PRODUCER_EPOCH
    with pytest.raises(OwnershipLostError, match="another owner now"):
        await old.append(records_of(old, "c"), soon())
    assert old.state is State.FENCED
    await new.append(records_of(new, "d"), soon())
    assert plain_notes(read_all(bootstrap, name.topic)) == ["a", "b", "d"]


async def test_an_owner_without_a_single_append_is_refused_too(wire: Wire, name: PartitionName, bootstrap: str) -> None:
    old, new = await writer_of(wire, name), await writer_of(wire, name)
    await old.claim((), soon())
    await new.claim((), soon())
    assert await send_as(old, name, wire, sequence=0) == INVALID_PRODUCER_EPOCH
    assert await send_as(old, name, wire, sequence=1) == INVALID_PRODUCER_EPOCH
    assert plain_notes(read_all(bootstrap, name.topic)) == []


async def test_a_barrier_of_a_former_owner_is_refused(wire: Wire, name: PartitionName) -> None:
    old, new = await writer_of(wire, name), await writer_of(wire, name)
    await old.claim((), soon())
    assert await old.barrier(soon()) == 1
    await new.claim((), soon())
    with pytest.raises(OwnershipLostError):
        await old.barrier(soon())


@pytest.mark.parametrize("way", ["kill", pytest.param("stop", marks=pytest.mark.campaign)])
async def test_the_fence_outlives_the_broker(
    wire: Wire, name: PartitionName, proxied_kafka: ProxiedKafka, way: str
) -> None:
    old, new = await writer_of(wire, name), await writer_of(wire, name)
    await old.claim((), soon())
    await old.append(records_of(old, "a"), soon())
    await new.claim((), soon())
    node = proxied_kafka.cluster.nodes[0]
    await (node.stop() if way == "stop" else node.kill())
    await node.start()
    with pytest.raises(OwnershipLostError):
        await old.append(records_of(old, "b"), soon(20))
    assert await send_as(old, name, wire, sequence=0) == INVALID_PRODUCER_EPOCH
    await new.append(records_of(new, "c"), soon(20))
    assert plain_notes(read_all(proxied_kafka.bootstrap, name.topic)) == ["a", "c"]


async def test_a_batch_that_is_under_way_when_another_owner_claims_is_refused_when_it_arrives(
    proxied_wire: Wire, proxy: KafkaProxy, wire: Wire, name: PartitionName, bootstrap: str
) -> None:
    old, new = await writer_of(proxied_wire, name), await writer_of(wire, name)
    await old.claim((), soon())
    held = proxy.on(PRODUCE, "hold", times=1)
    async with asyncio.TaskGroup() as tasks:
        appending = tasks.create_task(outcome(old.append(records_of(old, "late"), soon(2))))
        await held.hit()
        claimed = await new.claim((), soon())
        held.release()
    assert isinstance(appending.result(), OwnershipLostError)
    await new.append(records_of(new, "mine"), soon())
    found = read_all(bootstrap, name.topic)
    assert plain_notes(found) == notes_that_count(found) == ["mine"]
    assert claimed.offset == 1


async def outcome(work: object) -> object:
    """Give what an append returned or raised."""
    try:
        return await work  # type: ignore[misc]
    except (OwnershipLostError, AppendInDoubtError, LogUnavailableError) as error:
        return error


# -- the state machine


async def test_a_writer_writes_nothing_before_it_claims(wire: Wire, name: PartitionName, bootstrap: str) -> None:
    writer = await writer_of(wire, name)
    assert writer.state is State.VACANT
    assert writer.must_claim
    for attempt in (writer.append(records_of(writer, "a"), soon()), writer.barrier(soon())):
        with pytest.raises(OwnershipLostError, match="not claimed by this writer"):
            await attempt
    assert read_all(bootstrap, name.topic) == []


async def test_claiming_begins_writing_and_appending_goes_on_with_it(wire: Wire, name: PartitionName) -> None:
    writer = await writer_of(wire, name)
    lease, offset = await writer.claim((), soon())
    assert (writer.state, writer.lease, offset) == (State.WRITING, lease, 0)
    assert await writer.append(records_of(writer, "a", "b"), soon()) == 1
    assert await writer.append(records_of(writer, "c"), soon()) == 3
    assert writer.state is State.WRITING
    assert not writer.must_claim


async def test_a_fenced_writer_writes_again_only_after_a_claim(wire: Wire, name: PartitionName, bootstrap: str) -> None:
    old, new = await writer_of(wire, name), await writer_of(wire, name)
    await old.claim((), soon())
    await new.claim((), soon())
    for _ in range(2):
        with pytest.raises(OwnershipLostError):
            await old.append(records_of(old, "a"), soon())
        assert old.state is State.FENCED
        assert old.must_claim
    await old.claim((), soon())
    await old.append(records_of(old, "b"), soon())
    with pytest.raises(OwnershipLostError):
        await new.append(records_of(new, "c"), soon())
    assert notes_that_count(read_all(bootstrap, name.topic)) == ["b"]


async def test_a_doubtful_writer_writes_again_only_after_a_claim(
    proxied_wire: Wire, proxy: KafkaProxy, name: PartitionName, bootstrap: str
) -> None:
    writer = await writer_of(proxied_wire, name)
    await writer.claim((), soon())
    proxy.on(PRODUCE, "cut before")
    with pytest.raises(AppendInDoubtError):
        await writer.append(records_of(writer, "a"), soon(0.3))
    assert writer.state is State.DOUBTFUL
    proxy.heal()
    with pytest.raises(OwnershipLostError, match="not claimed"):
        await writer.append(records_of(writer, "b"), soon())
    await writer.claim((), soon())
    await writer.append(records_of(writer, "c"), soon())
    assert notes_that_count(read_all(bootstrap, name.topic)) == ["c"]


async def test_a_sequence_that_the_broker_does_not_expect_leaves_doubt(wire: Wire, name: PartitionName) -> None:
    writer = await writer_of(wire, name)
    await writer.claim((), soon())
    writer._sequence += 5
    with pytest.raises(AppendInDoubtError, match="OUT_OF_ORDER_SEQUENCE_NUMBER"):
        await writer.append(records_of(writer, "a"), soon())
    assert writer.state is State.DOUBTFUL


async def test_a_batch_that_is_too_large_is_refused_and_the_writer_goes_on(wire: Wire, bootstrap: str) -> None:
    name = new_partition(bootstrap, max_message_bytes="10000")
    writer = await writer_of(wire, name)
    await writer.claim((), soon())
    began = time.monotonic()
    with pytest.raises(LogUnavailableError, match="MESSAGE_TOO_LARGE.*Nothing was written"):
        await writer.append(records_of(writer, "x" * 20_000), soon())
    assert time.monotonic() - began < 4  # not tried again and again
    assert writer.state is State.WRITING
    assert await writer.append(records_of(writer, "a"), soon()) == 1
    assert plain_notes(read_all(bootstrap, name.topic)) == ["a"]


async def test_a_batch_is_stored_as_a_whole_or_not_at_all(wire: Wire, bootstrap: str) -> None:
    name = new_partition(bootstrap)
    writer = await writer_of(wire, name)
    await writer.claim((), soon())
    nameless = Record(None, b"{}", [])  # type: ignore[arg-type]
    with pytest.raises(LogUnavailableError, match="INVALID_RECORD"):
        await writer.append([*records_of(writer, "a", "b"), nameless], soon())
    assert await writer.append(records_of(writer, "c"), soon()) == 1
    assert plain_notes(read_all(bootstrap, name.topic)) == ["c"]


# -- answers that are lost


@pytest.mark.parametrize("fault", ["cut after", "lose answer"])
async def test_a_batch_whose_answer_was_lost_is_written_once_and_its_offset_returned(
    proxied_wire: Wire, proxy: KafkaProxy, name: PartitionName, bootstrap: str, fault: str
) -> None:
    writer = await writer_of(proxied_wire, name)
    await writer.claim((), soon())
    await writer.append(records_of(writer, "a"), soon())
    rule = proxy.on(PRODUCE, fault, times=1)  # type: ignore[arg-type]
    assert await writer.append(records_of(writer, "b", "c"), soon()) == 2
    assert rule.hits == 1
    assert await writer.append(records_of(writer, "d"), soon()) == 4
    assert plain_notes(read_all(bootstrap, name.topic)) == ["a", "b", "c", "d"]


async def test_a_claim_whose_answer_was_lost_is_written_once(
    proxied_wire: Wire, proxy: KafkaProxy, name: PartitionName, bootstrap: str
) -> None:
    writer = await writer_of(proxied_wire, name)
    proxy.on(PRODUCE, "cut after", times=1)
    proxy.on(INIT_PRODUCER_ID, "cut after", times=1)
    assert (await writer.claim((), soon())).offset == 0
    assert len(read_all(bootstrap, name.topic)) == 1


async def test_a_batch_is_written_once_though_the_broker_was_killed_before_it_answered(
    proxied_wire: Wire, proxy: KafkaProxy, name: PartitionName, proxied_kafka: ProxiedKafka
) -> None:
    writer = await writer_of(proxied_wire, name)
    await writer.claim((), soon())
    lost = proxy.on(PRODUCE, "lose answer", times=1)
    node = proxied_kafka.cluster.nodes[0]
    async with asyncio.TaskGroup() as tasks:
        appending = tasks.create_task(writer.append(records_of(writer, "a", "b"), soon(60)))  # it has to start
        await lost.hit()
        while len(await asyncio.to_thread(read_all, proxied_kafka.bootstrap, name.topic)) < 3:
            pass
        await node.kill()
        await node.start()
    assert appending.result() == 1
    assert await writer.append(records_of(writer, "c"), soon(20)) == 3
    assert plain_notes(read_all(proxied_kafka.bootstrap, name.topic)) == ["a", "b", "c"]


@pytest.mark.parametrize(("fault", "written"), [("cut after", ["a"]), ("cut before", [])])
async def test_a_writer_that_is_fenced_after_a_lost_answer_is_in_doubt_whether_it_was_written(
    proxied_wire: Wire, proxy: KafkaProxy, wire: Wire, bootstrap: str, fault: str, *, written: list[str]
) -> None:
    name = new_partition(bootstrap)
    old, new = await writer_of(proxied_wire, name), await writer_of(wire, name)
    await old.claim((), soon())
    proxy.on(PRODUCE, fault, times=1)  # type: ignore[arg-type]
    second = proxy.on(PRODUCE, "hold", times=1)
    async with asyncio.TaskGroup() as tasks:
        appending = tasks.create_task(outcome(old.append(records_of(old, "a"), soon())))
        await second.hit()
        await new.claim((), soon())
        second.release()
    assert isinstance(appending.result(), AppendInDoubtError)
    assert old.state is State.FENCED
    assert notes_that_count(read_all(bootstrap, name.topic)) == written


# -- time


async def test_an_address_where_nobody_answers_is_reported() -> None:
    with pytest.raises(LogUnavailableError, match=r"the brokers at 127.0.0.1:1 cannot be reached"):
        async with wire_to("127.0.0.1:1"):
            pass


async def test_a_deadline_is_kept_when_the_broker_is_silent(
    proxied_wire: Wire, proxy: KafkaProxy, name: PartitionName
) -> None:
    writer = await writer_of(proxied_wire, name)
    await writer.claim((), soon())
    proxy.on(PRODUCE, "hold")
    began = time.monotonic()
    with pytest.raises(AppendInDoubtError, match=r"task/0: no answer from the broker: check"):
        await writer.append(records_of(writer, "a"), soon(0.5))
    assert time.monotonic() - began < 1.5


async def test_without_a_broker_nothing_was_written_for_certain(
    proxied_wire: Wire, proxy: KafkaProxy, name: PartitionName
) -> None:
    writer = await writer_of(proxied_wire, name)
    await writer.claim((), soon())
    proxy.cut()
    # The connection's end is noticed with the first request, which nobody knows to be without effect.
    with pytest.raises((LogUnavailableError, AppendInDoubtError)):
        await writer.append(records_of(writer, "a"), soon(0.5))
    began = time.monotonic()
    with pytest.raises(LogUnavailableError, match=r"Nothing was written"):
        await writer.claim((), soon(1))
    assert time.monotonic() - began < 2.5
    assert writer.state is State.VACANT


class StoppedClock(ManualClock):
    """Stands still, but lets those who try again sleep as long as they want: the broker's clock does not stand still."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@pytest.mark.parametrize(("pause", "appends"), [(IDLE_SECONDS, False), (RENEWAL_SECONDS, True)])
async def test_a_writer_claims_anew_after_ten_idle_minutes_and_after_six_hours(
    wire: Wire, name: PartitionName, pause: float, *, appends: bool
) -> None:
    clock = StoppedClock()
    writer = await writer_of(wire, name, Environment(clock=clock))
    await writer.claim((), clock.monotonic() + 8)
    first, identity = writer.lease, writer._identity
    end = clock.monotonic() + pause
    while clock.monotonic() < end:
        assert not writer.must_claim
        await clock.advance(min(IDLE_SECONDS - 1, end - clock.monotonic()) if appends else pause)
        if appends:
            await writer.append(records_of(writer, "a"), clock.monotonic() + 8)
    assert not writer.must_claim
    await clock.advance(1)
    assert writer.must_claim
    await writer.claim((), clock.monotonic() + 8)
    assert not writer.must_claim
    assert writer.lease != first
    assert writer._identity == (identity.producer_id, identity.epoch + 1)


@pytest.mark.parametrize("fault", ["cut after", "hold"])
async def test_a_cancelled_append_leaves_a_writer_that_has_to_claim(
    proxied_wire: Wire, proxy: KafkaProxy, name: PartitionName, bootstrap: str, fault: str
) -> None:
    writer = await writer_of(proxied_wire, name)
    await writer.claim((), soon())
    first = proxy.on(PRODUCE, "delay", times=1, seconds=30) if fault == "cut after" else proxy.on(PRODUCE, "hold")
    appending = asyncio.create_task(writer.append(records_of(writer, "a"), soon()))
    await first.hit()
    appending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await appending
    assert writer.state is State.DOUBTFUL
    with pytest.raises(OwnershipLostError):
        await writer.append(records_of(writer, "b"), soon())
    proxy.cut()
    proxy.heal()
    await writer.claim((), soon())
    await writer.append(records_of(writer, "c"), soon())
    assert notes_that_count(read_all(bootstrap, name.topic))[-1:] == ["c"]
    assert "b" not in plain_notes(read_all(bootstrap, name.topic))


# -- claims at the same time


async def test_of_writers_that_claim_at_the_same_time_one_writes_on(
    wire: Wire, name: PartitionName, bootstrap: str
) -> None:
    writers = [await writer_of(wire, name) for _ in range(4)]
    acknowledged: list[str] = []

    async def contend(writer: FencedWriter, me: int) -> None:
        for turn in range(5):
            try:
                await writer.claim((), soon(20))
                await writer.append(records_of(writer, f"{me}.{turn}"), soon(20))
            except (OwnershipLostError, LogUnavailableError):
                continue
            acknowledged.append(f"{me}.{turn}")

    async with asyncio.TaskGroup() as tasks:
        for me, writer in enumerate(writers):
            tasks.create_task(contend(writer, me))
    found = read_all(bootstrap, name.topic)
    assert sorted(notes_that_count(found)) == sorted(plain_notes(found)) == sorted(acknowledged)
    assert acknowledged
    assert [await outcome(writer.barrier(soon())) for writer in writers].count(len(found)) == 1


# -- producer ids that change


async def test_when_the_producer_id_changes_the_old_one_is_shut_out_for_good() -> None:
    expiry = {
        "transactional.id.expiration.ms": "1000",
        "transaction.remove.expired.transaction.cleanup.interval.ms": "200",
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "200",
    }
    async with KafkaCluster(settings=expiry) as cluster, wire_to(cluster.bootstrap) as wire:
        name = new_partition(cluster.bootstrap)
        old, new = await writer_of(wire, name), await writer_of(wire, name)
        await old.claim((), soon())
        await old.append(records_of(old, "a"), soon())
        while (await next_identity(wire, name)).producer_id == old.producer_id:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(1.5)  # asking keeps the id alive
        await old.append(records_of(old, "b"), soon())  # nothing has shut it out yet
        await new.claim({old.producer_id}, soon())
        assert new.producer_id != old.producer_id
        with pytest.raises(OwnershipLostError):
            await old.append(records_of(old, "c"), soon())
        for sequence in (0, 1, old._sequence):
            assert await send_as(old, name, wire, sequence) == INVALID_PRODUCER_EPOCH
        await cluster.nodes[0].kill()
        await cluster.nodes[0].start()
        await new.append(records_of(new, "d"), soon(20))
        assert await send_as(old, name, wire, old._sequence) == INVALID_PRODUCER_EPOCH
        found = read_all(cluster.bootstrap, name.topic)
        assert plain_notes(found) == notes_that_count(found) == ["a", "b", "d"]


async def next_identity(wire: Wire, name: PartitionName) -> ProducerIdentity:
    code, identity = await wire.init_producer_id(name.transactional_id, 5)
    assert code in {0, 14, 15, 16, 51, NO_ANSWER}
    return identity if code == 0 else await next_identity(wire, name)


async def test_a_producer_id_that_is_shut_out_twice_stays_shut_out(
    wire: Wire, name: PartitionName, bootstrap: str
) -> None:
    old, new = await writer_of(wire, name), await writer_of(wire, name)
    await old.claim((), soon())
    await new._shut_out(old.producer_id, soon())
    await new._shut_out(old.producer_id, soon())
    with pytest.raises(OwnershipLostError):
        await old.append(records_of(old, "a"), soon())
    assert [each.key for each in read_all(bootstrap, name.topic)[1:]] == [b"\0fence:%d" % old.producer_id]


async def test_a_topic_that_is_gone_is_named_in_the_error(wire: Wire, name: PartitionName, bootstrap: str) -> None:
    writer = await writer_of(wire, name)
    await writer.claim((), soon())
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.delete_topics([name.topic])[name.topic].result(15)
    with pytest.raises((LogUnavailableError, AppendInDoubtError), match=r"UNKNOWN_TOPIC_OR_PARTITION|no known leader"):
        while True:  # the controller has deleted it; the partition's leader hears of that a little later
            await writer.append(records_of(writer, "a"), soon(1))


@pytest.mark.campaign
@pytest.mark.timeout(0)
async def test_when_the_epochs_run_out_writing_goes_on_under_another_producer_id(
    wire: Wire, name: PartitionName, bootstrap: str
) -> None:
    """An epoch is an int16: the coordinator gives another producer id before it would begin from 0 again."""
    old, new = await writer_of(wire, name), await writer_of(wire, name)
    began, epochs = time.monotonic(), 0
    while (await next_identity(wire, name)).epoch < LAST_EPOCHS:
        epochs += 1
    await old.claim((), soon())
    await old.append(records_of(old, "a"), soon())
    while (await next_identity(wire, name)).producer_id == old.producer_id:
        epochs += 1
    await old.append(records_of(old, "b"), soon())  # the id is old, but nothing has shut it out yet
    await new.claim({old.producer_id}, soon())
    assert new.producer_id != old.producer_id
    for sequence in (0, 1, old._sequence):
        assert await send_as(old, name, wire, sequence) == INVALID_PRODUCER_EPOCH
    await new.append(records_of(new, "c"), soon())
    found = read_all(bootstrap, name.topic)
    assert plain_notes(found) == notes_that_count(found) == ["a", "b", "c"]
    print(f"{epochs:,} epochs, the last claimed one {old._identity.epoch}, in {time.monotonic() - began:,.0f} s")


async def test_a_former_owner_whom_the_broker_has_forgotten_is_kept_out_by_the_readers() -> None:
    expiry = {"producer.id.expiration.ms": "1000", "producer.id.expiration.check.interval.ms": "100"}
    async with KafkaCluster(settings=expiry) as cluster, wire_to(cluster.bootstrap) as wire:
        name = new_partition(cluster.bootstrap)
        old, new = await writer_of(wire, name), await writer_of(wire, name)
        await old.claim((), soon())
        await old.append(records_of(old, "a"), soon())
        await new.claim((), soon())
        async with asyncio.timeout(30):
            while await send_as(old, name, wire, sequence=7) == INVALID_PRODUCER_EPOCH:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.2)
        found = read_all(cluster.bootstrap, name.topic)
        assert plain_notes(found) == ["a", "late"]
        assert notes_that_count(found) == ["a"]
