"""Campaign: the jobs of the manifests back up a log and restore it into an empty one, each as its own user and no other.

`python -m pytest -m campaign --timeout=0 -s tests/campaigns/test_backup_jobs.py`
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from eventstore import EventStore
from eventstore.testing.kafka import KafkaCluster
from examples.task_domain.aggregates import Task
from examples.task_domain.app import store as task_store
from examples.task_domain.commands import CreateTask, UpdateTask
from tests.deploy.applications import Document, checked_in
from tests.deploy.applying import Machine, apply_topics, apply_users
from tests.deploy.manifests import Manifests, template_of

pytestmark = [pytest.mark.campaign, pytest.mark.kafka, pytest.mark.postgres]
TASKS = 200


@pytest.fixture(scope="module")
def cluster() -> Generator[KafkaCluster]:
    with KafkaCluster(nodes=3, secure=True) as started:
        asyncio.run(apply_users(started, checked_in("production")))
        yield started


class Jobs:
    """Runs containers of the production overlay on this machine, with an index of its own for each run."""

    def __init__(self, cluster: KafkaCluster, query_store: str, directory: Path) -> None:
        self._cluster, self._query_store, self._directory = cluster, query_store, directory
        self._runs = 0

    def environment(self, kind: str, name: str, container: str) -> tuple[list[str], dict[str, str]]:
        spec = template_of(Manifests.of_environment("production").get(kind, name))["spec"]
        (found,) = [
            each for each in [*spec.get("initContainers", []), *spec["containers"]] if each["name"] == container
        ]
        found["args"] = [word.replace("/scratch", str(self._directory)) for word in found.get("args", [])]
        pod: Document = {"spec": {"containers": [found]}}
        (user,) = [each["value"] for each in found["env"] if each["name"] == "EVENTSTORE_USER"]
        self._runs += 1
        login, own = self._cluster.client_settings(user), self._directory / f"run-{self._runs}"
        machine = Machine(self._cluster.bootstrap, own, login, self._query_store)
        return machine.command({"spec": {"containers": [found | {"ports": []}]}}, {}), machine.environment(pod)

    def run(self, kind: str, name: str, container: str) -> str:
        command, environment = self.environment(kind, name, container)
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    @asynccontextmanager
    async def store(self, patch: pytest.MonkeyPatch) -> AsyncGenerator[EventStore]:
        """Open the application as a writer."""
        _, environment = self.environment("StatefulSet", "tasks-writer", "writer")
        for name, value in environment.items():
            patch.setenv(name, value)
        async with task_store() as opened:
            yield opened


async def everything(store: EventStore) -> str:
    found = [
        [(event.model_dump_json(), str(at.event_id)) for event, at in await store.history(Task, str(number))]
        for number in range(TASKS)
    ]
    return json.dumps(found)


def until_gone(cluster: KafkaCluster, topics: set[str]) -> None:
    """Return when every node has heard that the topics are deleted."""
    deadline = time.monotonic() + 30
    for node in cluster.nodes:
        asked = AdminClient(cluster.client_settings() | {"bootstrap.servers": node.address})
        while asked.list_topics(timeout=10).topics.keys() & topics:
            assert time.monotonic() < deadline
            time.sleep(0.1)


async def test_a_log_that_is_lost_comes_back_from_its_backup(
    cluster: KafkaCluster, postgres_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = Jobs(cluster, postgres_database, tmp_path)
    made = apply_topics(cluster.client_settings(), checked_in("production"))
    async with jobs.store(monkeypatch) as store:
        for number in range(TASKS):
            await store.execute(Task, str(number), CreateTask(title=f"task {number}"))
            if number % 2:
                await store.execute(Task, str(number), UpdateTask(title=f"changed {number}"))
        before = await everything(store)
    assert f"exported {TASKS + TASKS // 2} events" in jobs.run("CronJob", "backup", "export")
    admin = AdminClient(cluster.client_settings())
    for deleted in admin.delete_topics(made).values():
        deleted.result(30)
    await asyncio.to_thread(until_gone, cluster, set(made))
    apply_topics(cluster.client_settings(), checked_in("production"))
    assert f"imported {TASKS + TASKS // 2} events" in jobs.run("CronJob", "restore", "import")
    assert f"imported 0 events; {TASKS + TASKS // 2} were there already" in jobs.run("CronJob", "restore", "import")
    async with jobs.store(monkeypatch) as store:
        assert await everything(store) == before
