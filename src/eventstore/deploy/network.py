"""Who may speak to whom: nothing is allowed but what each component needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from eventstore.deploy.blueprint import TLS_PORT, Blueprint, Component, Document
from eventstore.deploy.environments import Database, Place
from eventstore.deploy.pods import QUERYING
from eventstore.deploy.workloads import MEASURED

_PART: Final = "app.kubernetes.io/part-of"
_NAMESPACE: Final = "kubernetes.io/metadata.name"
_DNS: Final = 53


def policies(blueprint: Blueprint) -> list[Document]:
    """Give the policies of the application's pods; Strimzi makes those of the brokers.

    Args:
        blueprint: The application in its environment.
    """
    name, environment = blueprint.name, blueprint.environment
    all_pods = {"matchLabels": {_PART: name}}
    kafka = {"matchLabels": {"strimzi.io/cluster": environment.cluster, "strimzi.io/kind": "Kafka"}}
    dns = {
        "to": [{"namespaceSelector": {"matchLabels": {_NAMESPACE: "kube-system"}}}],
        "ports": [{"protocol": protocol, "port": _DNS} for protocol in ("UDP", "TCP")],
    }
    brokers = {"to": [{"podSelector": kafka}], "ports": _tcp(TLS_PORT)}
    documents = [
        _policy(blueprint, f"{name}-default", {"podSelector": all_pods, "policyTypes": ["Ingress", "Egress"]}),
        _policy(
            blueprint,
            f"{name}-kafka",
            {"podSelector": all_pods, "policyTypes": ["Egress"], "egress": [dns, brokers]},
        ),
    ]
    if environment.query_store is not None:
        documents.append(_to_database(blueprint, environment.query_store))
    if environment.reaches:
        egress = [_to(place) for place in environment.reaches]
        spec: Document = {"podSelector": all_pods, "policyTypes": ["Egress"], "egress": egress}
        documents.append(_policy(blueprint, f"{name}-reaches", spec))
    documents.append(_from_monitoring(blueprint))
    if environment.writers.serving is not None:
        clients = [{"namespaceSelector": {"matchLabels": {_NAMESPACE: environment.writers.serving.clients}}}]
        ingress: list[Document] = [{"from": clients, "ports": _tcp(environment.writers.serving.port)}]
        documents.append(_ingress(blueprint, "clients", ("writer",), ingress))
    return documents


def _to_database(blueprint: Blueprint, database: Database) -> Document:
    spec: Document = {
        "podSelector": _of(blueprint, QUERYING),
        "policyTypes": ["Egress"],
        "egress": [_to(database)],
    }
    return _policy(blueprint, f"{blueprint.name}-query-store", spec)


def _to(place: Place) -> Document:
    where: Document = (
        {"ipBlock": {"cidr": place.network}}
        if place.namespace is None
        else {"namespaceSelector": {"matchLabels": {_NAMESPACE: place.namespace}}}
    )
    return {"to": [where], "ports": _tcp(place.port)}


def _from_monitoring(blueprint: Blueprint) -> Document:
    environment = blueprint.environment
    watching = [{"namespaceSelector": {"matchLabels": {_NAMESPACE: environment.monitoring.namespace}}}]
    ingress: list[Document] = [{"from": watching, "ports": _tcp(environment.metrics_port)}]
    return _ingress(blueprint, "monitoring", MEASURED, ingress)


def _ingress(blueprint: Blueprint, name: str, components: Sequence[Component], ingress: list[Document]) -> Document:
    spec: Document = {
        "podSelector": _of(blueprint, components),
        "policyTypes": ["Ingress"],
        "ingress": ingress,
    }
    return _policy(blueprint, f"{blueprint.name}-{name}", spec)


def _of(blueprint: Blueprint, components: Sequence[Component]) -> Document:
    wanted = [component for component in components if component in blueprint.components]
    return {
        "matchLabels": {_PART: blueprint.name},
        "matchExpressions": [{"key": "app.kubernetes.io/component", "operator": "In", "values": wanted}],
    }


def _policy(blueprint: Blueprint, name: str, spec: Document) -> Document:
    metadata = blueprint.metadata(name)
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


def _tcp(port: int) -> list[Document]:
    return [{"protocol": "TCP", "port": port}]
