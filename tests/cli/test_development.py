"""`eventstore dev`: servers that are there when they say so and gone afterwards."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from eventstore.testing.kafka_config import addresses
from tests.cli.conftest import command, environment
from tests.testing.processes import processes_of
from tests.testing.records import known_topics, new_topic


@pytest.mark.kafka
@pytest.mark.timeout(60)
@pytest.mark.usefixtures("kafka_installation")
def test_kafka_runs_until_it_is_interrupted_and_finds_what_it_kept_in_the_next_run(tmp_path: Path) -> None:
    port = addresses(1, None)[0].port
    client = {"bootstrap.servers": f"127.0.0.1:{port}"}
    topics: list[str] = []
    for how in (signal.SIGINT, signal.SIGTERM):
        with subprocess.Popen(
            command("--json", "dev", "kafka", "--port", f"{port}", "--keep", f"{tmp_path}"),
            env=environment(tmp_path / "no.db"),
            stdout=subprocess.PIPE,
            text=True,
        ) as server:
            assert server.stdout is not None
            assert json.loads(server.stdout.readline()) == {"bootstrap": f"127.0.0.1:{port}"}
            topics.append(new_topic(client))
            assert set(topics) <= known_topics(client)
            server.send_signal(how)
            assert server.wait() == 0
        assert processes_of(tmp_path) == []
