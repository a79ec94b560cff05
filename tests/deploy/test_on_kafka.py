"""What is rendered works: topics pass the checks, and every container does its work with its own user and no other."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from eventstore.testing.kafka import KafkaCluster
from eventstore.testing.kafka_config import free_ports
from tests.deploy.applications import checked_in, pods_of
from tests.deploy.applying import Machine, apply_topics, apply_users

# Three brokers with TLS are started on two cores, and three processes after them.
pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("kafka_installation"), pytest.mark.timeout(150)]
PODS = pods_of(checked_in("production"))


@pytest.fixture(scope="module")
def cluster() -> Generator[KafkaCluster]:
    """Three secure nodes with the topics and users of production."""
    documents = checked_in("production")
    with KafkaCluster(nodes=3, secure=True) as started:
        apply_topics(started.client_settings(), documents)
        asyncio.run(apply_users(started, documents))
        yield started


def machine(cluster: KafkaCluster, component: str, directory: Path, query_store: str = "") -> Machine:
    (container,) = PODS[component]["spec"]["containers"]
    user = next(each["value"] for each in container["env"] if each["name"] == "EVENTSTORE_USER")
    return Machine(cluster.bootstrap, directory, cluster.client_settings(user), query_store)


def checked(pod: dict[str, object], on: Machine) -> tuple[int, dict[str, str], str]:
    """Run the job, and give its exit code, results by check, and what it complains about."""
    command, environment = on.command(pod, {}), on.environment(pod)
    position = command.index("eventstore.cli") + 1
    done = subprocess.run(
        [*command[:position], "--json", *command[position:]],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    return done.returncode, {each["check"]: each["result"] for each in findings}, done.stdout + done.stderr


def test_in_production_the_job_finds_every_topic_safe_and_the_fence_proven(
    cluster: KafkaCluster, tmp_path: Path
) -> None:
    code, results, said = checked(PODS["operator"], machine(cluster, "operator", tmp_path / "operator"))
    assert (code, set(results.values())) == (0, {"ok"}), said
    assert len(results) == 6 + 1
    assert "fence" in results


def test_in_development_one_node_will_do(kafka_bootstrap: str, tmp_path: Path) -> None:
    documents = checked_in("dev")
    settings = {"bootstrap.servers": kafka_bootstrap}
    made = apply_topics(settings, documents)
    try:
        code, results, said = checked(
            pods_of(documents)["operator"], Machine(kafka_bootstrap, tmp_path / "operator", {})
        )
        assert (code, set(results.values())) == (0, {"ok"}), said
    finally:
        admin = AdminClient(settings)
        for deleted in admin.delete_topics(made).values():
            deleted.result(30)


@asynccontextmanager
async def running(component: str, on: Machine) -> AsyncGenerator[dict[str, str]]:
    """Run a container until the block ends, and give the addresses of its ports; it has to end by itself when told to."""
    (container,) = PODS[component]["spec"]["containers"]
    names = [port["name"] for port in container["ports"]]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    process = await asyncio.create_subprocess_exec(
        *on.command(PODS[component], ports), env=on.environment(PODS[component])
    )
    try:
        yield {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    finally:
        process.terminate()
        async with asyncio.timeout(PODS[component]["spec"]["terminationGracePeriodSeconds"]):
            # A web server that has finished ends by the signal that told it to.
            assert await process.wait() in ({0, -signal.SIGTERM} if "http" in ports else {0})


async def probed(client: httpx.AsyncClient, component: str, addresses: dict[str, str], probe: str) -> None:
    """Return when a probe succeeds."""
    (container,) = PODS[component]["spec"]["containers"]
    asked = container[probe]["httpGet"]
    while True:
        try:
            if (await client.get(addresses[asked["port"]] + asked["path"])).status_code == 200:
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.1)


async def test_the_containers_of_production_do_their_work(
    cluster: KafkaCluster, postgres_database: str, tmp_path: Path
) -> None:
    async with AsyncExitStack() as processes, httpx.AsyncClient(timeout=30) as client:
        addresses = {
            component: await processes.enter_async_context(
                running(component, machine(cluster, component, tmp_path / component, postgres_database))
            )
            for component in ("writer", "worker", "relay")
        }
        for component, ports in addresses.items():
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                await probed(client, component, ports, probe)
        service = addresses["writer"]["http"]
        created = await client.post(f"{service}/tasks/1/commands/create-task", json={"title": "write"})
        assert created.status_code == 201, created.text
        wanted = {"Eventstore-Position": created.headers["eventstore-position"], "Prefer": "wait=20"}
        seen = await client.get(f"{service}/task-board/1", headers=wanted)
        assert (seen.status_code, seen.json()["title"]) == (200, "write")
        measured = {
            name: (await client.get(f"{addresses[name]['metrics']}/metrics")).text for name in ("writer", "worker")
        }
        assert (
            'eventsourcing_command_duration_seconds_count{command="CreateTask",outcome="executed"} 1.0'
            in measured["writer"]
        )
        assert (
            'eventsourcing_projection_lag_events{partition="task/0",projection="task_board"} 0.0' in measured["worker"]
        )
        published = await asyncio.to_thread(first_in, cluster, "tasks.public.tasks")
    assert (published["event_type"], published["data"]) == ("task.announced", {"title": "write"})


def first_in(cluster: KafkaCluster, topic: str) -> dict[str, object]:
    """Wait for a record in a topic."""
    settings = {**cluster.client_settings(), "group.id": "reader", "enable.auto.commit": "false"}
    consumer = Consumer({**settings, "isolation.level": "read_committed"})
    try:
        consumer.assign([TopicPartition(topic, number, 0) for number in range(12)])
        message = consumer.poll(30)
        assert message is not None
        assert message.error() is None
        found: dict[str, object] = json.loads(message.value() or b"")
        return found
    finally:
        consumer.close()
