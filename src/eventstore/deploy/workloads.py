"""The processes: writers and workers with an index of their own, relays, and a job that verifies the topics.

Writers and workers are StatefulSets for the sake of their volumes: every process follows the whole log into its index,
and one that finds it again after a restart restores only what is new. They have no stable member name: a static member
does not leave its groups when it ends, so its partitions would have no owner until its session is over.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Final

from eventstore.deploy.blueprint import Blueprint, Component, Document
from eventstore.deploy.environments import Resources, Serving
from eventstore.deploy.pods import INDEX, Program, pod

METRICS: Final = "metrics"
HEALTH: Final = "health"
HTTP: Final = "http"
MEASURED: Final[tuple[Component, ...]] = ("writer", "worker", "inbox")
"""Who serves metrics."""
_EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 - a pod's own network; policies say who may ask
_PROBES: Final = Serving(live="/live", ready="/ready")
_MOST_TRIES: Final = 10
_JOB_KEPT_SECONDS: Final = 3600


def workloads(blueprint: Blueprint) -> list[Document]:
    """Give every process of the application, and what belongs to them.

    Args:
        blueprint: The application in its environment.
    """
    documents: list[Document] = [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": blueprint.metadata(blueprint.name),
            "automountServiceAccountToken": False,
        },
        _job(blueprint),
        *_writers(blueprint),
    ]
    if "worker" in blueprint.components:
        documents += _workers(blueprint)
    if "inbox" in blueprint.components:
        documents += _inboxes(blueprint)
    if "relay" in blueprint.components:
        documents += _relays(blueprint)
    return documents


def _writers(blueprint: Blueprint) -> list[Document]:
    environment, writers = blueprint.environment, blueprint.environment.writers
    served = environment.metrics_port
    if writers.command is None:
        arguments, ports, health = _measured("worker", served), {METRICS: served}, _PROBES
    elif writers.serving is None:
        arguments, ports, health = [], {METRICS: served}, _PROBES
    else:
        arguments, ports, health = [], {HTTP: writers.serving.port, METRICS: served}, writers.serving
    program = Program(
        "writer", writers.command or (), arguments, writers.resources, ports, health, writers.variables, index=True
    )
    documents = _stateful(blueprint, program, writers.replicas)
    return documents if writers.serving is None else [*documents, _service(blueprint)]


def _workers(blueprint: Blueprint) -> list[Document]:
    environment, workers = blueprint.environment, blueprint.environment.workers
    served = environment.metrics_port
    arguments = [*_measured("worker", served), "--no-serve"]
    program = Program("worker", (), arguments, workers.resources, {METRICS: served}, _PROBES, {}, index=True)
    return _stateful(blueprint, program, None)


def _inboxes(blueprint: Blueprint) -> list[Document]:
    inboxes, served = blueprint.environment.inboxes, blueprint.environment.metrics_port
    arguments = _measured("inbox", served)
    program = Program("inbox", (), arguments, inboxes.resources, {METRICS: served}, _PROBES, {}, index=True)
    return _stateful(blueprint, program, inboxes.replicas)


def _measured(command: str, port: int) -> list[str]:
    return [command, f"--metrics-port={port}", f"--metrics-address={_EVERYWHERE}"]


def _stateful(blueprint: Blueprint, program: Program, replicas: int | None) -> list[Document]:
    """Give a StatefulSet with the Service that names its pods, and what keeps too many of them from being evicted."""
    component, index = program.component, blueprint.environment.index
    name, metadata = blueprint.named(component), blueprint.metadata(blueprint.named(component), component)
    storage: Document = {} if index.storage_class is None else {"storageClassName": index.storage_class}
    claim: Document = {
        "metadata": {"name": INDEX},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            **storage,
            "resources": {"requests": {"storage": index.size}},
        },
    }
    scaled: Document = {} if replicas is None else {"replicas": replicas}
    ports: list[Document] = [
        {"name": port, "port": number, "targetPort": port} for port, number in program.ports.items()
    ]
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"clusterIP": "None", "selector": blueprint.selector(component), "ports": ports},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": metadata,
            "spec": {
                **scaled,
                "serviceName": name,
                "podManagementPolicy": "Parallel",
                "minReadySeconds": 10,
                "selector": {"matchLabels": blueprint.selector(component)},
                # What is in the index is in the log; a process that comes back wants it, nobody else does.
                "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Retain"},
                "template": pod(blueprint, program),
                "volumeClaimTemplates": [claim],
            },
        },
        _budget(blueprint, component),
    ]


def _relays(blueprint: Blueprint) -> list[Document]:
    """Give a Deployment: a relay keeps its positions on the brokers, and nothing on a disk."""
    environment, relays = blueprint.environment, blueprint.environment.relays
    port = environment.metrics_port
    arguments = ["relay", f"--health-port={port}", f"--health-address={_EVERYWHERE}"]
    if relays.begin:
        arguments.append("--begin")
    program = Program("relay", (), arguments, relays.resources, {HEALTH: port}, _PROBES, {}, index=False)
    deployment: Document = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": blueprint.metadata(blueprint.named("relay"), "relay"),
        "spec": {
            "replicas": relays.replicas,
            "minReadySeconds": 10,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "selector": {"matchLabels": blueprint.selector("relay")},
            "template": pod(blueprint, program),
        },
    }
    return [deployment, _budget(blueprint, "relay")]


def _budget(blueprint: Blueprint, component: Component) -> Document:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": blueprint.metadata(blueprint.named(component), component),
        "spec": {
            "maxUnavailable": 1,
            # What does not work anyway must not keep a machine from being drained.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": blueprint.selector(component)},
        },
    }


def _service(blueprint: Blueprint) -> Document:
    """Give the Service that requests are sent to; the port is that of the web."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": blueprint.metadata(blueprint.name, "writer"),
        "spec": {
            "selector": blueprint.selector("writer"),
            "ports": [{"name": HTTP, "port": 80, "targetPort": HTTP}],
        },
    }


def _job(blueprint: Blueprint) -> Document:
    """Verify what the cluster made of the topics, and prove the fence; a job of its own for every change of it."""
    program = Program("operator", (), ["topics", "check"], Resources(), {}, None, {}, index=False)
    spec: Document = {
        # Strimzi may still be busy making the topics; each try waits longer than the one before.
        "backoffLimit": _MOST_TRIES,
        "ttlSecondsAfterFinished": _JOB_KEPT_SECONDS,
        "template": pod(blueprint, program),
    }
    wanted = [[topic.name, topic.partitions, topic.replication, dict(topic.settings)] for topic in blueprint.topics]
    change = sha256(json.dumps([spec, wanted], sort_keys=True).encode()).hexdigest()[:8]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": blueprint.metadata(f"{blueprint.name}-topics-{change}", "operator"),
        "spec": spec,
    }
