"""What is rendered follows from the code: its topics, the rights on them, and no process that it does not need."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import yaml

from eventstore import Recorded
from eventstore.core.errors import ConfigurationError
from eventstore.deploy import render
from eventstore.deploy.environments import Writers
from eventstore.kafka.rights import rights_of
from eventstore.publishing import Publication, publishes
from eventstore.telemetry import catalog
from eventstore.telemetry.alerts import rules
from eventstore.telemetry.dashboard import dashboard
from examples.task_domain.app import store as tasks
from tests.deploy.applications import (
    ROOT,
    STAGES,
    Account,
    Accounts,
    Card,
    Document,
    Opened,
    Openings,
    Payments,
    bank,
    checked_in,
    deaf,
    drawn,
    embedded,
    named,
    of_kind,
    pods_of,
    rendered,
)

APP = "examples.task_domain.app:store"


@pytest.mark.parametrize("seed", ["1", "2"])
def test_what_is_checked_in_is_what_is_rendered_whatever_the_surroundings(seed: str) -> None:
    surroundings = {**os.environ, "PYTHONHASHSEED": seed, "EVENTSTORE_PARTITIONS": "3", "EVENTSTORE_BOOTSTRAP": "a:1"}
    done = subprocess.run(
        [sys.executable, "-m", "eventstore.cli", "--app", APP, "deploy", "diff"],
        cwd=ROOT,
        env=surroundings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), f"run make render: {done.stdout}"
    assert done.stdout.count(": as rendered") == len(STAGES)


def acls(user: Document) -> set[tuple[str, str, str, str]]:
    return {
        (acl["resource"]["type"], acl["resource"]["name"], acl["resource"]["patternType"], operation)
        for acl in user["spec"]["authorization"]["acls"]
        for operation in acl["operations"]
    }


@pytest.mark.parametrize("stage", STAGES)
def test_every_user_has_the_rights_of_its_role_and_no_others(stage: str) -> None:
    blueprint = drawn(tasks, stage)
    kinds = {"topic": "topic", "group": "group", "transactional_id": "transactionalId"}
    users = {user["metadata"]["name"]: acls(user) for user in of_kind(checked_in(stage), "KafkaUser")}
    expected: dict[str, set[tuple[str, str, str, str]]] = {}
    for role in ("writer", "projection", "relay", "operator"):
        granted = rights_of(role, blueprint.names, blueprint.inventory, sends=role == "projection")
        expected[f"tasks-{role}"] = {
            (kinds[right.resource], right.name, "prefix" if right.pattern == "prefixed" else "literal", operation)
            for right in granted
            for operation in right.operations
        }
    assert users == expected


@pytest.mark.parametrize("stage", STAGES)
def test_rights_cover_exactly_the_topics_there_are(stage: str) -> None:
    found = checked_in(stage)
    topics = {topic["metadata"]["name"] for topic in of_kind(found, "KafkaTopic")}
    granted = {
        name
        for user in of_kind(found, "KafkaUser")
        for kind, name, pattern, _ in acls(user)
        if kind == "topic" and pattern == "literal"
    }
    assert granted == topics == {
        "tasks.replies",
        "tasks.public.tasks",
        *(f"tasks.{category}.{kind}" for category in ("task", "calendar") for kind in ("events", "commands")),
    }  # fmt: skip


def test_only_writers_may_write_events() -> None:
    users = of_kind(checked_in("production"), "KafkaUser")
    able = {
        user["metadata"]["name"] for user in users if ("topic", "tasks.task.events", "literal", "Write") in acls(user)
    }
    assert able == {"tasks-writer"}


def test_another_category_adds_exactly_its_topics() -> None:
    before, after = rendered(bank()), rendered(bank(aggregates=[Account, Card]))
    names = [{each["metadata"]["name"] for each in of_kind(found, "KafkaTopic")} for found in (before, after)]
    assert names[1] - names[0] == {"bank.card-issue.events", "bank.card-issue.commands"}
    assert names[0] < names[1]
    for topic in of_kind(before, "KafkaTopic"):
        assert topic in after


def test_a_topic_whose_name_is_none_of_kubernetes_keeps_it() -> None:
    found = rendered(bank(aggregates=[Card]))
    assert named(found, "KafkaTopic", "bank.card-issue.events")["spec"]["topicName"] == "bank.card_issue.events"
    assert "topicName" not in named(found, "KafkaTopic", "bank.replies")["spec"]


def test_two_topics_that_kubernetes_cannot_tell_apart_are_refused() -> None:
    class Twins(Publication, name="twins"):
        @publishes("bank.a_b", "bank.a-b")
        def opened(self, event: Opened, at: Recorded) -> Opened:
            return event

    with pytest.raises(
        ConfigurationError, match=r"bank.a-b and bank.a_b would both be the KafkaTopic bank.a-b: rename"
    ):
        rendered(bank(publications=[Twins]))


def test_events_are_compacted_and_kept_and_replicated_as_the_cluster_allows() -> None:
    for stage, replicas, in_sync in (("dev", 1, "1"), ("production", 3, "2")):
        spec = named(checked_in(stage), "KafkaTopic", "tasks.task.events")["spec"]
        assert spec["config"]["cleanup.policy"] == "compact"
        assert (spec["config"]["retention.ms"], spec["config"]["retention.bytes"]) == ("-1", "-1")
        assert (spec["replicas"], spec["config"]["min.insync.replicas"]) == (replicas, in_sync)


@pytest.mark.parametrize(
    ("parts", "components"),
    [
        ({}, {"writer", "operator"}),
        ({"projections": [Accounts]}, {"writer", "worker", "operator"}),
        ({"publications": [Openings]}, {"writer", "relay", "operator"}),
        ({"inboxes": [Payments]}, {"writer", "inbox", "operator"}),
    ],
)
def test_there_is_no_process_and_no_user_that_the_application_does_not_need(
    parts: dict[str, Any], components: set[str]
) -> None:
    found = rendered(bank(**parts))
    assert set(pods_of(found)) == components
    users = {user["metadata"]["labels"]["app.kubernetes.io/component"] for user in of_kind(found, "KafkaUser")}
    assert users == components - {"inbox"}  # which is a writer, too
    assert bool(of_kind(found, "ScaledObject")) == ("worker" in components)
    monitored = of_kind(found, "PodMonitor")[0]["spec"]["selector"]["matchExpressions"][0]["values"]
    assert set(monitored) == components & {"writer", "worker", "inbox"}


def test_public_topics_are_made_and_written_by_the_relay_alone() -> None:
    found = rendered(bank(publications=[Openings]))
    for topic in ("bank.openings", "audit.openings"):
        assert named(found, "KafkaTopic", topic)["spec"]["config"]["cleanup.policy"] == "delete"
        able = {
            user["metadata"]["name"]
            for user in of_kind(found, "KafkaUser")
            if ("topic", topic, "literal", "Write") in acls(user)
        }
        assert able == {"bank-relay"}


def test_an_inbox_logs_in_as_a_writer_which_may_read_its_topics_and_park_letters() -> None:
    found = rendered(bank(inboxes=[Payments]))
    (container,) = pods_of(found)["inbox"]["spec"]["containers"]
    assert container["args"] == ["inbox", "--metrics-port=9464", "--metrics-address=0.0.0.0"]
    assert {"name": "EVENTSTORE_USER", "value": "bank-writer"} in container["env"]
    granted = acls(named(found, "KafkaUser", "bank-writer"))
    assert ("topic", "paid.public", "literal", "Read") in granted
    assert ("topic", "paid.public", "literal", "Write") not in granted
    assert ("topic", "bank.inbox.payments.dead", "literal", "Write") in granted
    assert named(found, "KafkaTopic", "bank.inbox.payments.dead")["spec"]["partitions"] == 1
    assert not [topic for topic in of_kind(found, "KafkaTopic") if topic["metadata"]["name"] == "paid.public"]


def test_there_are_at_most_as_many_workers_as_partitions_to_share() -> None:
    spec = of_kind(rendered(bank(projections=[Accounts])), "ScaledObject")[0]["spec"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (2, 12)
    spec = of_kind(checked_in("production"), "ScaledObject")[0]["spec"]
    assert spec["maxReplicaCount"] == 24  # a process manager reads two categories
    few = {"partitions": 1}
    with pytest.raises(ConfigurationError, match=r"\[production\] workers: from 2 to 1 .* 1 partitions to share"):
        rendered(bank(projections=[Accounts]), **few)


def test_scaling_alerts_and_dashboard_speak_of_metrics_that_there_are() -> None:
    found = checked_in("production")
    trigger = of_kind(found, "ScaledObject")[0]["spec"]["triggers"][0]["metadata"]
    assert catalog.LAG_EVENTS.exposed_name in trigger["query"]
    runbook = "https://docs.example/eventstore/telemetry/"
    assert of_kind(found, "PrometheusRule")[0]["spec"] == rules(runbook)
    model = of_kind(found, "ConfigMap")[0]["data"]["tasks.json"]
    assert yaml.safe_load(model) == dashboard("tasks (production)")


def test_an_application_that_does_not_heed_its_environment_is_refused() -> None:
    with pytest.raises(
        ConfigurationError, match="works with partitions=5 where EVENTSTORE_PARTITIONS says 12: .*from_env"
    ):
        drawn(deaf)
    with pytest.raises(
        ConfigurationError, match="bank:store keeps its log in a SqliteLog even where EVENTSTORE_BOOTSTRAP"
    ):
        drawn(embedded)
    with pytest.raises(ConfigurationError, match=r"has read models, but \[production\] does not say where"):
        drawn(bank(projections=[Accounts]), query_store=None)
    with pytest.raises(ConfigurationError, match=r"nothing to do: say what the writers of \[production\] run"):
        drawn(bank(), writers=Writers())


def test_rendering_leaves_the_process_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENTSTORE_USER", "me")
    before = dict(os.environ)
    render(drawn(bank()))
    assert dict(os.environ) == before
