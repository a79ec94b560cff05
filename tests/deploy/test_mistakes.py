"""Mistakes planted in the manifests of production: each is found, by the check that is there for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest

from tests.deploy import kafka_checks, reference_checks, workload_checks
from tests.deploy.checks import Check
from tests.deploy.definitions import Definitions
from tests.deploy.manifests import Document, Manifests, template_of
from tests.deploy.test_overlays import of_kubernetes

EVENTS = "tasks.task.events"


def at(document: Any, path: str) -> Any:
    """Follow a path such as `spec.containers.0`."""
    for part in path.split("."):
        document = document[int(part) if part.isdigit() else part.replace("~", ".")]
    return document


class Mistake(NamedTuple):
    """One change to one document, and what is said of it; `.` inside a key is written `~`."""

    check: Check
    document: tuple[str, str]
    path: str
    value: Any
    finding: str


def pod(path: str) -> str:
    return f"spec.template.spec.{path}"


CONTAINER = pod("containers.0")
MISTAKES: Sequence[Mistake] = [
    Mistake(workload_checks.images_are_of_one_version, ("StatefulSet", "tasks-writer"), f"{CONTAINER}.image", "tasks:latest", "which version"),
    Mistake(workload_checks.images_are_of_one_version, ("Deployment", "registry"), f"{CONTAINER}.image", "apicurio-registry", "which version"),
    Mistake(workload_checks.resources_are_bounded, ("StatefulSet", "tasks-worker"), f"{CONTAINER}.resources.limits", {}, "no limits.memory"),
    Mistake(workload_checks.resources_are_bounded, ("KafkaNodePool", "brokers"), "spec.resources.requests.memory", "1Gi", "memory is promised"),
    Mistake(workload_checks.security_is_restricted, ("StatefulSet", "tasks-writer"), pod("securityContext.runAsUser"), 0, "runAsUser"),
    Mistake(workload_checks.security_is_restricted, ("Deployment", "tasks-relay"), f"{CONTAINER}.securityContext.readOnlyRootFilesystem", False, "readOnlyRoot"),
    Mistake(workload_checks.security_is_restricted, ("Deployment", "registry"), f"{CONTAINER}.securityContext.capabilities", {"add": ["NET_ADMIN"]}, "capabilities"),
    Mistake(workload_checks.security_is_restricted, ("Namespace", "tasks-production"), "metadata.labels", {}, "not restricted"),
    Mistake(workload_checks.no_secret_is_in_clear, ("Deployment", "registry"), f"{CONTAINER}.env.4", {"name": "APICURIO_DATASOURCE_PASSWORD", "value": "hunter2"}, "holds its value"),
    Mistake(workload_checks.no_secret_is_in_clear, ("Deployment", "registry"), f"{CONTAINER}.env.2", {"name": "URL", "value": "postgresql://a:hunter2@db/x"}, "in clear"),
    Mistake(workload_checks.no_secret_is_in_clear, ("KafkaConnector", "billing-outbox"), "spec.config.database~password", "hunter2", "no reference"),
    Mistake(reference_checks.selectors_find_pods, ("Service", "tasks"), "spec.selector", {"app.kubernetes.io/name": "task"}, "Service/tasks: finds no pods"),
    Mistake(reference_checks.selectors_find_pods, ("PodDisruptionBudget", "registry"), "spec.selector.matchLabels", {"app": "registry"}, "PodDisruptionBudget/registry"),
    Mistake(reference_checks.selectors_find_pods, ("PodMonitor", "kafka"), "spec.selector.matchExpressions.0.values", ["Kafkas"], "PodMonitor/kafka"),
    Mistake(reference_checks.selectors_find_pods, ("NetworkPolicy", "connect"), "spec.egress.0.to.0.podSelector.matchLabels", {"strimzi.io/cluster": "event"}, "NetworkPolicy/connect"),
    Mistake(reference_checks.each_pod_has_one_owner, ("StatefulSet", "tasks-worker"), "spec.selector.matchLabels", {"app.kubernetes.io/name": "tasks"}, "also selects the pods of StatefulSet/tasks-writer"),
    Mistake(reference_checks.targets_are_there, ("ScaledObject", "tasks-worker"), "spec.scaleTargetRef.name", "tasks-workers", "no StatefulSet/tasks-workers to scale"),
    Mistake(reference_checks.targets_are_there, ("StatefulSet", "tasks-worker"), "spec.serviceName", "workers", "no Service/workers"),
    Mistake(reference_checks.targets_are_there, ("Deployment", "registry"), pod("serviceAccountName"), "registrar", "no ServiceAccount/registrar"),
    Mistake(reference_checks.targets_are_there, ("Deployment", "registry"), f"{CONTAINER}.volumeMounts.0.name", "scratches", "which is no volume"),
    Mistake(reference_checks.secrets_are_made_by_somebody, ("Deployment", "registry"), f"{CONTAINER}.env.4.valueFrom.secretKeyRef.key", "passwort", "registry-database has no passwort"),
    Mistake(reference_checks.secrets_are_made_by_somebody, ("KafkaConnect", "connect"), "spec.authentication.passwordSecret.secretName", "connects", "nobody makes the Secret connects"),
    Mistake(reference_checks.ports_are_there, ("Deployment", "registry"), f"{CONTAINER}.livenessProbe.httpGet.port", "managment", "livenessProbe asks port managment"),
    Mistake(reference_checks.ports_are_there, ("Service", "registry"), "spec.ports.0.targetPort", "https", "no pod behind it has the port https"),
    Mistake(reference_checks.ports_are_there, ("PodMonitor", "kafka-operators"), "spec.podMetricsEndpoints.0.port", "healthcheck", "has the port healthcheck"),
    Mistake(reference_checks.ports_are_there, ("NetworkPolicy", "connect"), "spec.egress.0.ports.0.port", 9092, "nothing listens at 9092"),
    Mistake(reference_checks.everything_is_in_one_namespace, ("KafkaUser", "connect"), "metadata.namespace", "kafka", "in kafka instead of tasks-production"),
    Mistake(reference_checks.every_workload_has_a_way_out, ("NetworkPolicy", "tasks-kafka"), "spec.egress", [], "no policy lets it reach"),
    Mistake(kafka_checks.listeners_are_encrypted_and_ask_who_it_is, ("Kafka", "events"), "spec.kafka.listeners.0.tls", False, "scram: no TLS"),
    Mistake(kafka_checks.listeners_are_encrypted_and_ask_who_it_is, ("Kafka", "events"), "spec.kafka.authorization", {}, "no authorization"),
    Mistake(kafka_checks.the_cluster_keeps_what_it_acknowledges, ("Kafka", "events"), "spec.kafka.config.min~insync~replicas", 1, "min.insync.replicas is 1"),
    Mistake(kafka_checks.the_cluster_keeps_what_it_acknowledges, ("Kafka", "events"), "spec.kafka.config.unclean~leader~election~enable", True, "unclean.leader"),
    Mistake(kafka_checks.the_cluster_keeps_what_it_acknowledges, ("KafkaNodePool", "brokers"), "spec.storage.volumes.0.deleteClaim", True, "goes with the cluster"),
    Mistake(kafka_checks.the_cluster_keeps_what_it_acknowledges, ("KafkaNodePool", "controllers"), "spec.replicas", 2, "2 controllers"),
    Mistake(kafka_checks.resources_name_their_cluster, ("KafkaTopic", EVENTS), "metadata.labels", {}, "there is no Kafka/None"),
    Mistake(kafka_checks.resources_name_their_cluster, ("KafkaConnector", "billing-outbox"), "metadata.labels.strimzi~io/cluster", "events", "no KafkaConnect/events"),
    Mistake(kafka_checks.topics_fit_the_brokers, ("KafkaTopic", EVENTS), "spec.replicas", 4, "4 copies on 3 brokers"),
    Mistake(kafka_checks.topics_fit_the_brokers, ("KafkaTopic", EVENTS), "spec.config.min~insync~replicas", "3", "3 of 3 have to be in sync"),
    Mistake(kafka_checks.topics_keep_what_they_should, ("KafkaTopic", EVENTS), "spec.config.cleanup~policy", "delete", "cleanup.policy is delete instead of compact"),
    Mistake(kafka_checks.topics_keep_what_they_should, ("KafkaTopic", EVENTS), "spec.config.retention~ms", "604800000", "retention.ms is 604800000"),
    Mistake(kafka_checks.topics_keep_what_they_should, ("KafkaTopic", "tasks.task.commands"), "spec.partitions", 6, "has 12 partitions"),
    Mistake(kafka_checks.users_can_log_in, ("KafkaUser", "tasks-writer"), "spec.authentication.type", "tls", "port 9093 does not take tls"),
    Mistake(kafka_checks.users_can_log_in, ("KafkaConnect", "connect"), "spec.bootstrapServers", "events-kafka-bootstrap:9094", "port 9094 does not take scram"),
]  # fmt: skip


@pytest.mark.parametrize(
    "mistake", MISTAKES, ids=lambda each: f"{each.check.__name__}-{each.document[1]}-{each.path.rpartition('.')[2]}"
)
def test_a_mistake_is_found_by_the_check_that_is_there_for_it(mistake: Mistake, production: Manifests) -> None:
    parent, _, last = mistake.path.rpartition(".")
    at(production.get(*mistake.document), parent)[int(last) if last.isdigit() else last.replace("~", ".")] = (
        mistake.value
    )
    assert any(mistake.finding in finding for finding in mistake.check(production)), mistake.check(production)


def acls(manifests: Manifests, user: str) -> list[Document]:
    found: list[Document] = manifests.get("KafkaUser", user)["spec"]["authorization"]["acls"]
    return found


def without(acls: list[Document], kind: str, name: str) -> None:
    kept = [acl for acl in acls if (acl["resource"]["type"], acl["resource"]["name"]) != (kind, name)]
    assert len(kept) < len(acls)
    acls[:] = kept


def test_a_right_that_is_missing_is_found(production: Manifests) -> None:
    without(acls(production, "tasks-writer"), "topic", EVENTS)
    assert "KafkaUser/tasks-writer: no Write on tasks.task.events" in kafka_checks.users_may_do_what_their_role_needs(
        production
    )


def test_an_epoch_that_cannot_be_taken_is_found(production: Manifests) -> None:
    without(acls(production, "tasks-writer"), "transactionalId", f"{EVENTS}.")
    found = kafka_checks.users_may_do_what_their_role_needs(production)
    assert f"KafkaUser/tasks-writer: cannot fence {EVENTS}.11" in found


@pytest.mark.parametrize(
    ("user", "resource", "operations", "finding"),
    [
        ("tasks-projection", {"type": "topic", "name": EVENTS}, ["Write"], f"Write on {EVENTS}"),
        ("tasks-relay", {"type": "topic", "name": "tasks.", "patternType": "prefix"}, ["Write"], f"Write on {EVENTS}"),
        ("tasks-operator", {"type": "topic", "name": EVENTS}, ["Delete"], f"Delete on {EVENTS}"),
        ("tasks-writer", {"type": "topic", "name": "billing.public.payments"}, ["Read"], "is outside tasks."),
        ("tasks-writer", {"type": "topic", "name": "*"}, ["Read"], "is outside tasks."),
        ("tasks-operator", {"type": "cluster"}, ["Alter"], "cluster None is outside tasks."),
    ],
)
def test_a_right_too_many_is_found(
    user: str, resource: Document, operations: list[str], finding: str, production: Manifests
) -> None:
    acls(production, user).append({"resource": resource, "operations": operations})
    assert any(finding in each for each in kafka_checks.users_may_do_nothing_else(production))


def test_a_probe_or_a_budget_that_is_missing_is_found(production: Manifests) -> None:
    del template_of(production.get("StatefulSet", "tasks-worker"))["spec"]["containers"][0]["readinessProbe"]
    production.documents.remove(production.get("PodDisruptionBudget", "tasks-writer"))
    found = workload_checks.probes_are_there(production)
    assert found == [
        "StatefulSet/tasks-worker/worker: no readinessProbe",
        "StatefulSet/tasks-writer: no PodDisruptionBudget",
    ]


def test_a_secret_among_the_manifests_is_found(production: Manifests) -> None:
    production.documents.append({"kind": "Secret", "metadata": {"name": "s"}, "stringData": {"password": "hunter2"}})
    assert "Secret/s: a Secret with its content" in workload_checks.no_secret_is_in_clear(production)


def test_a_password_of_another_user_is_found(production: Manifests) -> None:
    for volume in template_of(production.get("StatefulSet", "tasks-worker"))["spec"]["volumes"]:
        if volume["name"] == "user":
            volume["secret"]["secretName"] = "tasks-writer"
    (found,) = kafka_checks.each_user_has_its_own_password(production)
    assert found == "StatefulSet/tasks-worker/worker: tasks-projection with the Secret of {'tasks-writer'}"


Spoil = Callable[[Manifests], Document]


def spoilt(kind: str, name: str, path: str, value: Any) -> Spoil:
    def spoil(manifests: Manifests) -> Document:
        document = manifests.get(kind, name)
        parent, _, last = path.rpartition(".")
        (at(document, parent) if parent else document)[last.replace("~", ".")] = value
        return document

    return spoil


REJECTED_BY_OPERATORS: Sequence[tuple[Spoil, str]] = [
    (spoilt("Kafka", "events", "spec.kafka.replicas", 3), "'replicas' was unexpected"),
    (spoilt("Kafka", "events", "spec.zookeeper", {}), "'zookeeper' was unexpected"),
    (spoilt("Kafka", "events", "spec.kafka.listeners.0.type", "intern"), "'intern' is not one of"),
    (spoilt("Kafka", "events", "spec.kafka.listeners.0.port", 9000), "9000 is less than the minimum"),
    (
        spoilt("Kafka", "events", "spec.kafka.metricsConfig", {"type": "jmxPrometheusExporter"}),
        "valueFrom property is required",
    ),
    (
        spoilt("Kafka", "events", "spec.kafka.rack", {"type": "topology-label", "topologyKey": ""}),
        "topologyKey property is required",
    ),
    (
        spoilt("Kafka", "events", "spec.cruiseControl.metricsConfig", {"type": "strimziMetricsReporter"}),
        "value type not supported",
    ),
    (
        spoilt("Kafka", "events", "apiVersion", "kafka.strimzi.io/v1beta2"),
        "nothing defines Kafka of kafka.strimzi.io/v1beta2",
    ),
    (spoilt("Kafka", "events", "metadata.label", {}), "'label' was unexpected"),
    (spoilt("KafkaNodePool", "brokers", "spec.replicas", "3"), "'3' is not of type 'integer'"),
    (spoilt("KafkaNodePool", "brokers", "spec.roles", ["brokers"]), "'brokers' is not one of"),
    (spoilt("KafkaUser", "connect", "spec.authentication.validityDays", 30), "can be configured only with 'type: tls'"),
    (spoilt("KafkaUser", "connect", "spec.authorization.acls.0.operation", "Read"), "'operation' was unexpected"),
    (spoilt("KafkaConnect", "connect", "spec.groupId", None), "None is not of type 'string'"),
    (spoilt("KafkaConnector", "billing-outbox", "spec.taskMax", 1), "'taskMax' was unexpected"),
    (spoilt("ScaledObject", "tasks-worker", "spec.maxReplicaCount", 1), "minReplicaCount must be less than"),
    (spoilt("PodMonitor", "kafka", "spec.podMetricsEndpoints.0.port_", "x"), "'port_' was unexpected"),
    (spoilt("PrometheusRule", "kafka", "spec.groups.0.rules.0.severity", "high"), "'severity' was unexpected"),
]


@pytest.mark.parametrize(
    ("spoil", "finding"), REJECTED_BY_OPERATORS, ids=[finding for _, finding in REJECTED_BY_OPERATORS]
)
def test_what_an_operator_would_reject_is_found(
    spoil: Spoil, finding: str, production: Manifests, definitions: Definitions
) -> None:
    assert any(finding in each for each in definitions.findings(spoil(production)))


@pytest.mark.parametrize(
    "spoil",
    [
        spoilt("StatefulSet", "tasks-writer", "spec.replica", 3),
        spoilt("Deployment", "registry", "spec.replicas", "2"),
        spoilt("Deployment", "registry", f"{CONTAINER}.livenesProbe", {}),
        spoilt("NetworkPolicy", "connect", "spec.policyType", ["Egress"]),
        spoilt("CronJob", "backup", "spec.jobTemplate.spec.template.spec.restart", "Never"),
        spoilt("PodDisruptionBudget", "registry", "spec.maxUnavailables", 1),
        spoilt("Namespace", "tasks-production", "metadata.label", {}),
    ],
)
def test_what_kubernetes_would_reject_is_found(spoil: Spoil, production: Manifests) -> None:
    assert of_kubernetes(spoil(production)) != []
