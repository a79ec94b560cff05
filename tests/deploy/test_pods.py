"""Pods are restricted, watched, and find what they need; nothing selects what is not there."""

from __future__ import annotations

from typing import Any

import pytest

from eventstore.deploy.environments import Place, SecretKey, Writers
from tests.deploy.applications import (
    STAGES,
    Account,
    Accounts,
    Document,
    Openings,
    bank,
    checked_in,
    named,
    of_kind,
    pods_of,
    rendered,
)

SELECTING = {"Service", "StatefulSet", "Deployment", "PodDisruptionBudget", "NetworkPolicy", "PodMonitor"}


def selector_of(document: Document) -> Document:
    spec = document["spec"]
    if document["kind"] == "Service":
        return {"matchLabels": spec["selector"]}
    selector: Document = spec["podSelector" if document["kind"] == "NetworkPolicy" else "selector"]
    return selector


def matches(selector: Document, labels: dict[str, str]) -> bool:
    wanted = selector.get("matchLabels", {})
    expressions: list[Any] = selector.get("matchExpressions", [])
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        labels.get(one["key"]) in one["values"] for one in expressions
    )


@pytest.mark.parametrize("stage", STAGES)
def test_every_selector_finds_pods_and_workloads_find_only_their_own(stage: str) -> None:
    found = checked_in(stage)
    pods = {component: pod["metadata"]["labels"] for component, pod in pods_of(found).items()}
    for document in of_kind(found, *SELECTING):
        selected = {component for component, labels in pods.items() if matches(selector_of(document), labels)}
        assert selected, document["metadata"]["name"]
        if document["kind"] in ("StatefulSet", "Deployment", "PodDisruptionBudget", "Service"):
            assert selected == {document["metadata"]["labels"]["app.kubernetes.io/component"]}


@pytest.mark.parametrize("stage", STAGES)
def test_everything_says_what_it_belongs_to(stage: str) -> None:
    for document in checked_in(stage):
        labels = document["metadata"]["labels"]
        assert document["metadata"]["namespace"] == f"tasks-{stage}"
        assert (labels["app.kubernetes.io/part-of"], labels["app.kubernetes.io/managed-by"]) == ("tasks", "eventstore")


@pytest.mark.parametrize("stage", STAGES)
def test_pods_are_restricted_and_limited(stage: str) -> None:
    for pod in pods_of(checked_in(stage)).values():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        (container,) = spec["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert set(container["resources"]["requests"]) == set(container["resources"]["limits"]) == {"cpu", "memory"}


@pytest.mark.parametrize("stage", STAGES)
def test_credentials_come_from_what_strimzi_makes_of_the_users(stage: str) -> None:
    found = checked_in(stage)
    users = {user["metadata"]["name"] for user in of_kind(found, "KafkaUser")}
    for pod in pods_of(found).values():
        (container,) = pod["spec"]["containers"]
        environment = {each["name"]: each.get("value") for each in container["env"]}
        secrets = {volume["name"]: volume.get("secret") for volume in pod["spec"]["volumes"]}
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert environment["EVENTSTORE_USER"] == secrets["user"]["secretName"]
        assert environment["EVENTSTORE_USER"] in users
        assert environment["EVENTSTORE_PASSWORD_FILE"] == f"{mounts['user']}/{secrets['user']['items'][0]['path']}"
        assert secrets["authority"]["secretName"] == "events-cluster-ca-cert"
        assert (
            environment["EVENTSTORE_AUTHORITY"] == f"{mounts['authority']}/{secrets['authority']['items'][0]['path']}"
        )
        assert "EVENTSTORE_PASSWORD" not in environment
        assert set(mounts) <= {*secrets, "index"}


def test_only_who_queries_gets_the_query_stores_url() -> None:
    found = checked_in("production")
    given = {
        component
        for component, pod in pods_of(found).items()
        if any(each["name"] == "EVENTSTORE_QUERY_STORE" for each in pod["spec"]["containers"][0]["env"])
    }
    assert given == {"writer", "worker"}
    policy = named(found, "NetworkPolicy", "tasks-query-store")
    assert set(policy["spec"]["podSelector"]["matchExpressions"][0]["values"]) == given


@pytest.mark.parametrize("stage", STAGES)
def test_probes_ask_ports_that_there_are_and_wait_for_the_restore(stage: str) -> None:
    for component, pod in pods_of(checked_in(stage)).items():
        (container,) = pod["spec"]["containers"]
        if component == "operator":
            assert "livenessProbe" not in container
            continue
        ports = {port["name"] for port in container["ports"]}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container[probe]["httpGet"]["port"] in ports
        patience = container["startupProbe"]["periodSeconds"] * container["startupProbe"]["failureThreshold"]
        assert patience >= (1800 if stage == "production" else 600)


def test_a_pod_is_given_the_time_to_hand_over() -> None:
    # A hand-over takes 5 s, a commit 8 s, a command 10 s at most.
    for pod in pods_of(checked_in("production")).values():
        assert pod["spec"]["terminationGracePeriodSeconds"] > 5 + 8 + 10


def test_processes_with_an_index_keep_it_on_a_volume_and_others_keep_nothing() -> None:
    found = checked_in("production")
    for kind, expected in (("StatefulSet", {"tasks-writer", "tasks-worker"}), ("Deployment", {"tasks-relay"})):
        assert {each["metadata"]["name"] for each in of_kind(found, kind)} == expected
    for workload in of_kind(found, "StatefulSet"):
        (claim,) = workload["spec"]["volumeClaimTemplates"]
        assert claim["spec"]["resources"]["requests"]["storage"] == "20Gi"
        assert "storageClassName" not in claim["spec"]
        assert claim["metadata"]["name"] not in {
            volume["name"] for volume in workload["spec"]["template"]["spec"]["volumes"]
        }


def test_keda_alone_decides_how_many_workers_there_are() -> None:
    found = checked_in("production")
    target = of_kind(found, "ScaledObject")[0]["spec"]["scaleTargetRef"]
    workload = named(found, target["kind"], target["name"])
    assert "replicas" not in workload["spec"]
    assert "--no-serve" in workload["spec"]["template"]["spec"]["containers"][0]["args"]


def test_the_writer_of_an_application_without_a_service_is_a_worker() -> None:
    found = rendered(bank(projections=[Accounts]), writers=Writers())
    (container,) = pods_of(found)["writer"]["spec"]["containers"]
    assert "command" not in container
    assert container["args"] == ["worker", "--metrics-port=9464", "--metrics-address=0.0.0.0"]
    assert {service["metadata"]["name"] for service in of_kind(found, "Service")} == {"bank-writer", "bank-worker"}
    assert "bank-clients" not in {policy["metadata"]["name"] for policy in of_kind(found, "NetworkPolicy")}


def test_what_an_application_needs_besides_is_reached_and_its_secrets_stay_secrets() -> None:
    registry = Place(port=8443, namespace="registry")
    found = rendered(
        bank(), reaches=[registry], secrets={"REGISTRY_PASSWORD": SecretKey(secret="registry", key="password")}
    )
    policy = named(found, "NetworkPolicy", "bank-reaches")["spec"]
    assert policy["egress"] == [
        {
            "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "registry"}}}],
            "ports": [{"protocol": "TCP", "port": 8443}],
        }
    ]
    for pod in pods_of(found).values():
        reference = {"secretKeyRef": {"name": "registry", "key": "password"}}
        assert {"name": "REGISTRY_PASSWORD", "valueFrom": reference} in pod["spec"]["containers"][0]["env"]


def test_nobody_speaks_to_anybody_but_as_allowed() -> None:
    found = rendered(bank(aggregates=[Account], publications=[Openings]))
    policies = {policy["metadata"]["name"]: policy["spec"] for policy in of_kind(found, "NetworkPolicy")}
    assert policies["bank-default"] == {
        "podSelector": {"matchLabels": {"app.kubernetes.io/part-of": "bank"}},
        "policyTypes": ["Ingress", "Egress"],
    }
    for name, spec in policies.items():
        for rule in (*spec.get("ingress", ()), *spec.get("egress", ())):
            assert rule["ports"], name
            assert rule.get("from") or rule.get("to"), name


def test_another_job_verifies_other_topics() -> None:
    jobs = [
        of_kind(rendered(make), "Job")[0]["metadata"]["name"]
        for make in (bank(), bank(), bank(publications=[Openings]))
    ]
    assert jobs[0] == jobs[1] != jobs[2]
