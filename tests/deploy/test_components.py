"""What stands in the hand-written parts because the code says so."""

from __future__ import annotations

import http.server
import re
import subprocess
import threading
from collections.abc import Generator
from functools import partial
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic

from eventstore.testing.connect import DEBEZIUM_VERSION
from eventstore.testing.kafka_installation import KAFKA_VERSION
from eventstore.testing.registry import REGISTRY_VERSION
from tests.cli.conftest import command
from tests.deploy.definitions import FILES, fetch
from tests.deploy.manifests import DEPLOY, Manifests, own_secrets
from tests.deploy.reference_checks import wanted_secrets

README = (DEPLOY / "README.md").read_text()


def test_the_connector_is_what_the_command_prints() -> None:
    arguments = ("outbox", "connector", "examples.billing:outbox", "--format", "strimzi")
    printed = subprocess.run(command(*arguments), capture_output=True, text=True, check=True)
    assert (DEPLOY / "components/connect/connector.yaml").read_text() == printed.stdout


def test_versions_are_those_that_the_tests_run(production: Manifests) -> None:
    kafka = production.get("Kafka", "events")["spec"]["kafka"]
    connect = production.get("KafkaConnect", "connect")["spec"]
    assert kafka["version"] == connect["version"] == KAFKA_VERSION
    debezium = DEBEZIUM_VERSION.removesuffix(".Final")
    assert connect["image"].endswith(f":{KAFKA_VERSION}-{debezium}")
    recipe = (DEPLOY / "components/connect/Containerfile").read_text()
    assert f"debezium-connector-postgres:{DEBEZIUM_VERSION}:tar.gz" in recipe
    assert f"-kafka-{KAFKA_VERSION}\n" in recipe
    (registry,) = production.get("Deployment", "registry")["spec"]["template"]["spec"]["containers"]
    assert registry["image"].endswith(f":{REGISTRY_VERSION}")


def test_the_connector_may_write_where_it_publishes(production: Manifests) -> None:
    config = production.get("KafkaConnector", "billing-outbox")["spec"]["config"]
    connect = production.get("KafkaConnect", "connect")
    acls = production.get("KafkaUser", "connect")["spec"]["authorization"]["acls"]
    named = {(acl["resource"]["type"], acl["resource"]["name"]): set(acl["operations"]) for acl in acls}
    public = config["transforms.outbox.route.topic.replacement"].partition("$")[0]
    assert named["topic", public] >= {"Create", "Write"}
    assert named["topic", f"__debezium-heartbeat.{config['topic.prefix']}"] >= {"Create", "Write"}
    # What Connect calls its own begins with its group: the leader's transactions, the tasks', the topics.
    group = connect["spec"]["groupId"]
    assert named["group", group] >= {"Read"}
    assert named["transactionalId", f"{group}-"] == {"Describe", "Write"}
    topics = [connect["spec"][f"{kind}StorageTopic"] for kind in ("config", "offset", "status")]
    assert all(topic.startswith(f"{group}-") for topic in topics)
    allowed = re.compile(connect["spec"]["config"]["config.providers.env.param.allowlist.pattern"])
    given = {each["name"] for each in connect["spec"]["template"]["connectContainer"]["env"]}
    assert all(allowed.fullmatch(name) for name in given)
    assert {name for value in config.values() for name in re.findall(r"\$\{env:(\w+)\}", value)} == given


def test_the_readme_names_every_secret_that_somebody_has_to_make_and_no_other() -> None:
    made = own_secrets()
    production = Manifests.of_environment("production")
    wanted = {(name, key) for _, name, key in wanted_secrets(production) if name in made}
    assert wanted == {(name, key) for name, keys in made.items() for key in keys}


def test_the_operator_watches_the_namespaces_of_the_overlays() -> None:
    watched = yaml.safe_load((DEPLOY / "operator/values.yaml").read_text())["watchNamespaces"]
    overlays = [yaml.safe_load(path.read_text())["namespace"] for path in DEPLOY.glob("overlays/*/kustomization.yaml")]
    assert sorted(watched) == sorted(overlays)


def test_commands_of_the_readme_name_files_that_are_there_and_commands_that_exist() -> None:
    commands = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
    assert len(commands) > 10
    for line in commands:
        for path in re.findall(r"deploy/[\w./-]+", line):
            assert (DEPLOY.parent / path).exists(), line
        if line.startswith("helm install"):
            assert re.search(r"--version \d+\.\d+\.\d+", line), line
    for name in set(re.findall(r"^eventstore ((?:[a-z]+ )*?[a-z]+)(?= [^a-z]|$)", "\n".join(commands), re.MULTILINE)):
        assert subprocess.run(command(*name.split(), "--help"), capture_output=True).returncode == 0, name


@pytest.mark.kafka
@pytest.mark.timeout(60)  # where this is the first test on Kafka, a broker is started
def test_kafka_knows_every_setting_of_the_brokers_and_of_the_topics(
    kafka_bootstrap: str, production: Manifests
) -> None:
    admin = AdminClient({"bootstrap.servers": kafka_bootstrap})

    def known(kind: ConfigResource.Type, name: str) -> set[str]:
        (described,) = admin.describe_configs([ConfigResource(kind, name)]).values()
        return set(described.result(10))

    (broker, *_) = admin.list_topics(timeout=10).brokers
    kafka = production.get("Kafka", "events")["spec"]["kafka"]["config"]
    assert kafka.keys() <= known(ConfigResource.Type.BROKER, str(broker))
    name = f"settings-{uuid4().hex[:8]}"
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(10)
    topics = production.of("KafkaTopic")
    assert {key for topic in topics for key in topic["spec"]["config"]} <= known(ConfigResource.Type.TOPIC, name)


@pytest.fixture
def project(tmp_path: Path) -> Generator[tuple[str, Path]]:
    """A server that gives files as the projects' do, and where they are."""
    files = tmp_path / "served"
    files.mkdir()
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(files))
    handler.func.log_message = lambda *_: None  # type: ignore[attr-defined,method-assign]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", files
        server.shutdown()
        thread.join()


def test_definitions_are_fetched_once_and_only_as_they_were_released(project: tuple[str, Path], tmp_path: Path) -> None:
    address, files = project
    (files / "a.yaml").write_text("a: 1")
    wanted = {"a.yaml": sha256(b"a: 1").hexdigest()}
    fetch(tmp_path / "cache", address, wanted)
    assert (tmp_path / "cache/a.yaml").read_text() == "a: 1"
    (files / "a.yaml").write_text("a: 2")
    with pytest.raises(SystemExit, match=r"a\.yaml is not what it was"):
        fetch(tmp_path / "other", address, wanted)
    with pytest.raises(SystemExit, match=r"b\.yaml cannot be fetched .*: name a folder with the files in STRIMZI_CRDS"):
        fetch(tmp_path / "other", address, {"b.yaml": ""})
    assert not (tmp_path / "other").exists()


def test_definitions_are_those_of_the_versions_that_are_installed() -> None:
    for project, chart in (("strimzi-kafka-operator", "strimzi-kafka-operator"), ("keda", "kedacore/keda")):
        (version,) = {path.split("/")[2].removeprefix("v") for path in FILES if path.split("/")[1] == project}
        assert re.search(rf"helm install .*{chart} .*--version {re.escape(version)}\b", README.replace("\\\n", "")), (
            project
        )
