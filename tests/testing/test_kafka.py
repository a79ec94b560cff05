"""The Kafka that tests start for themselves: usable, durable over a kill, and gone without a trace."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from confluent_kafka import KafkaException

from eventstore.core.errors import ConfigurationError, StoreUnavailableError
from eventstore.testing import kafka_installation
from eventstore.testing.kafka import KafkaCluster, kafka_server
from eventstore.testing.kafka_docker import docker_answers, kafka_in_docker
from tests.testing.processes import eventually, processes_of, runs
from tests.testing.records import consume, known_nodes, known_topics, new_topic, produce

if TYPE_CHECKING:
    from collections.abc import Generator

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("kafka_installation"), pytest.mark.timeout(60)]

START_ONE_AND_WAIT = """
import time
from eventstore.testing.kafka import KafkaCluster
with KafkaCluster() as cluster:
    print(cluster.nodes[0].pid, cluster.nodes[0].directory.parent, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def no_server_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAFKA_BOOTSTRAP", raising=False)


@pytest.fixture(scope="module")
def cluster() -> Generator[KafkaCluster]:
    """One node, which tests may hurt but leave running."""
    with KafkaCluster() as started:
        yield started


def test_a_record_written_with_confluent_kafka_is_read_back(kafka_bootstrap: str) -> None:
    client = {"bootstrap.servers": kafka_bootstrap}
    topic = new_topic(client)
    assert produce(client, topic, b"7", b"8") == [None, None]
    assert consume(client, topic, 2) == [b"7", b"8"]


async def test_a_record_written_with_aiokafka_is_read_back(kafka_bootstrap: str) -> None:
    topic = new_topic({"bootstrap.servers": kafka_bootstrap})
    async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap) as producer:
        await producer.send_and_wait(topic, b"7")
    async with AIOKafkaConsumer(topic, bootstrap_servers=kafka_bootstrap, auto_offset_reset="earliest") as consumer:
        assert (await consumer.getone()).value == b"7"


def test_a_topic_nobody_created_does_not_come_into_being(kafka_bootstrap: str) -> None:
    client, topic = {"bootstrap.servers": kafka_bootstrap}, f"t-{uuid4().hex}"
    assert produce(client, topic, b"7", seconds=0.5) != [None]
    assert topic not in known_topics(client)


def test_a_broker_named_in_the_environment_is_used_and_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP", "kafka.example:9092")
    with kafka_server() as bootstrap:
        assert bootstrap == "kafka.example:9092"


@pytest.mark.parametrize(("program", "advice"), [("java", "there is no java on the path"), ("mvn", "no mvn")])
def test_without_java_or_maven_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str, advice: str
) -> None:
    which = kafka_installation.shutil.which
    monkeypatch.setattr(
        kafka_installation.shutil, "which", lambda name, **where: None if name == program else which(name, **where)
    )
    monkeypatch.setenv("EVENTSTORE_CACHE", str(tmp_path))
    with pytest.raises(ConfigurationError, match=rf"{advice}.*Install Java 17 or newer and Maven"), KafkaCluster():
        pass


def test_java_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r'too old \(openjdk version "11.0.2"'), KafkaCluster():
        pass


def test_processes_that_fetch_the_jars_at_the_same_time_do_not_disturb_each_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Stands in for Maven: it copies slowly, so that all are at it when the first one is done.
    maven = tmp_path / "bin" / "mvn"
    maven.parent.mkdir()
    maven.write_text("#!/bin/sh\nmkdir fetched && touch fetched/one.jar && sleep 0.5 && touch fetched/two.jar\n")
    maven.chmod(0o755)
    monkeypatch.setenv("PATH", f"{maven.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("EVENTSTORE_CACHE", str(tmp_path / "cache"))
    script = "from eventstore.testing.kafka_installation import find_installation as f; print(*f().jars.iterdir())"
    processes = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    for process in processes:
        assert len(process.communicate()[0].split()) == 2
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["kafka-4.3.1"]


async def test_acknowledged_records_survive_a_kill_and_a_restart(cluster: KafkaCluster) -> None:
    client, node = cluster.client_settings(), cluster.nodes[0]
    topic = new_topic(client)
    assert produce(client, topic, b"7") == [None]
    await node.kill()
    assert node.pid is None
    await node.start()
    assert consume(client, topic, 1) == [b"7"]


def test_a_node_that_is_paused_answers_when_it_is_resumed(cluster: KafkaCluster) -> None:
    client, node = cluster.client_settings(), cluster.nodes[0]
    node.pause()
    with pytest.raises(KafkaException, match="Failed to get metadata"):
        known_nodes(client, seconds=1)
    node.resume()
    assert known_nodes(client) == {1}


async def test_a_node_shuts_down_in_order_even_if_it_is_paused_and_leaves_nothing_behind() -> None:
    async with KafkaCluster() as cluster:
        node = cluster.nodes[0]
        directory = node.directory.parent
        assert processes_of(directory)
        node.pause()
        await node.stop()
        assert node.pid is None
        assert "[BrokerServer id=1] shut down completed" in node.log_tail(400)
        with pytest.raises(ConfigurationError, match="node 1 does not run"):
            node.pause()
    assert not directory.exists()
    assert processes_of(directory) == []


async def test_settings_reach_the_broker() -> None:
    with pytest.raises(StoreUnavailableError, match=r"node 1.*logged:\n(.|\n)*num.network.threads"):
        async with KafkaCluster(settings={"num.network.threads": "none"}):
            pass


def test_a_port_that_is_taken_is_refused(cluster: KafkaCluster) -> None:
    port = cluster.nodes[0].port
    with pytest.raises(ConfigurationError, match=f"port {port} is taken"), KafkaCluster(port=port):
        pass


def test_a_directory_kept_from_another_number_of_nodes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "node-1/data").mkdir(parents=True)
    (tmp_path / "node-1/data/meta.properties").touch()
    with pytest.raises(ConfigurationError, match="a cluster of 1 nodes"), KafkaCluster(nodes=3, directory=tmp_path):
        pass


@pytest.mark.parametrize("started", ["output", "server.log"])
async def test_a_start_that_is_cancelled_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, started: str
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    starting = asyncio.create_task(KafkaCluster().__aenter__())
    assert await asyncio.to_thread(eventually, lambda: bool(list(tmp_path.glob(f"*/node-1/{started}"))))
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert list(tmp_path.iterdir()) == []
    assert processes_of(tmp_path) == []


def test_a_broker_goes_when_the_process_that_started_it_is_killed() -> None:
    owner = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", START_ONE_AND_WAIT],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert owner.stdout is not None
    with owner, owner.stdout:
        pid, directory = owner.stdout.readline().split()
        owner.send_signal(signal.SIGKILL)
    assert eventually(lambda: not runs(int(pid)))
    assert eventually(lambda: not Path(directory).exists() and not processes_of(Path(directory)))


@pytest.mark.timeout(300)
@pytest.mark.skipif(not docker_answers(), reason="needs testcontainers and a Docker engine that answers")
def test_a_broker_in_docker_keeps_a_record() -> None:
    with kafka_in_docker() as bootstrap:
        client = {"bootstrap.servers": bootstrap}
        topic = new_topic(client)
        assert produce(client, topic, b"7") == [None]
        assert consume(client, topic, 1) == [b"7"]
